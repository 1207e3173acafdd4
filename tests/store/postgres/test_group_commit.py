"""Changes that come side by side are committed together, and none depends on another one."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import LiteralString

import anyio
import psycopg
import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import FIRST_LEASE, Run, RunState
from flowport.domain.run_events import Finished, OutputSaved, RunEvent, StartAcknowledged, StartRequested
from flowport.store.postgres.database import Database
from flowport.store.postgres.group_commit import MAX_GROUP_BYTES, GroupCommit, GroupStatement
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.store import PostgresStore
from flowport.store.records import Claimed, Recorded, RecordOutcome
from tests.store.samples import OUTPUT, OWNER, build_run
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import wait_for_locks

pytestmark = pytest.mark.anyio

RUN_IDS = [f"run_{n}" for n in range(20)]
BEGUN = "SELECT count(DISTINCT xmin::text) FROM runs WHERE state = 'starting'"
NUMBERED = GroupStatement(
    "SELECT key, 1000 / number FROM json_to_recordset(%(rows)s::json) AS given (key text, number bigint)",
    "SELECT key, 0 FROM unnest(%(keys)s::text[]) AS key",
)
"""Refuses a zero."""
MEASURED = GroupStatement(
    "SELECT key, octet_length(%(rows)s::text) FROM json_to_recordset(%(rows)s::json) AS given (key text)",
    "SELECT key, 0 FROM unnest(%(keys)s::text[]) AS key",
)
"""Returns how large its rows are."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open a database that has the tables."""
    opened = Database(database_url, prepare=migrate, patience_seconds=PATIENCE_SECONDS)
    yield opened
    await opened.close()


async def claim_all(store: PostgresStore, owner_of: Mapping[str, str] = MappingProxyType({})) -> dict[str, Run]:
    """Accept and claim the runs."""
    claimed = {}
    for run_id in RUN_IDS:
        owner = owner_of.get(run_id, OWNER)
        await store.accept(
            build_run(run_id, lease=FIRST_LEASE, process_id="", canonical_digest=run_id, raw_digest=run_id, owner=owner)
        )
        outcome = await store.claim(run_id, "p1", lease=FIRST_LEASE)
        assert isinstance(outcome, Claimed)
        claimed[run_id] = outcome.run
    return claimed


async def record_all(
    store: PostgresStore,
    runs: dict[str, Run],
    outcomes: dict[str, RecordOutcome],
    build_event: Callable[[Run], RunEvent] = lambda _run: StartRequested(7.0),
    note: Callable[[], object] = int,
) -> None:
    """Record an event of every run side by side, by default that it is being started; each outcome is noted."""

    async def record(run: Run) -> None:
        """Record one."""
        outcomes[run.id] = await store.record(run.id, build_event(run), run.lease)
        note()

    async with anyio.create_task_group() as group:
        for run in runs.values():
            group.start_soon(record, run)


async def test_changes_side_by_side_are_one_commit(database: Database, database_url: str) -> None:
    """They wait for the disk once."""
    store = PostgresStore(database)
    begun: dict[str, RecordOutcome] = {}
    await record_all(store, await claim_all(store), begun)
    assert {type(outcome) for outcome in begun.values()} == {Recorded}
    with psycopg.connect(database_url) as connection:
        assert connection.execute(BEGUN).fetchone() == (1,)


HELD_ROW = "SELECT 1 FROM runs WHERE id = 'run_7' FOR UPDATE"
HELD_TEXT = "SELECT pg_advisory_xact_lock(hashtextextended('provider run r_run_7', 0))"


@pytest.mark.parametrize(
    ("hold", "build_event"),
    [
        (HELD_ROW, lambda _run: StartRequested(7.0)),
        (HELD_TEXT, lambda run: StartAcknowledged(f"r_{run.id}", RunState.RUNNING, 8.0)),
    ],
    ids=["row", "provider's id"],
)
async def test_a_run_that_another_transaction_holds_delays_no_other_run(
    database: Database, database_url: str, hold: LiteralString, build_event: Callable[[Run], RunEvent]
) -> None:
    """A process that was paused in the middle of a transaction keeps the lock of its run, or of the provider's id, for seconds."""
    store = PostgresStore(database)
    runs = await claim_all(store)
    begun: dict[str, RecordOutcome] = {}
    others_begun = anyio.Event()

    def note() -> None:
        """See whether all others have theirs."""
        if len(begun) == len(runs) - 1:
            others_begun.set()

    async with anyio.create_task_group() as group:
        with psycopg.connect(database_url) as connection:
            connection.execute(hold)
            group.start_soon(record_all, store, runs, begun, build_event, note)
            with anyio.fail_after(PATIENCE_SECONDS):
                await others_begun.wait()
            assert "run_7" not in begun
    assert isinstance(begun["run_7"], Recorded)


async def test_files_of_several_people_are_counted_in_one_order(database: Database, database_url: str) -> None:
    """Two processes that save files of the same people side by side never wait for each other."""
    store = PostgresStore(database)
    runs = await claim_all(store, owner_of={run_id: f"owner_{90 - n}" for n, run_id in enumerate(RUN_IDS)})
    finished = Finished(RunState.SUCCEEDED, 8.0, (replace(OUTPUT, saved_path="", size_bytes=None),))
    await record_all(store, runs, {}, lambda _run: StartAcknowledged(f"r_{_run.id}", RunState.RUNNING, 7.0))
    await record_all(store, runs, {}, lambda _run: finished)
    owners = sorted(run.owner for run in runs.values())
    with psycopg.connect(database_url, autocommit=True) as watch:
        watch.cursor().executemany("INSERT INTO file_use VALUES (%s, 0)", [(owner,) for owner in owners])
        async with anyio.create_task_group() as group:
            with psycopg.connect(database_url) as other:
                other.execute("SELECT 1 FROM file_use WHERE owner = %s FOR UPDATE", owners[:1])
                group.start_soon(record_all, store, runs, {}, lambda _run: OutputSaved(OUTPUT))
                await wait_for_locks(watch, 1)
                for owner in owners[1:]:
                    other.execute("SELECT 1 FROM file_use WHERE owner = %s FOR UPDATE NOWAIT", (owner,))
        assert watch.execute("SELECT DISTINCT size_bytes FROM file_use").fetchall() == [(OUTPUT.size_bytes,)]


async def test_a_change_that_is_refused_fails_alone(database: Database) -> None:
    """The others of its group are made without it, and its caller receives the error."""
    commits = GroupCommit(database, {})
    results: dict[int, object] = {}

    async def change(number: int) -> None:
        """Make one change."""
        try:
            results[number] = (
                await commits.change(NUMBERED, {"run_id": "", "number": number}, database.draw_key()) or ()
            )[1]
        except StoreError as exc:
            results[number] = str(exc)

    async with anyio.create_task_group() as group:
        for number in (1, 2, 0, 4):
            group.start_soon(change, number)
    assert "DivisionByZero" in str(results.pop(0))
    assert results == {1: 1000, 2: 500, 4: 250}


async def test_large_changes_are_divided_into_smaller_groups(database: Database) -> None:
    """A statement with a hundred results of megabytes would be refused, and each of them lost."""
    commits = GroupCommit(database, {})
    sizes: list[int] = []

    async def change(key: str) -> None:
        """Make one change of three megabytes."""
        row = await commits.change(MEASURED, {"run_id": "", "text": "x" * 3 * 1024**2}, key)
        assert row is not None
        sizes.append(row[1])

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(change, database.draw_key() + f" {number}")
    assert len(sizes) == 6
    assert max(sizes) <= MAX_GROUP_BYTES
    assert min(sizes) > 3 * 1024**2


async def test_a_caller_that_gives_up_takes_no_change_back(database: Database, database_url: str) -> None:
    """Its change is made, and the others receive their results."""
    store = PostgresStore(database)
    runs = await claim_all(store)
    async with anyio.create_task_group() as group:
        group.start_soon(store.record, "run_1", StartRequested(7.0), runs["run_1"].lease)
        group.start_soon(store.record, "run_2", StartRequested(7.0), runs["run_2"].lease)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert isinstance(await store.record("run_3", StartRequested(7.0), runs["run_3"].lease), Recorded)
    await database.close()
    with psycopg.connect(database_url) as connection:
        begun = connection.execute("SELECT id FROM runs WHERE starting_at = 7 ORDER BY id").fetchall()
    assert begun == [("run_1",), ("run_2",), ("run_3",)]


async def test_every_caller_learns_of_a_closed_database(database: Database) -> None:
    """Nothing waits for a result that cannot come."""
    commits = GroupCommit(database, {})
    await database.close()
    for number in (1, 2):
        with pytest.raises(StoreError, match="stopping"):
            await commits.change(NUMBERED, {"run_id": "", "number": number}, database.draw_key())
