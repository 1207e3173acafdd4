"""The reconciler: whatever state runs and jobs are in, one look makes them consistent, and a second one finds nothing."""

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowport.domain.models import Output, OutputKind, RunState
from flowport.store.cluster import Reconciled
from flowport.store.postgres.job_engine import QUEUES, TASK
from flowport.store.postgres.jobs import PRIORITY
from flowport.store.postgres.reconcile import reconcile
from flowport.store.postgres.transaction import Transaction
from tests.store.samples import build_run
from tests.support.patience import PATIENCE_SECONDS
from tests.support.queue import Queue, open_queue

pytestmark = pytest.mark.anyio

LIVE_WORKER, DEAD_WORKER = 1, 2
JOBS: Final[dict[str, list[tuple[str, int | None, bool]]]] = {
    "none": [],
    "waiting": [("todo", None, False)],
    "delayed": [("todo", None, True)],
    "executed": [("doing", LIVE_WORKER, False)],
    "executed with a next": [("doing", LIVE_WORKER, False), ("todo", None, False)],
    "of a dead worker": [("doing", DEAD_WORKER, False)],
    "of no worker": [("doing", None, False)],
    "of a dead worker with a next": [("doing", DEAD_WORKER, False), ("todo", None, False)],
    "failed": [("failed", None, False)],
    "cancelled": [("cancelled", None, False)],
    "succeeded and aborted": [("succeeded", None, False), ("aborted", None, False)],
}
"""The jobs of a run: status, worker, and whether it waits for a later attempt."""


@dataclass(frozen=True)
class Case:
    """A run and its jobs."""

    state: RunState
    is_queued: bool
    is_followed: bool
    is_row: bool
    is_recent: bool
    output: str
    """Of a run that is over: saved, unsaved, expired or none."""
    jobs: str
    is_recorded: bool = True
    """Whether there is a run at all."""

    def has_work(self, *, should_save: bool) -> bool:
        """Return whether the run has something to do, by the rule in words."""
        if not (self.is_recorded and self.is_queued):
            return False
        if not self.state.is_final:
            return self.is_followed or not self.state.is_at_provider
        return should_save and self.is_recent and self.output == "unsaved"


ACCEPTED = Case(
    RunState.ACCEPTED, is_queued=True, is_followed=True, is_row=False, is_recent=False, output="none", jobs="none"
)

CASES = st.builds(
    Case,
    state=st.sampled_from(RunState),
    is_queued=st.sampled_from([True, True, True, False]),
    is_followed=st.sampled_from([True, True, False]),
    is_row=st.booleans(),
    is_recent=st.booleans(),
    output=st.sampled_from(["unsaved", "saved", "expired", "none"]),
    jobs=st.sampled_from(sorted(JOBS)),
    is_recorded=st.sampled_from([True, True, True, False]),
)


async def write(queue: Queue, n: int, case: Case) -> None:
    """Write a run and its jobs, past the code under test."""
    run_id = f"run_{n}"
    if case.is_recorded:
        now = time.time()
        output = Output(
            n=1,
            kind=OutputKind.IMAGE,
            url="https://files.example/1",
            saved_path="/results/1" if case.output == "saved" else "",
            expires_at=now - 60 if case.output == "expired" else now + 3600,
            save_problem="gone" if case.output == "expired" else "",
        )
        finished_at = (now - 60 if case.is_recent else now - 30 * 24 * 3600) if case.state.is_final else None
        run = build_run(
            run_id,
            case.state,
            is_followed=case.is_followed,
            batch_id="batch_1" if case.is_row else "",
            finished_at=finished_at,
            outputs=(output,) if case.state.is_final and case.output != "none" else (),
        )
        await queue.insert(run, is_queued=case.is_queued)
        await queue.execute_sql("DELETE FROM procrastinate_jobs WHERE lock = %s", f"run:{run_id}")
    for status, worker, is_delayed in JOBS[case.jobs]:
        await queue.execute_sql(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, status, worker_id, scheduled_at) "
            "VALUES ('runs', 'advance', %s, %s, jsonb_build_object('run_id', %s::text), %s::procrastinate_job_status, %s, "
            "CASE WHEN %s THEN now() + interval '1 hour' END)",
            *(f"run:{run_id}", f"run:{run_id}", run_id, status, worker, is_delayed),
        )


async def look(queue: Queue, *, should_save: bool, dead_seconds: float | None = 10.0) -> Reconciled:
    """Compare once."""
    found = await queue.database.write(
        partial(
            reconcile, queues=QUEUES, task=TASK, priority=PRIORITY, dead_seconds=dead_seconds, should_save=should_save
        )
    )
    assert found is not None
    return found


async def empty(queue: Queue) -> None:
    """Remove everything, and add a worker that lives and one that does not."""
    await queue.execute_sql("TRUNCATE runs, procrastinate_jobs, procrastinate_workers CASCADE")
    await queue.execute_sql(
        "INSERT INTO procrastinate_workers OVERRIDING SYSTEM VALUE "
        f"VALUES ({LIVE_WORKER}, now()), ({DEAD_WORKER}, now() - interval '15 seconds')"
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cases=st.lists(CASES, min_size=1, max_size=12), should_save=st.booleans())
async def test_one_look_makes_any_state_sound(database_url: str, cases: list[Case], should_save: bool) -> None:
    """Every run with something to do has a job, no other has a waiting one, and living workers keep theirs."""
    async with open_queue(database_url) as queue:
        await empty(queue)
        for n, case in enumerate(cases):
            await write(queue, n, case)
        found = await look(queue, should_save=should_save)

        expected: Counter[tuple[str, str]] = Counter()
        stalled = missing = needless = 0
        for n, case in enumerate(cases):
            jobs = JOBS[case.jobs]
            is_executed = ("doing", LIVE_WORKER, False) in jobs
            is_stalled = case.jobs.startswith("of ")
            is_waiting = any(status == "todo" for status, _, _ in jobs) or is_stalled
            stalled += is_stalled
            if is_executed:
                expected[f"run_{n}", "doing"] += 1
            if not case.has_work(should_save=should_save):
                needless += is_waiting
                continue
            missing += not is_waiting and not is_executed
            if is_waiting or not is_executed:
                expected[f"run_{n}", "todo"] += 1
        assert Counter(await queue.get_jobs()) == expected
        assert found == Reconciled(stalled=stalled, missing=missing, needless=needless)

        assert await look(queue, should_save=should_save) == Reconciled()
        assert Counter(await queue.get_jobs()) == expected


async def test_a_job_that_is_added_is_that_of_an_acceptance(database_url: str) -> None:
    """A job of the reconciler is what the acceptance would have added, with the priority of its kind."""
    columns = "SELECT queue_name, task_name, priority, lock, queueing_lock, args - 'due_at', args ? 'due_at' FROM procrastinate_jobs"
    async with open_queue(database_url) as queue:
        await queue.add("run_1")
        await queue.add("row_1", batch_id="batch_1")
        await queue.add("batch_1", row_count=2)
        accepted = await queue.execute_sql(f"{columns} ORDER BY lock")
        await queue.execute_sql("DELETE FROM procrastinate_jobs")
        await look(queue, should_save=True)
        assert await queue.execute_sql(f"{columns} ORDER BY lock") == accepted


async def test_what_the_reconciler_gives_back_is_begun_at_once(database_url: str) -> None:
    """Workers are notified of jobs that are given back or added, as of new ones."""
    async with open_queue(database_url) as queue:
        await queue.database.open()
        async with queue.database.pool.connection() as connection:
            await empty(queue)
            await write(queue, 1, replace(ACCEPTED, jobs="of a dead worker"))
            await write(queue, 2, replace(ACCEPTED, jobs="none"))
            await connection.execute('LISTEN "procrastinate_queue_v1#runs"')
            await look(queue, should_save=True)
            channels = [one.channel async for one in connection.notifies(timeout=PATIENCE_SECONDS, stop_after=2)]
        assert channels == ["procrastinate_queue_v1#runs"] * 2


async def test_dead_workers_are_left_alone_by_a_process_that_cannot_judge(database_url: str) -> None:
    """Only jobs without a worker are given back by a process that was not there for long enough."""
    async with open_queue(database_url) as queue:
        await empty(queue)
        await write(queue, 1, replace(ACCEPTED, jobs="of a dead worker"))
        await write(queue, 2, replace(ACCEPTED, jobs="of no worker"))
        assert await look(queue, should_save=True, dead_seconds=None) == Reconciled(stalled=1)
        assert await queue.get_jobs() == [("run_1", "doing"), ("run_2", "todo")]
        found = await queue.jobs.reconcile()
        assert found == Reconciled()


async def test_one_process_reconciles_at_a_time(database_url: str) -> None:
    """A second look at the same time does nothing."""
    async with open_queue(database_url) as queue:

        async def look_inside(transaction: Transaction) -> None:
            """Look while this transaction has the lock."""
            await reconcile(
                transaction,
                queues=QUEUES,
                task=TASK,
                priority=PRIORITY,
                dead_seconds=None,
                should_save=True,
            )
            assert await queue.jobs.reconcile() is None

        await queue.database.write(look_inside)
        assert await queue.jobs.reconcile() == Reconciled()


async def test_old_runs_cost_a_look_nothing(database_url: str) -> None:
    """The looks go by indexes: none reads the table of runs from end to end, however many old runs there are."""
    async with open_queue(database_url) as queue:
        await queue.add("run_1", RunState.SUCCEEDED)
        columns = "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'runs'::regclass AND attnum > 0 AND attidentity = '' AND attname <> 'id'"
        [(names,)] = await queue.execute_sql(columns)
        await queue.execute_sql(
            f"INSERT INTO runs (id, {names}) SELECT 'old_' || n, {names} FROM runs, generate_series(1, 20000) AS n"
        )
        await queue.execute_sql("UPDATE runs SET finished_at = extract(epoch FROM now())")
        await queue.execute_sql("DELETE FROM procrastinate_jobs")
        await queue.execute_sql("ANALYZE runs")
        reads = "SELECT seq_scan, seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'runs'"

        async def count(transaction: Transaction) -> tuple[object, object]:
            """Return how the table was read before and after one look: what the connection did earlier may count too."""
            before = await (await transaction.execute(reads)).fetchone()
            await reconcile(
                transaction,
                queues=QUEUES,
                task=TASK,
                priority=PRIORITY,
                dead_seconds=10.0,
                should_save=True,
            )
            return before, await (await transaction.execute(reads)).fetchone()

        before, after = await queue.database.write(count)
        assert after == before
