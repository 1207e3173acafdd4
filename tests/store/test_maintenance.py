"""Pruning what is old, erasing what is unwanted, and knowing how much there is."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import RunState
from flowport.store.records import Erasure
from flowport.store.sqlite import maintenance as upkeep
from flowport.store.sqlite.store import SqliteStore, open_sqlite_store

from .contract.test_pruning import KEPT, LIMIT, build_old_run
from .samples import ACCOUNT, OUTPUT, OWNER, build_run

SECRET = "my grandmother in a red coat"


async def leave_traces(store: SqliteStore) -> None:
    """Undo what some builds of SQLite do by themselves: writing over what is deleted."""
    await store.worker.perform_alone(lambda connection: connection.execute("PRAGMA secure_delete = OFF").fetchone())


async def count_rows(store: SqliteStore, table: str) -> int:
    """Return how many rows a table has."""
    query = f"SELECT count(*) FROM {table}"
    count: int = await store.worker.read(lambda connection: connection.execute(query).fetchone()[0])
    return count


def find_text(path: Path, text: str) -> list[str]:
    """Return which of a store's files hold a text."""
    return [file.name for file in path.parent.glob(f"{path.name}*") if text.encode() in file.read_bytes()]


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.UNKNOWN])
async def test_what_is_over_seen_and_old_goes_with_all_that_belongs_to_it(store: SqliteStore, state: RunState) -> None:
    """Rows of runs that are gone would grow without limit."""
    await store.accept(replace(build_old_run("run_1"), state=state))
    insert = "INSERT INTO waiting_calls (id, run_id, process_id) VALUES ('w', 'run_1', 'p')"
    await store.worker.write(lambda connection: connection.execute(insert))
    assert (await store.prune(before=LIMIT)).runs == 1
    assert [await count_rows(store, table) for table in ("runs", "outputs", "waiting_calls")] == [0, 0, 0]


async def test_names_outlive_their_runs(store: SqliteStore) -> None:
    """A name never passes to another app."""
    await store.assign_tool_names("s", {"app1": "a"})
    await store.accept(build_old_run("run_1"))
    await store.prune(before=LIMIT)
    await store.erase_owner(OWNER)
    assert await count_rows(store, "tool_names") == 1


async def test_pruning_is_done_in_slices(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's thread has others to serve; a run that stays does not end the walk."""
    monkeypatch.setattr(upkeep, "SLICE_ROWS", 3)
    await asyncio.gather(*(store.accept(build_old_run(f"run_{n}")) for n in range(7)), store.accept(KEPT["live"]))
    before = store.worker.commits
    assert (await store.prune(before=LIMIT)).runs == 7
    assert store.worker.commits - before == 3
    assert await store.get_live_runs(account_id=ACCOUNT) == (KEPT["live"],)


async def test_an_erased_run_leaves_no_trace_in_the_file(store: SqliteStore, path: Path) -> None:
    """Erased runs must not be readable in the file; their neighbours stay whole, and another Flowport goes on."""
    other = open_sqlite_store(path)
    await leave_traces(store)
    for n in range(40):
        await other.accept(build_old_run(f"run_{n}", arguments_json=f'"harmless {n}{"x" * 3000}"'))
    await store.accept(build_old_run("run_secret", arguments_json=f'"{SECRET}"', failure=SECRET))
    assert find_text(path, SECRET)
    assert await store.erase_run("run_secret", owner=OWNER) == Erasure(1, (OUTPUT.saved_path,))
    assert find_text(path, SECRET) == []
    assert len(await other.get_runs(account_id=None, owner=OWNER, limit=99, undelivered_first=False)) == 40
    await other.accept(build_run("run_after"))
    await other.close()
    assert find_text(path, SECRET) == []


async def test_an_erased_owner_is_gone_but_for_what_is_not_over(store: SqliteStore, path: Path) -> None:
    """A run that goes on may still bring a result, and others' runs are not this owner's to erase."""
    await leave_traces(store)
    for n in range(60):
        await store.accept(build_old_run(f"run_{n}", arguments_json=f'"{SECRET} {n} {"y" * (n * 50)}"'))
    for run in (KEPT["unseen"], KEPT["unknown and unseen"], KEPT["live"], build_old_run("run_theirs", owner="other")):
        await store.accept(run)
    erasure = await store.erase_owner(OWNER)
    assert (erasure.runs, len(erasure.saved_paths)) == (62, 60)
    assert await store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=False) == (KEPT["live"],)
    assert (await store.get_run("run_theirs", account_id=None, owner="other")).outputs == (OUTPUT,)
    assert find_text(path, SECRET) == []


async def test_an_owner_erases_only_own_runs(store: SqliteStore) -> None:
    """Not even by knowing the id."""
    await store.accept(build_old_run("run_1", owner="other"))
    with pytest.raises(RunNotFound):
        await store.erase_run("run_1", owner=OWNER)
    assert await count_rows(store, "runs") == 1


async def test_traces_that_could_not_be_removed_are_reported(path: Path) -> None:
    """While another process reads an older state, the journal cannot be emptied."""
    store = open_sqlite_store(path, busy_seconds=0.05)
    await store.accept(build_old_run("run_1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        with pytest.raises(StoreError, match="traces of what was erased remain"):
            await store.erase_run("run_1", owner=OWNER)
    assert await count_rows(store, "runs") == 0
    await store.close()


async def test_the_disk_use_is_that_of_all_its_files(store: SqliteStore, path: Path) -> None:
    """The journal may be larger than the file itself."""
    await store.accept(build_run("run_1", arguments_json="x" * 100_000))
    assert await store.get_disk_use() == sum(file.stat().st_size for file in path.parent.iterdir())


async def test_pruning_a_large_store_leaves_turns_to_others(store: SqliteStore) -> None:
    """A call that comes meanwhile is accepted before the pruning is over."""
    order: list[str] = []
    rows = [(f"run_{n}",) for n in range(5000)]
    await store.accept(build_old_run("run_first"))
    columns = await store.worker.read(
        lambda connection: [row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] != "id"]
    )
    copied = ", ".join(columns)
    insert = f"INSERT INTO runs (id, {copied}) SELECT ?, {copied} FROM runs WHERE id = 'run_first'"
    await store.worker.write(lambda connection: connection.executemany(insert, rows))

    async def prune() -> None:
        """Take all of them out."""
        await store.prune(before=LIMIT)
        order.append("pruned")

    async def accept() -> None:
        """Come between two slices."""
        await asyncio.sleep(0)
        await store.accept(build_run("run_new"))
        order.append("accepted")

    await asyncio.gather(prune(), accept())
    assert order == ["accepted", "pruned"]
