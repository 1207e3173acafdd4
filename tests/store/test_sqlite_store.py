"""The file: its rights, its settings, its faults, and several processes on it."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import RunState
from flowport.domain.run_events import Finished, StartRequested
from flowport.store.sqlite import connection as opening
from flowport.store.sqlite.store import SqliteStore, open_sqlite_store

from .contract.test_batches import BATCH, build_batch, build_row
from .samples import ACCOUNT, OWNER, build_run, finish_child, start_child


def get_mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return path.stat().st_mode & 0o777


def open_and_close(path: Path) -> None:
    """Open a store for nothing."""
    asyncio.run(open_sqlite_store(path).close())


def change_file(path: Path, statement: str) -> None:
    """Change a closed store behind its back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


async def test_commits_are_synced(store: SqliteStore) -> None:
    """The promise "written before the start request leaves" holds by the settings of the one connection."""
    pragmas = "SELECT * FROM pragma_synchronous, pragma_journal_mode, pragma_foreign_keys, pragma_fullfsync"
    row = await store.worker.perform_alone(lambda connection: connection.execute(pragmas).fetchone())
    assert tuple(row) == (2, "wal", 1, 1)


async def test_only_the_owner_of_the_files_can_read_them(store: SqliteStore, path: Path) -> None:
    """Prompts and signed links are private."""
    await store.accept(build_run("run_1"))
    assert get_mode(path.parent) == 0o700
    assert {file.name: get_mode(file) for file in path.parent.iterdir()} == {
        "store.sqlite3": 0o600,
        "store.sqlite3-wal": 0o600,
        "store.sqlite3-shm": 0o600,
    }


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    """It may have been copied from a backup."""
    open_and_close(path)
    path.chmod(0o644)
    open_and_close(path)
    assert get_mode(path) == 0o600


async def test_a_hundred_accepts_side_by_side_share_their_syncs(store: SqliteStore) -> None:
    """A batch must not wait for a hundred turns of a disk."""
    before = store.worker.commits
    await asyncio.gather(*(store.accept(build_run(f"run_{n}")) for n in range(100)))
    assert 0 < store.worker.commits - before < 100
    assert len(await store.get_live_runs(account_id=ACCOUNT)) == 100


def make_nothing(path: Path) -> None:
    """Put a folder where the file should be."""
    path.mkdir(parents=True)


def make_garbage(path: Path) -> None:
    """Put a file there that is not a database."""
    path.parent.mkdir()
    path.write_bytes(b"This is a shopping list. " * 100)


def make_damaged(path: Path) -> None:
    """Put a store there whose first pages were partly written over."""
    open_and_close(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)


def make_foreign(path: Path) -> None:
    """Put another program's database there."""
    path.parent.mkdir()
    change_file(path, "CREATE TABLE recipes (name)")


def make_too_new(path: Path) -> None:
    """Put a store there that this version would misread."""
    open_and_close(path)
    change_file(path, "PRAGMA user_version = 99")


def make_file_for_folder(path: Path) -> None:
    """Put a file where the folder should be."""
    path.parent.write_text("no folder", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (make_nothing, "its file cannot be opened"),
        (make_garbage, "its file is not a database"),
        (make_damaged, "its file is damaged"),
        (make_foreign, "its file is another program's database"),
        (make_too_new, "it was written by a newer Flowport"),
        (make_file_for_folder, "its file cannot be opened (File exists)"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_in_a_sentence(
    path: Path, make: Callable[[Path], None], problem: str
) -> None:
    """The user who repairs it may not know SQLite."""
    make(path)
    with pytest.raises(StoreError) as caught:
        open_sqlite_store(path)
    assert caught.value.problem == problem


async def test_a_full_disk_refuses_new_runs_and_lists_the_old(store: SqliteStore) -> None:
    """No start is paid for that could be forgotten, and what was paid for can still be read."""
    await store.accept(build_run("run_1"))
    await store.worker.perform_alone(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    with pytest.raises(StoreError, match="the disk is full"):
        await store.accept(build_run("run_2", arguments_json="x" * 1_000_000))
    assert await store.get_live_runs(account_id=ACCOUNT) == (build_run("run_1"),)


async def test_a_file_that_may_not_be_written_is_reported(store: SqliteStore) -> None:
    """It looks like every other fault of the store: nothing is started."""
    await store.worker.perform_alone(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreError, match="its file may not be written"):
        await store.accept(build_run("run_1"))


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_file_kept_locked_is_reported_after_a_while(path: Path, lock: str) -> None:
    """Another program that holds the file, for reading or only for writing, must not delay our start without limit."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {lock}")
        with pytest.raises(StoreError, match="another process keeps it locked"):
            open_sqlite_store(path, busy_seconds=0.03)


def test_a_database_that_cannot_be_shared_is_refused() -> None:
    """Without a write-ahead log two processes would lock each other out; memory stands for such a disk."""
    with closing(sqlite3.connect(":memory:")) as memory, pytest.raises(StoreError, match="share a database"):
        opening._configure(memory, 0.0)


ACCEPT_RUNS = """
import asyncio, sys
from pathlib import Path
from flowport.store.sqlite.store import open_sqlite_store
from store.samples import build_run

async def main(path, name):
    store = open_sqlite_store(Path(path))
    for first in range(0, 100, 5):
        await asyncio.gather(*(store.accept(build_run(f"run_{name}_{n}")) for n in range(first, first + 5)))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_four_processes_write_at_once_and_lose_nothing(path: Path) -> None:
    """They also create the file together, which SQLite alone would let fail."""
    children = [start_child(ACCEPT_RUNS, path, name) for name in "abcd"]
    for child in children:
        finish_child(child)
    store = open_sqlite_store(path)
    assert len(await store.get_live_runs(account_id=ACCOUNT)) == 400
    await store.close()


NOTE_STARTING = """
import asyncio, sys
from pathlib import Path
from flowport.domain.run_events import StartRequested
from flowport.store.sqlite.store import open_sqlite_store
from store.samples import build_run

async def main(path):
    store = open_sqlite_store(Path(path))
    await store.accept(build_run("run_1"))
    print(type(await store.record("run_1", StartRequested(7.0))).__name__, flush=True)
    sys.stdin.read()

asyncio.run(main(sys.argv[1]))
"""


async def test_a_killed_process_leaves_its_start_on_record(path: Path) -> None:
    """The next process must know that the request may have left."""
    child = start_child(NOTE_STARTING, path)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "Recorded\n"
        child.kill()
    store = open_sqlite_store(path)
    (run,) = await store.get_live_runs(account_id=ACCOUNT)
    assert run == build_run("run_1", RunState.STARTING, starting_at=7.0)
    await store.close()


def remove(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def replace_file(path: Path) -> None:
    """Put another file in its place."""
    path.rename(path.with_name("aside"))
    path.write_bytes(b"other")


def empty(path: Path) -> None:
    """Cut the file off."""
    os.truncate(path, 0)


def move_folder(path: Path) -> None:
    """Rename the folder around it."""
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("lose", [remove, replace_file, empty, move_folder])
async def test_a_file_that_was_taken_away_begins_no_run(path: Path, lose: Callable[[Path], None]) -> None:
    """It would take every write, and the next process, which cannot see them, would pay again."""
    store = open_sqlite_store(path)
    await store.accept(build_run("run_1"))
    lose(path)
    with pytest.raises(StoreError, match="while Flowport is running"):
        await store.accept(build_run("run_2"))
    with pytest.raises(StoreError, match="while Flowport is running"):
        await store.record("run_1", StartRequested(1.0))
    await store.close()


async def test_a_damaged_record_begins_no_batch_and_no_row(store: SqliteStore) -> None:
    """What is recorded in a damaged file may be lost, and would be paid for again."""
    await store.accept_batch(build_batch())
    store.worker.damage = StoreError("it is damaged", "Restore it.")
    for refused in (store.accept_batch(build_batch("batch_2")), store.accept_rows(BATCH, [build_row(1)])):
        with pytest.raises(StoreError):
            await refused


async def test_an_erased_batch_leaves_no_trace_in_the_file(store: SqliteStore, path: Path) -> None:
    """Nothing of what its rows were made of may be read again."""
    await store.accept_batch(build_batch())
    await store.accept_rows(BATCH, [build_row(1, RunState.SUCCEEDED)])
    await store.finish_batch(BATCH, Finished(RunState.SUCCEEDED, 900.0), csv_path="", csv_problem="")
    await store.erase_run(BATCH, owner=OWNER)
    for word in (b'{"shared"', b'{"shown"', b"canonical 3"):
        assert word not in path.read_bytes()
