"""A file of an older layout: it is renamed, reported once, and never changed or deleted."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flowport.actions.views.run import format_reminder
from flowport.domain.errors import StoreError
from flowport.store.opening import find_store
from flowport.store.records import Reminder
from flowport.store.sqlite.connection import FORMER_NAME
from flowport.store.sqlite.schema import APPLICATION_ID, LAYOUT
from flowport.store.sqlite.store import open_sqlite_store

from .samples import ACCOUNT, OWNER, build_run, finish_child, start_child


@contextmanager
def open_older(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file as an older Flowport does, and create it with one run if it is new."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, seen_at REAL)")
            connection.execute("INSERT INTO runs VALUES ('run_old', NULL)")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT - 1}")
        yield connection


def read_old_runs(path: Path) -> list[str]:
    """Return the ids of the runs in a file of the older layout."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM runs ORDER BY rowid")]


async def test_an_older_file_is_renamed_and_a_new_one_begins(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was paid for stays on the disk, where a person or an older version can read it."""
    with open_older(path):
        pass
    reminders: list[Reminder | None] = []
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            store = open_sqlite_store(path)
            assert await store.get_live_runs(account_id=ACCOUNT) == ()
            reminders.append(await store.take_reminder(owner=OWNER))
            await store.close()
    aside = path.with_name(f"{path.name}.older-1")
    notice = f"The record of runs was written by an older Flowport: it was renamed to {aside}, and a new one began."
    assert reminders == [Reminder(0, (), notice), None]
    assert format_reminder(Reminder(0, (), notice)) == notice
    assert read_old_runs(aside) == ["run_old"]
    assert caplog.text.count(f"renamed to {aside}") == 1


async def test_a_second_older_file_does_not_replace_the_first(path: Path) -> None:
    """A user went back to an older version for a day."""
    for n in (1, 2):
        with open_older(path):
            pass
        await open_sqlite_store(path).close()
        path.unlink()
        assert read_old_runs(path.with_name(f"{path.name}.older-{n}")) == ["run_old"]


async def test_what_a_killed_process_left_in_the_journal_is_kept(path: Path) -> None:
    """The newest runs of the older file may be in its journal alone."""
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint = 0")
connection.execute("INSERT INTO runs VALUES ('run_late', NULL)")
os._exit(0)
"""
    with open_older(path):
        pass
    finish_child(start_child(script, path))
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    await open_sqlite_store(path).close()
    assert read_old_runs(path.with_name(f"{path.name}.older-1")) == ["run_old", "run_late"]


async def test_a_file_that_an_older_process_uses_is_left_to_it(path: Path) -> None:
    """Its runs would be recorded in a file that nothing reads."""
    with open_older(path) as older:
        older.execute("SELECT count(*) FROM runs").fetchone()
        with pytest.raises(StoreError, match="another process keeps it locked"):
            open_sqlite_store(path, busy_seconds=0.05)
        assert [file.name for file in path.parent.glob("*older*")] == []
    store = open_sqlite_store(path)
    await store.accept(build_run("run_1"))
    await store.close()


ACCEPT_ONE = """
import asyncio, logging, sys
from pathlib import Path
from flowport.store.sqlite.store import open_sqlite_store
from store.samples import build_run

logging.disable()

async def main(path, name):
    store = open_sqlite_store(Path(path))
    await store.accept(build_run(f"run_{name}"))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_several_processes_that_find_it_at_once_share_the_new_file(path: Path) -> None:
    """Two clients start together after an update."""
    with open_older(path):
        pass
    children = [start_child(ACCEPT_ONE, path, name) for name in "abcd"]
    await asyncio.to_thread(lambda: [finish_child(child) for child in children])
    store = open_sqlite_store(path)
    runs = await store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=False)
    await store.close()
    assert {run.id for run in runs} == {f"run_{name}" for name in "abcd"}
    assert [file.name for file in path.parent.glob("*older*")] == [f"{path.name}.older-1"]


async def test_a_store_of_the_former_name_is_renamed_and_reported_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was paid for stays on the disk, also where only the name of the file has changed."""
    former = path.with_name(FORMER_NAME)
    with open_older(former):
        pass
    reminders: list[Reminder | None] = []
    for _ in range(2):
        store = open_sqlite_store(path)
        assert await store.get_live_runs(account_id=ACCOUNT) == ()
        reminders.append(await store.take_reminder(owner=OWNER))
        await store.close()
    aside = former.with_name(f"{FORMER_NAME}.older-1")
    notice = f"The record of runs was written by an older Flowport: it was renamed to {aside}, and a new one began."
    assert reminders == [Reminder(0, (), notice), None]
    assert (read_old_runs(aside), former.exists()) == (["run_old"], False)
    assert caplog.text.count(f"renamed to {aside}") == 1


async def test_both_names_in_one_home_are_renamed_and_reported(path: Path) -> None:
    """An older version ran once more after an update."""
    for older in (path, path.with_name(FORMER_NAME)):
        with open_older(older):
            pass
    store = open_sqlite_store(path)
    reminder = await store.take_reminder(owner=OWNER)
    await store.close()
    asides = [path.with_name(f"{name}.older-1") for name in (path.name, FORMER_NAME)]
    assert reminder is not None
    assert all(str(aside) in reminder.notice for aside in asides)
    assert [read_old_runs(aside) for aside in asides] == [["run_old"]] * 2


async def test_a_store_of_the_former_name_that_is_in_use_is_left_to_its_process(path: Path) -> None:
    """A second record beside one in use would let both processes pay for the same run."""
    with open_older(path.with_name(FORMER_NAME)) as older:
        older.execute("SELECT count(*) FROM runs").fetchone()
        with pytest.raises(StoreError, match="another process keeps it locked"):
            open_sqlite_store(path, busy_seconds=0.05)
        assert (path.exists(), [*path.parent.glob("*older*")]) == (False, [])
    await open_sqlite_store(path).close()
    assert read_old_runs(path.with_name(f"{FORMER_NAME}.older-1")) == ["run_old"]


@pytest.mark.parametrize("content", [b"", b"an account book", b"SQLite format 3\0" + b"\xff" * 200])
async def test_a_file_of_the_former_name_that_is_not_a_store_is_left_alone(path: Path, content: bytes) -> None:
    """Other programs use this name too, and a damaged record may still be restored by its owner."""
    former, journal = path.with_name(FORMER_NAME), path.with_name(f"{FORMER_NAME}-wal")
    path.parent.mkdir()
    former.write_bytes(content)
    journal.write_bytes(b"a journal" * (not content))
    await open_sqlite_store(path).close()
    assert (former.read_bytes(), journal.read_bytes()) == (content, b"a journal" * (not content))
    assert [*path.parent.glob("*older*")] == []


@pytest.mark.parametrize("content", [b"", b"an account book", b"SQLite format 3\0" + b"\xff" * 200, None])
async def test_what_has_the_former_name_and_is_not_a_store_counts_as_none(path: Path, content: bytes | None) -> None:
    """A command about the record creates none beside another program's file, or a folder."""
    former = path.with_name(FORMER_NAME)
    path.parent.mkdir()
    if content is None:
        former.mkdir()
    else:
        former.write_bytes(content)
    assert find_store(path.parent) is None
    assert [file.name for file in path.parent.iterdir()] == [FORMER_NAME]
    await open_sqlite_store(path).close()
    assert former.exists()


async def test_another_programs_database_of_the_former_name_is_left_alone(path: Path) -> None:
    """FLOWPORT_HOME may be a folder that other programs use."""
    former = path.with_name(FORMER_NAME)
    path.parent.mkdir()
    with closing(sqlite3.connect(former)) as connection:
        connection.execute("CREATE TABLE bookings (id TEXT)")
    before = former.read_bytes()
    assert (find_store(path.parent), [*path.parent.iterdir()]) == (None, [former])
    await open_sqlite_store(path).close()
    assert (former.read_bytes(), [*path.parent.glob("*older*")]) == (before, [])


async def test_several_processes_that_find_the_former_name_at_once_share_the_new_file(path: Path) -> None:
    """Two clients start together after an update."""
    with open_older(path.with_name(FORMER_NAME)):
        pass
    children = [start_child(ACCEPT_ONE, path, name) for name in "abcd"]
    await asyncio.to_thread(lambda: [finish_child(child) for child in children])
    store = open_sqlite_store(path)
    runs = await store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=False)
    await store.close()
    assert {run.id for run in runs} == {f"run_{name}" for name in "abcd"}
    assert [file.name for file in path.parent.glob(f"{FORMER_NAME}*")] == [f"{FORMER_NAME}.older-1"]
