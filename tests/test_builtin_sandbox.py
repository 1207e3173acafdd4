"""The sandbox as our child."""

import os
import sys
from pathlib import Path

import anyio
import pytest

from flowport.builtin_sandbox import CHILD_COMMAND, SANDBOX_ACCOUNT, BuiltInSandbox
from flowport.errors import ProviderUnreachable
from flowport.providers.magnific import Magnific
from tests.scripted import wait_until

GONE = [sys.executable, "-c", "raise SystemExit(3)"]
TALKS_NONSENSE = [sys.executable, "-c", "print('[]')"]


@pytest.fixture
def provider() -> Magnific:
    """Speak to the sandbox."""
    return Magnific(title="The sandbox")


async def test_it_is_started_once_and_again_when_it_has_died(provider: Magnific) -> None:
    """A child that the system kills must not leave us without apps."""
    sandbox = BuiltInSandbox(provider)
    try:
        first, same = await sandbox.locate(), await sandbox.locate()
        assert sandbox._process is not None
        sandbox._process.kill()
        await sandbox._process.wait()
        second = await sandbox.locate()
    finally:
        await sandbox.aclose()

    assert first is same
    assert second.base_url != first.base_url or second.headers != first.headers
    assert first.is_loopback


async def test_callers_that_come_together_get_one_child(provider: Magnific) -> None:
    """Lists, definitions and a first call ask at once, and each child has a key of its own."""
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


@pytest.mark.parametrize("command", [GONE, TALKS_NONSENSE, ["/nowhere/python"]], ids=["gone", "nonsense", "missing"])
async def test_a_child_that_does_not_start_is_an_unreachable_provider(provider: Magnific, command: list[str]) -> None:
    """The list of tools then says why there are none."""
    sandbox = BuiltInSandbox(provider, command=command)

    with pytest.raises(ProviderUnreachable):
        await sandbox.locate()
    await sandbox.aclose()


async def test_a_caller_that_gives_up_while_it_starts_leaves_no_child_and_spoils_nothing(
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


def test_its_account_outlives_port_and_key() -> None:
    """Names and catalogue are kept from one start to the next."""
    assert SANDBOX_ACCOUNT.id == "magnific:sandbox:builtin"
