"""What the holder of a run records by one statement: the same as the transaction that reads first, once, and under its lease."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import anyio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flowport.domain.models import FIRST_LEASE, Output, RunState
from flowport.domain.run_events import (
    Cancelled,
    Finished,
    OutputSaved,
    Polled,
    PollingStopped,
    Reported,
    RunEvent,
    StartAcknowledged,
    StartNotTaken,
    StartRequested,
    StartUnknown,
)
from flowport.store.cluster import News, NewsKind
from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.news import parse_news
from flowport.store.postgres.store import PostgresStore
from flowport.store.postgres.transaction import NEWS_CHANNEL
from flowport.store.records import Claimed, ClaimOutcome, Recorded, RecordOutcome, Stale, Taken
from tests.store.samples import OUTPUT, build_run
from tests.support.postgres import PostgresServer, wait_for_locks
from tests.support.postgres_proxy import CuttingProxy, open_proxy

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 60.0
"""However busy the machine is."""
UNSAVED = replace(OUTPUT, saved_path="", size_bytes=None, save_problem="")
ODD = Output(n=2, kind=OUTPUT.kind, url=None, text="half \ud83d of a pair, and a zero \0")
EVENTS: tuple[RunEvent, ...] = (
    StartRequested(7.0, "POST /run"),
    StartNotTaken(),
    StartRequested(8.0, "POST /run"),
    StartAcknowledged("r1", RunState.QUEUED, 9.0),
    Polled(RunState.RUNNING, 10.0),
    Finished(RunState.PARTIAL, 11.0, (UNSAVED, ODD), "One part failed.", 4.0),
    OutputSaved(OUTPUT),
)

SLOW_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION wait()
"""
"""Has each change of a run wait for a lock once it is made."""

OpenStore = Callable[[str], PostgresStore]


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Open stores, and close them after the test."""
    opened: list[PostgresStore] = []

    def open_one(url: str) -> PostgresStore:
        """Open one more."""
        opened.append(PostgresStore(Database(url, prepare=migrate, patience_seconds=PATIENCE_SECONDS)))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
async def proxy(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CuttingProxy]:
    """Start a proxy that loses what the holder of a run sends, or the answer; its folder's path is short."""
    async with open_proxy(postgres, tmp_path_factory.mktemp("pg")) as opened:
        opened.request, opened.answer = b"changed AS (UPDATE", b"SELECT 1\0"
        yield opened


async def test_every_event_is_recorded_as_by_the_transaction(database_url: str, open_store: OpenStore) -> None:
    """Run, outputs and the arguments that are no longer needed: the store that claimed writes what any other one does."""
    holder, other = open_store(database_url), open_store(database_url)
    for run_id in ("run_1", "run_2"):
        await other.accept(build_run(run_id, lease=FIRST_LEASE), whole_arguments="{}")
    first = await holder.claim("run_1", "p9", lease=FIRST_LEASE)
    second = await holder.claim("run_2", "p9", lease=FIRST_LEASE)
    assert isinstance(first, Claimed)
    assert isinstance(second, Claimed)
    for event in EVENTS:
        assert isinstance(await holder.record("run_1", event, first.run.lease), Recorded)
        # It has not claimed the run, so it reads first.
        assert isinstance(await other.record("run_2", event, second.run.lease), Recorded)
        one, two = [await other.get_run_of_any_owner(run_id) for run_id in ("run_1", "run_2")]
        assert replace(one, id="", arguments_json="") == replace(two, id="", arguments_json="")
        assert await other.get_whole_arguments("run_1") == await other.get_whole_arguments("run_2")


@pytest.mark.parametrize("event", [*EVENTS[:1], StartUnknown("No answer.", 9.0)])
async def test_a_holder_that_was_overtaken_records_nothing(
    database_url: str, open_store: OpenStore, event: RunEvent
) -> None:
    """Its lease is an older one, whatever it knows of the run."""
    holder, other = open_store(database_url), open_store(database_url)
    await other.accept(build_run("run_1", lease=FIRST_LEASE))
    claimed = await holder.claim("run_1", "p1", lease=FIRST_LEASE)
    assert isinstance(claimed, Claimed)
    taken = await other.claim("run_1", "p2", lease=claimed.run.lease)
    assert isinstance(taken, Claimed)
    assert await holder.record("run_1", event, claimed.run.lease) == Stale(taken.run)
    assert holder.stale_writes == 1
    assert isinstance(await holder.claim("run_1", "p1", lease=claimed.run.lease), Taken)


@pytest.mark.parametrize("change", [Reported(5.0), PollingStopped()])
async def test_what_others_have_changed_meanwhile_stays(
    database_url: str, open_store: OpenStore, change: RunEvent
) -> None:
    """The holder knows an older state of the run, and must not write it back."""
    holder, other = open_store(database_url), open_store(database_url)
    await other.accept(build_run("run_1", lease=FIRST_LEASE))
    claimed = await holder.claim("run_1", "p1", lease=FIRST_LEASE)
    assert isinstance(claimed, Claimed)
    await holder.record("run_1", StartRequested(7.0), claimed.run.lease)
    changed = await other.record("run_1", change)
    assert isinstance(changed, Recorded)
    recorded = await holder.record("run_1", StartAcknowledged("r1", RunState.RUNNING, 8.0), claimed.run.lease)
    assert isinstance(recorded, Recorded)
    assert recorded.run == await other.get_run_of_any_owner("run_1")
    assert (recorded.run.reported_at, recorded.run.is_followed) == (changed.run.reported_at, changed.run.is_followed)


@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_connection_lost_during_a_change_records_it_once(
    database_url: str, open_store: OpenStore, proxy: CuttingProxy, is_committed: bool
) -> None:
    """Whether the statement or its answer was lost: a recorded start is never taken for an unrecorded one."""
    holder, other = open_store(proxy.get_url(str(conninfo_to_dict(database_url)["dbname"]))), open_store(database_url)
    await other.accept(build_run("run_1", lease=FIRST_LEASE))

    def cut() -> None:
        """Lose the next statement, or the answer to it."""
        proxy.cuts_after, proxy.cuts_before = (1, 0) if is_committed else (0, 1)

    await holder.get_tool_names()
    cut()
    claimed = await holder.claim("run_1", "p1", lease=FIRST_LEASE)
    assert isinstance(claimed, Claimed)
    assert claimed.run.lease == FIRST_LEASE + 1
    for count, event in enumerate(EVENTS, start=1):
        assert proxy.cut == count
        cut()
        recorded = await holder.record("run_1", event, claimed.run.lease)
        assert isinstance(recorded, Recorded)
        kept = await other.get_run_of_any_owner("run_1")
        assert replace(recorded.run, outputs=()) == replace(kept, outputs=())
        assert len(recorded.run.outputs) == len(kept.outputs)


async def test_the_arguments_come_with_the_claim(database_url: str, open_store: OpenStore) -> None:
    """They are returned once from memory, and read from the record after that, as by any other process."""
    holder, other = open_store(database_url), open_store(database_url)
    await other.accept(build_run("run_1", lease=FIRST_LEASE, process_id=""), whole_arguments='{"a": 1}')
    await holder.claim("run_1", "p1", lease=FIRST_LEASE)
    for store in (holder, holder, other):
        assert await store.get_whole_arguments("run_1") == ('{"a": 1}',)


async def test_only_a_claim_that_takes_a_run_from_a_process_is_news(database_url: str, open_store: OpenStore) -> None:
    """The process that loses it lets it go; of a run that no process had until now nothing is to be said."""
    store = open_store(database_url)
    await store.accept(build_run("run_1", lease=FIRST_LEASE, process_id=""))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {NEWS_CHANNEL}")
        await store.claim("run_1", "p1", lease=FIRST_LEASE)
        assert list(connection.notifies(timeout=0, stop_after=1)) == []
        taken = await open_store(database_url).claim("run_1", "p2", lease=FIRST_LEASE + 1)
        assert isinstance(taken, Claimed)
        [notification] = connection.notifies(timeout=PATIENCE_SECONDS, stop_after=1)
    run = taken.run
    expected = News(NewsKind.CHANGED, run.id, run.owner, run.batch_id, run.account_id, goes_on=True)
    assert parse_news(notification.payload, "") == expected


async def test_a_claim_whose_answer_is_lost_is_not_taken_for_that_of_another_process(
    database_url: str, open_store: OpenStore, proxy: CuttingProxy
) -> None:
    """Two processes never have one lease, although the run still says which group changed it last."""
    holder, other = open_store(proxy.get_url(str(conninfo_to_dict(database_url)["dbname"]))), open_store(database_url)
    await other.accept(build_run("run_1", lease=FIRST_LEASE))
    await holder.get_tool_names()
    proxy.cuts_after = 1
    proxy.is_open.clear()
    outcomes: list[ClaimOutcome] = []

    async def claim() -> None:
        """Claim it with a lost answer."""
        outcomes.append(await holder.claim("run_1", "p1", lease=FIRST_LEASE))

    async with anyio.create_task_group() as group:
        group.start_soon(claim)
        with anyio.fail_after(PATIENCE_SECONDS):
            while not proxy.cut:  # noqa: ASYNC110 - the proxy has no event for it
                await anyio.sleep(0.01)
        # The claim of a run that is over is a transaction that reads first.
        await other.record("run_1", Cancelled("By a person.", 8.0))
        taken = await other.claim("run_1", "p2", lease=FIRST_LEASE + 1)
        proxy.is_open.set()
    assert isinstance(taken, Claimed)
    assert outcomes == [Taken()]


async def test_a_change_that_goes_on_without_its_connection_is_recorded(
    database_url: str, open_store: OpenStore, proxy: CuttingProxy
) -> None:
    """The server may still be at it when it is sent again: then it is found once it is committed."""
    holder, other = open_store(proxy.get_url(str(conninfo_to_dict(database_url)["dbname"]))), open_store(database_url)
    await other.accept(build_run("run_1", lease=FIRST_LEASE))
    claimed = await holder.claim("run_1", "p1", lease=FIRST_LEASE)
    assert isinstance(claimed, Claimed)
    outcomes: list[RecordOutcome] = []

    async def record() -> None:
        """Record the start over a connection that is lost meanwhile."""
        outcomes.append(await holder.record("run_1", StartRequested(7.0), claimed.run.lease))

    with psycopg.connect(database_url, autocommit=True) as watch, psycopg.connect(database_url) as slow:
        watch.execute(SLOW_COMMIT)
        slow.execute("SELECT pg_advisory_xact_lock(1)")
        async with anyio.create_task_group() as group:
            group.start_soon(record)
            await wait_for_locks(watch, 1)
            proxy.cut_all()
            await wait_for_locks(watch, 2)
            slow.rollback()
    assert isinstance(outcomes[0], Recorded)
    assert outcomes[0].run == await other.get_run_of_any_owner("run_1")
