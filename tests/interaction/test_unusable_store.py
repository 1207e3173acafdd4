"""A whole Flowport on an unusable store: what it refuses, what still works, and that it damages nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.models import Run, RunState
from flowport.store.sqlite.connection import STORE_NAME
from tests.fakes.client import Client, open_sandbox
from tests.support.harness import Harness, open_harness
from tests.support.rights import obey_modes
from tests.support.scripted import wait_until

APP = "text_to_picture"


@dataclass(frozen=True)
class Trouble:
    """A fault of a home, and the message about it."""

    make: Callable[[Path], None]
    problem: str
    is_readable: bool
    """Whether the runs can be read all the same."""


def write_over(path: Path, place: int, length: int) -> None:
    """Overwrite a part of a file with garbage."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xa5" * length)


def spoil_header(home: Path) -> None:
    """Overwrite the first bytes."""
    write_over(home / STORE_NAME, 0, 100)


def spoil_schema(home: Path) -> None:
    """Overwrite the first page except its header."""
    write_over(home / STORE_NAME, 100, 3996)


def cut(home: Path) -> None:
    """Remove all but the first three pages."""
    with (home / STORE_NAME).open("r+b") as file:
        file.truncate(3 * 4096)


def empty_beside_journal(home: Path) -> None:
    """Empty the file but keep its journal."""
    (home / STORE_NAME).write_bytes(b"")
    (home / f"{STORE_NAME}-wal").write_bytes(b"\x37\x7f\x06\x82" + b"x" * 5000)


def make_too_new(home: Path) -> None:
    """Store data of a newer version that we would misread."""
    with closing(sqlite3.connect(home / STORE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")


def protect_file(home: Path) -> None:
    """Remove the write permission of the file."""
    (home / STORE_NAME).chmod(0o400)


def protect_folder(home: Path) -> None:
    """Remove all write permissions."""
    for folder in (home, home / "processes", home / "catalogue"):
        for file in folder.iterdir():
            if file.is_file():
                file.chmod(0o400)
        folder.chmod(0o500)


TROUBLES = {
    "garbage in the header": Trouble(spoil_header, "its file is not a database", is_readable=False),
    "garbage behind the header": Trouble(spoil_schema, "its file is damaged", is_readable=False),
    "cut off": Trouble(cut, "its file is damaged", is_readable=False),
    "empty beside a journal": Trouble(empty_beside_journal, "its file is damaged", is_readable=False),
    "too new": Trouble(make_too_new, "it was written by a newer Flowport", is_readable=False),
    "a protected file": Trouble(protect_file, "its file may not be written", is_readable=True),
    "a protected folder": Trouble(protect_folder, "cannot be written to (Permission denied)", is_readable=True),
}


@pytest.fixture(params=TROUBLES)
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trouble]:
    """Return one fault, and make everything removable afterwards."""
    found = TROUBLES[request.param]
    with obey_modes() if found.is_readable else nullcontext():
        yield found
    for folder in (tmp_path / "person/home", tmp_path / "person/home/processes", tmp_path / "person/home/catalogue"):
        folder.chmod(0o700)


def get_text(result: Any) -> str:
    """Return the text of a refusal."""
    assert result.is_error
    return str(result.content[0].text)


async def prepare(sandbox: Client, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Let a healthy Flowport run an app, and return the run and the tools."""
    async with open_harness(sandbox, folder) as first:
        names = [tool.name for tool in (await first.client.list_tools()).tools]
        await first.assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
        return await first.ask(APP, prompt="a lake"), names


async def check_reading(flowport: Harness, trouble: Trouble, run: dict[str, Any]) -> None:
    """Check that runs are read, or that the message says why not."""
    if trouble.is_readable:
        assert [row["run_id"] for row in (await flowport.ask("list_runs"))["runs"]] == [run["run_id"]]
        got = await flowport.ask("get_run", run_id=run["run_id"])
        assert (got["state"], got["outputs"][0]["saved_path"]) == ("succeeded", run["outputs"][0]["saved_path"])
        assert (await flowport.ask("get_balance"))["accounts"][0]["runs_24_hours"] == 1
    else:
        for tool, arguments in {"list_runs": {}, "get_run": {"run_id": run["run_id"]}, "get_balance": {}}.items():
            assert trouble.problem in get_text(await flowport.call(tool, **arguments))


async def test_an_unusable_store_stops_only_starts(tmp_path: Path, trouble: Trouble) -> None:
    """Until it is repaired, tools are listed, readable runs are read, and nothing is paid for or lost."""
    async with open_sandbox() as sandbox:
        run, names = await prepare(sandbox, tmp_path / "person")
        home = tmp_path / "person/home"
        trouble.make(home)
        before = (home / STORE_NAME).read_bytes()
        async with open_harness(sandbox, tmp_path / "person") as flowport:
            assert [tool.name for tool in (await flowport.client.list_tools()).tools] == names
            refusal = get_text(await flowport.call(APP, prompt="a hill"))
            found = await flowport.ask("find_apps", query="picture")
            await check_reading(flowport, trouble, run)
            assert await flowport.count("run") == 1
    assert trouble.problem in refusal
    assert found["apps"]
    assert (home / STORE_NAME).read_bytes() == before


async def test_a_home_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """The message asks for another folder; operations that need no store work."""
    (tmp_path / "file").touch()
    async with (
        open_sandbox() as sandbox,
        open_harness(sandbox, tmp_path / "person", home=tmp_path / "file/home") as flowport,
    ):
        listed = [tool.name for tool in (await flowport.client.list_tools()).tools]
        assert {"find_apps", APP} <= set(listed)
        assert "cannot be written to (Not a directory). Set FLOWPORT_HOME" in get_text(
            await flowport.call(APP, prompt="x")
        )
        for tool in ("list_runs", "get_balance"):
            assert "cannot be written to (Not a directory). Set FLOWPORT_HOME" in get_text(await flowport.call(tool))
        catalogue = (await flowport.ask("find_apps"))["catalogues"][0]
        assert "Set FLOWPORT_HOME" in catalogue["could_not_be_refreshed_because"]


async def test_a_live_run_is_polled_although_nothing_can_be_written(tmp_path: Path) -> None:
    """The run was paid for, so its result is shown, and saved in the output folder."""
    async with open_sandbox() as sandbox:
        await sandbox.switch("next_run", hold=True, pending_seconds=0)
        async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as first:
            await first.client.list_tools()
            run_id = (await first.ask(APP, prompt="a lake"))["run_id"]
            while (kept := await get_kept(first, run_id)).state is not RunState.RUNNING:
                await anyio.lowlevel.checkpoint()
        with obey_modes():
            protect_file(tmp_path / "person/home")
            async with open_harness(sandbox, tmp_path / "person") as flowport:
                await sandbox.switch(f"runs/{kept.provider_run_id}", release=True)
                over = await flowport.ask("get_run", run_id=run_id)
                assert (await get_kept(flowport, run_id)).state is RunState.RUNNING

    assert over["state"] == "succeeded"
    assert await anyio.Path(over["outputs"][0]["saved_path"]).exists()


async def test_damage_inside_the_file_is_found_before_a_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that opens well may still be damaged where the next run would be written."""
    async with open_sandbox() as sandbox:
        run, _ = await prepare(sandbox, tmp_path / "person")
        spoil_index(tmp_path / "person/home")
        async with open_harness(sandbox, tmp_path / "person") as flowport:
            await flowport.client.list_tools()
            await wait_until(lambda: "was not looked after" in caplog.text)
            assert "its file is damaged" in get_text(await flowport.call(APP, prompt="a hill"))
            assert (await flowport.ask("get_run", run_id=run["run_id"]))["state"] == "succeeded"
            assert await flowport.count("run") == 1


def spoil_index(home: Path) -> None:
    """Overwrite the page of an index that accepting a run does not read at once."""
    with closing(sqlite3.connect(home / STORE_NAME)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'outputs_by_url'"
        page = connection.execute(query).fetchone()[0]
    write_over(home / STORE_NAME, (page - 1) * 4096, 64)


async def get_kept(flowport: Harness, run_id: str) -> Run:
    """Return what the store holds."""
    return await flowport.assembly.workspace.store.get_run(run_id, account_id=None, owner="local")
