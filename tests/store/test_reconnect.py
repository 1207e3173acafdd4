"""A file that cannot be written to, and one that can again."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from flowport.domain.errors import StoreError
from flowport.domain.run_events import StartRequested
from flowport.store.records import Recorded
from flowport.store.sqlite import maintenance as upkeep
from flowport.store.sqlite.reconnect import open_refusing_store, open_store
from flowport.store.sqlite.schema import APPLICATION_ID, LAYOUT
from flowport.store.sqlite.store import SqliteStore, open_sqlite_store
from tests.support.rights import obey_modes

from .samples import ACCOUNT, OWNER, build_run

PROBLEM = StoreError("the folder is another user's", "Choose another.")


async def save_run(path: Path) -> None:
    """Put one run on record and close."""
    store = open_sqlite_store(path)
    await store.accept(build_run("run_1"))
    await store.close()


async def list_ids(store: SqliteStore) -> list[str]:
    """Return the ids of the runs that can be read."""
    return [run.id for run in await store.get_live_runs(account_id=ACCOUNT)]


async def test_a_sound_file_is_opened_as_ever(path: Path) -> None:
    """Nothing stands between it and its users."""
    store = open_store(path)
    await store.accept(build_run("run_1"))
    await store.check()
    assert await list_ids(store) == ["run_1"]
    await store.close()


async def test_a_file_that_becomes_writable_is_used_again(path: Path) -> None:
    """A user does not restart an assistant for it."""
    await save_run(path)
    with obey_modes():
        path.chmod(0o400)
        store = open_store(path, retry_seconds=0)
        with pytest.raises(StoreError, match="may not be written"):
            await store.accept(build_run("run_2"))
        assert await list_ids(store) == ["run_1"]
        path.chmod(0o600)
        await store.accept(build_run("run_2"))
        assert await list_ids(store) == ["run_1", "run_2"]
        assert store.worker.commits == 1
        await store.close()


async def test_a_file_that_was_moved_away_is_begun_again(path: Path) -> None:
    """That is what the error asks people to do."""
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)
    store = open_store(path, retry_seconds=0)
    assert store.worker.commits == 0
    for call in (store.accept(build_run("run_1")), store.check(), store.erase_owner(OWNER)):
        with pytest.raises(StoreError, match="not a database"):
            await call
    path.rename(path.with_name("old"))
    await store.accept(build_run("run_1"))
    assert await list_ids(store) == ["run_1"]
    await store.erase_owner(OWNER)
    await store.close()


async def test_it_is_not_tried_at_every_call(path: Path) -> None:
    """A file that another process keeps locked takes ten seconds to fail."""
    path.mkdir(parents=True)
    store = open_store(path, retry_seconds=1000)
    path.rmdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        await store.accept(build_run("run_1"))
    assert not path.exists()
    await store.close()


async def test_many_callers_open_it_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections would be two threads, and one of them lost."""
    path.mkdir(parents=True)
    store = open_store(path, retry_seconds=0)
    path.rmdir()
    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(store.accept, build_run(f"run_{n}"))
    assert len(await list_ids(store)) == 20
    assert store.worker.commits > 0
    await store.close()


async def test_a_closed_store_stays_closed(path: Path) -> None:
    """Nothing is opened after the end."""
    path.mkdir(parents=True)
    store = open_store(path, retry_seconds=0)
    await store.close()
    path.rmdir()
    with pytest.raises(StoreError, match="it was closed"):
        await store.accept(build_run("run_1"))
    assert not path.exists()


async def test_a_store_may_be_for_reading_alone(path: Path) -> None:
    """Without a lock of its own no process may start a run; the journal of another is read all the same."""
    other = open_sqlite_store(path)
    await other.accept(build_run("run_1"))
    store = open_refusing_store(path, PROBLEM)
    with pytest.raises(StoreError, match="another user's"):
        await store.accept(build_run("run_2"))
    assert await list_ids(store) == ["run_1"]
    await store.check()
    await store.close()
    await other.close()


async def test_a_journal_that_cannot_be_read_is_not_ignored(path: Path) -> None:
    """An older state of the runs would be a wrong one."""
    await save_run(path)
    other = open_sqlite_store(path)
    await other.accept(build_run("run_2"))
    journal = path.with_name(f"{path.name}-wal")
    kept = journal.read_bytes()
    await other.close()
    journal.write_bytes(kept)
    with obey_modes():
        path.chmod(0o400)
        path.parent.chmod(0o500)
        store = open_refusing_store(path, PROBLEM)
        with pytest.raises(StoreError, match="another user's"):
            await list_ids(store)
        await store.close()
        path.parent.chmod(0o700)


async def test_a_journal_that_may_not_be_looked_at_counts_as_one(path: Path) -> None:
    """A folder may hide what it holds."""
    await save_run(path)
    with obey_modes():
        path.parent.chmod(0o600)
        store = open_refusing_store(path, PROBLEM)
        with pytest.raises(StoreError, match="another user's"):
            await list_ids(store)
        await store.close()
        path.parent.chmod(0o700)


async def test_an_older_file_that_cannot_be_set_aside_is_reported(path: Path) -> None:
    """It lacks columns that every read names, and nothing in it is changed."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE runs (id)")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {LAYOUT - 1}")
    before = path.read_bytes()
    store = open_refusing_store(path, PROBLEM)
    with pytest.raises(StoreError, match="another user's"):
        await list_ids(store)
    await store.close()
    assert path.read_bytes() == before


async def test_damage_that_an_operation_meets_stops_starts(path: Path) -> None:
    """Nothing new is written into a damaged file, and what can be read is read."""
    await save_run(path)
    with closing(sqlite3.connect(path)) as connection:
        pages = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0"))
    with path.open("r+b") as file:
        file.seek((pages["tool_names"] - 1) * 4096)
        file.write(b"\xa5" * 64)
    store = open_store(path)
    with pytest.raises(StoreError, match="damaged"):
        await store.assign_tool_names("s", {"a": "a"})
    with pytest.raises(StoreError, match="damaged"):
        await store.accept(build_run("run_2"))
    assert isinstance(await store.record("run_1", StartRequested(1.0)), Recorded)
    assert await list_ids(store) == ["run_1"]
    await store.close()


async def test_a_check_finds_what_no_operation_met(path: Path) -> None:
    """The whole file is looked through, and the sentence is the same."""
    await save_run(path)
    store = open_store(path)
    await store.check()
    with closing(sqlite3.connect(path)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'outputs_by_url'").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 64)
    reading = open_refusing_store(path, PROBLEM)
    for each in (store, reading):
        with pytest.raises(StoreError, match="damaged"):
            await each.check()
    await reading.close()
    with pytest.raises(StoreError, match="damaged"):
        await store.accept(build_run("run_2"))
    await store.close()


def test_a_check_that_cannot_be_made_finds_nothing(tmp_path: Path) -> None:
    """A file that is locked or gone is not a damaged one."""
    assert upkeep.find_damage(tmp_path / "none") is None
    (tmp_path / "garbage").write_bytes(b"no database " * 1000)
    found = upkeep.find_damage(tmp_path / "garbage")
    assert found is not None
    assert found.problem == "its file is not a database"
