"""The sandbox of a home, which its programs share."""

import json
import os
import sys
from pathlib import Path

import anyio
import anyio.abc
import httpx2
import pytest

from flowport.domain.errors import ProviderUnreachable
from flowport.network.api_client import Location
from flowport.network.sandbox_process import CHILD_COMMAND, BuiltInSandbox
from flowport.providers.magnific.api import Magnific
from tests.support.patience import PATIENCE_SECONDS
from tests.support.scripted import wait_until

GONE = [sys.executable, "-c", "raise SystemExit(3)"]
TALKS_NONSENSE = [sys.executable, "-c", "print('[]')"]


@pytest.fixture
def provider() -> Magnific:
    """Speak to the sandbox."""
    return Magnific(title="The sandbox")


def kill(sandbox: BuiltInSandbox) -> None:
    """Kill the process that a program has started, and wait for its end."""
    assert sandbox._process is not None
    sandbox._process.kill()
    sandbox._process.wait()


async def list_apps(location: Location) -> int:
    """Ask the sandbox for something with its key and return the status."""
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        return (await http.get(f"{location.base_url}/v1/ai/flows", headers=dict(location.headers))).status_code


@pytest.mark.parametrize("is_shared", [False, True])
async def test_it_is_started_once_and_again_when_it_has_died(
    provider: Magnific, tmp_path: Path, *, is_shared: bool
) -> None:
    """A process that the system kills must not leave us without apps."""
    sandbox = BuiltInSandbox(provider, tmp_path / "sandbox" if is_shared else None)
    try:
        first, same = await sandbox.locate(), await sandbox.locate()
        kill(sandbox)
        second = await sandbox.locate()
        status = await list_apps(second)
    finally:
        await sandbox.aclose()

    assert first is same
    assert second.headers != first.headers
    assert (second.base_url == first.base_url) >= is_shared
    assert (first.is_loopback, status) == (True, 200)


async def test_callers_that_come_together_get_one_process(provider: Magnific) -> None:
    """Lists, definitions and a first call ask at once, and each process has a key of its own."""
    sandbox = BuiltInSandbox(provider)
    locations = []

    async def locate() -> None:
        """Note where it is."""
        locations.append(await sandbox.locate())

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(locate)
    finally:
        await sandbox.aclose()

    assert len(locations) == 3
    assert len({location.api_key for location in locations}) == 1


async def test_programs_of_one_home_share_one_process_to_the_last(provider: Magnific, tmp_path: Path) -> None:
    """Whichever starts it may go first; when the last has gone, nothing is left of it but what it stores."""
    programs = [BuiltInSandbox(provider, tmp_path) for _ in range(3)]
    locations = []

    async def locate(program: BuiltInSandbox) -> None:
        """Note where it is."""
        locations.append(await program.locate())

    async with anyio.create_task_group() as tasks:
        for program in programs:
            tasks.start_soon(locate, program)
    (process,) = [program._process for program in programs if program._process is not None]
    programs.sort(key=lambda program: program._process is None)
    for program in programs[:-1]:
        await program.aclose()
        assert await list_apps(await programs[-1].locate()) == 200
    await programs[-1].aclose()
    process.wait(timeout=60)

    assert len({(location.base_url, location.api_key) for location in locations}) == 1
    assert not (tmp_path / "address.json").exists()


async def test_when_a_shared_process_is_killed_one_program_starts_the_next(provider: Magnific, tmp_path: Path) -> None:
    """The other finds it, at the same address; the file that the killed one left misleads neither."""
    programs = [BuiltInSandbox(provider, tmp_path) for _ in range(2)]
    try:
        before = [await program.locate() for program in programs]
        kill(programs[0])
        after = []

        async def locate(program: BuiltInSandbox) -> None:
            """Note where it is."""
            after.append(await program.locate())

        async with anyio.create_task_group() as tasks:
            for program in programs:
                tasks.start_soon(locate, program)
        statuses = [await list_apps(location) for location in after]
    finally:
        for program in programs:
            await program.aclose()

    assert len({location.api_key for location in after}) == 1
    assert {location.base_url for location in after} == {location.base_url for location in before}
    assert statuses == [200, 200]


ADDRESSES = {
    "garbage": b"\x00\xff",
    "a list": b"[]",
    "another version": b'{"version":99,"key":"k","api_url":"http://127.0.0.1:1","files_url":"http://127.0.0.1:2","former_files_urls":[],"lease_port":1}',
    "elsewhere": b'{"version":1,"key":"k","api_url":"http://example.com","files_url":"http://127.0.0.1:2","former_files_urls":[],"lease_port":1}',
    "files elsewhere": b'{"version":1,"key":"k","api_url":"http://127.0.0.1:1","files_url":"http://example.com","former_files_urls":[],"lease_port":1}',
    "nothing there": b'{"version":1,"key":"k","api_url":"http://127.0.0.1:1","files_url":"http://127.0.0.1:2","former_files_urls":[],"lease_port":1}',
    "no port": b'{"version":1,"key":"k","api_url":"http://127.0.0.1:1","files_url":"http://127.0.0.1:2","former_files_urls":[],"lease_port":99999}',
    "no key": b'{"version":1,"api_url":"http://127.0.0.1:1","files_url":"http://127.0.0.1:2","former_files_urls":[],"lease_port":1}',
}


@pytest.mark.parametrize("data", ADDRESSES.values(), ids=ADDRESSES)
async def test_an_address_that_leads_nowhere_is_replaced(provider: Magnific, tmp_path: Path, data: bytes) -> None:
    """A killed process leaves its file behind, and only this computer may be named in it."""
    (tmp_path / "address.json").write_bytes(data)
    sandbox = BuiltInSandbox(provider, tmp_path)
    try:
        status = await list_apps(await sandbox.locate())
        mode = (tmp_path / "address.json").stat().st_mode & 0o777
    finally:
        await sandbox.aclose()

    assert (status, mode) == (200, 0o600)


async def test_a_port_that_another_program_has_taken_meanwhile_misleads_no_one(
    provider: Magnific, tmp_path: Path
) -> None:
    """It accepts the connection and grants nothing."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    address = {
        "version": 1,
        "key": "k",
        "api_url": f"http://127.0.0.1:{port}",
        "files_url": "http://127.0.0.1:1",
        "former_files_urls": [],
        "lease_port": port,
    }
    (tmp_path / "address.json").write_text(json.dumps(address))
    sandbox = BuiltInSandbox(provider, tmp_path)

    async def refuse(stream: anyio.abc.SocketStream) -> None:
        """Say something else."""
        async with stream:
            await stream.send(b"220 mail.example.test\r\n")

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, refuse)
            location = await sandbox.locate()
            tasks.cancel_scope.cancel()
    finally:
        await listener.aclose()
        await sandbox.aclose()

    assert location.base_url != f"http://127.0.0.1:{port}"


async def test_a_folder_that_cannot_be_used_is_reported_once_and_the_apps_are_there(
    provider: Magnific, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or read-only disk must not take the list of tools away; nothing outlives the process then."""
    (tmp_path / "file").write_text("no folder")
    sandbox = BuiltInSandbox(provider, tmp_path / "file" / "sandbox")
    try:
        statuses = [await list_apps(await sandbox.locate())]
        kill(sandbox)
        statuses.append(await list_apps(await sandbox.locate()))
    finally:
        await sandbox.aclose()

    assert statuses == [200, 200]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"the sandbox's folder {tmp_path}/file/sandbox cannot be used (Not a directory)"
    ]


async def test_stored_state_that_cannot_be_read_is_reported_once(
    provider: Magnific, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept beside the new one."""
    (tmp_path / "sandbox.sqlite3").write_bytes(b"garbage")
    for _ in range(2):
        sandbox = BuiltInSandbox(provider, tmp_path)
        try:
            assert await list_apps(await sandbox.locate()) == 200
        finally:
            await sandbox.aclose()

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the sandbox's stored state is damaged; it was kept as sandbox.unreadable-1.sqlite3"
    ]
    assert (tmp_path / "sandbox.unreadable-1.sqlite3").read_bytes() == b"garbage"


@pytest.mark.parametrize("command", [GONE, TALKS_NONSENSE, ["/nowhere/python"]], ids=["gone", "nonsense", "missing"])
@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_process_that_does_not_start_is_an_unreachable_provider(
    provider: Magnific, tmp_path: Path, command: list[str], *, is_shared: bool
) -> None:
    """The list of tools then says why there are none."""
    sandbox = BuiltInSandbox(provider, tmp_path if is_shared else None, command)

    with pytest.raises(ProviderUnreachable):
        await sandbox.locate()
    await sandbox.aclose()


async def test_a_caller_that_gives_up_while_it_starts_leaves_no_process_and_spoils_nothing(
    provider: Magnific, tmp_path: Path
) -> None:
    """The next caller must get a sandbox, and not the address of one that never was."""
    mark = tmp_path / "pid"
    silent = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    sandbox = BuiltInSandbox(provider, command=[sys.executable, "-c", silent])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sandbox.locate)
        await wait_until(lambda: mark.exists() and mark.read_text() != "")
        tasks.cancel_scope.cancel()

    assert (sandbox._process, sandbox._location) == (None, None)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    sandbox._command = CHILD_COMMAND
    try:
        assert (await sandbox.locate()).base_url.startswith("http://127.0.0.1:")
    finally:
        await sandbox.aclose()
