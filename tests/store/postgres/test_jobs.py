"""Jobs on a real PostgreSQL: each is executed until it returns, by one worker at a time, and none is lost."""

import logging
from functools import partial

import anyio
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from flowport.domain.models import RunState
from flowport.store.cluster import JobAgain, QueueState, Reconciled
from flowport.store.postgres.job_engine import QUEUES, TASK, FencedJobs, QueueConnector
from flowport.store.postgres.jobs import PRIORITY
from flowport.store.postgres.reconcile import reconcile
from tests.support.queue import Queue, open_queue

pytestmark = pytest.mark.anyio


async def test_each_run_is_executed_once_and_its_job_ends(database_url: str) -> None:
    """A run that is accepted is executed by a worker, and nothing of its job stays behind."""
    async with open_queue(database_url) as queue, queue.working():
        for n in range(20):
            await queue.add(f"run_{n}")
        await queue.wait_for(lambda: len(queue.executed) == 20)
        await queue.wait_for_jobs()
        assert sorted(queue.executed) == sorted(f"run_{n}" for n in range(20))


async def test_two_workers_never_execute_one_run_at_once(database_url: str) -> None:
    """A second job of a run that is executed waits for the first, on any worker."""
    under_way: set[str] = set()
    overlaps: list[str] = []
    ended = 0

    async def execute(run_id: str) -> None:
        """Execute a run."""
        nonlocal ended
        if run_id in under_way:
            overlaps.append(run_id)
        under_way.add(run_id)
        await anyio.sleep(0.05)
        under_way.discard(run_id)
        ended += 1

    async with open_queue(database_url) as one, open_queue(database_url) as two:
        async with one.working(execute), two.working(execute):
            for n in range(5):
                await one.add(f"run_{n}")
            for _ in range(10):
                for n in range(5):
                    await two.jobs.resume(f"run_{n}")
                await anyio.sleep(0.02)
            await one.wait_for_jobs()
        assert overlaps == []
        assert set(one.executed) | set(two.executed) == {f"run_{n}" for n in range(5)}


async def test_a_call_that_is_waited_for_goes_before_the_rows_of_batches(database_url: str) -> None:
    """Jobs of rows are executed after those that a call waits for."""
    async with open_queue(database_url) as queue:
        await queue.add("row_1", batch_id="batch_1")
        await queue.add("row_2", batch_id="batch_1")
        await queue.add("run_1")
        async with queue.working(concurrency=1):
            await queue.wait_for_jobs()
        assert queue.executed == ["run_1", "row_1", "row_2"]


async def test_a_job_goes_on_where_another_worker_is_free(database_url: str) -> None:
    """A job that is to be executed again is begun at once by a worker that is idle."""
    async with open_queue(database_url) as one, open_queue(database_url) as two:

        async def pass_on(run_id: str) -> None:
            """Pass the job on."""
            if len(one.executed) + len(two.executed) < 6:
                raise JobAgain
            await one.finish(run_id)

        async with one.working(pass_on), two.working(pass_on):
            await one.add("run_1")
            await one.wait_for_jobs()
        assert len(one.executed) + len(two.executed) == 6


async def test_a_job_is_executed_later(database_url: str) -> None:
    """A job that asks for a pause is executed after it, by any worker."""
    began_at: list[float] = []

    async def execute(_run_id: str) -> None:
        """Execute a run."""
        began_at.append(anyio.current_time())
        if len(began_at) == 1:
            raise JobAgain(0.3)

    async with open_queue(database_url) as queue:
        await queue.add("run_1")
        async with queue.working(execute):
            await queue.wait_for_jobs()
        assert began_at[1] - began_at[0] >= 0.3


async def test_a_job_that_fails_is_executed_again_after_growing_pauses(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error never ends a job: the pauses grow, on any worker, and equal errors are logged once."""

    async def fail(_run_id: str) -> None:
        """Fail."""
        raise RuntimeError("a mistake")

    async with open_queue(database_url) as queue:
        await queue.add("run_1")
        pauses = []
        async with queue.working(fail):
            for attempt in range(1, 4):
                await queue.wait_for(lambda attempt=attempt: len(queue.executed) == attempt)  # type: ignore[misc]
                await queue.wait_for_jobs(("run_1", "todo"))
                [(pause_seconds,)] = await queue.execute_sql(
                    "SELECT extract(epoch FROM scheduled_at - now())::float8 FROM procrastinate_jobs"
                )
                pauses.append(pause_seconds)
                await queue.execute_sql("UPDATE procrastinate_jobs SET scheduled_at = now()")
        assert 3 < pauses[0] <= 5 < pauses[1] <= 10 < pauses[2] <= 20
    assert [record.levelno for record in caplog.records if record.exc_info].count(logging.ERROR) == 1


async def test_something_new_to_do_ends_a_pause(database_url: str) -> None:
    """A job that waits for a later attempt is executed at once when its run is resumed."""

    async def execute(run_id: str) -> None:
        """Execute a run."""
        if len(queue.executed) == 1:
            raise JobAgain(600)
        await queue.finish(run_id)

    async with open_queue(database_url) as queue, queue.working(execute):
        await queue.add("run_1")
        await queue.wait_for(lambda: queue.executed == ["run_1"])
        await queue.wait_for_jobs(("run_1", "todo"))
        await queue.jobs.resume("run_1")
        await queue.wait_for_jobs()


async def test_a_run_that_is_no_longer_polled_is_resumed(database_url: str) -> None:
    """A run without a job is polled again when it is resumed, and has one job however often that is asked for."""
    async with open_queue(database_url) as queue:
        await queue.add("run_1", RunState.RUNNING, is_followed=False)
        await queue.execute_sql("DELETE FROM procrastinate_jobs")
        for _ in range(3):
            await queue.jobs.resume("run_1")
        assert await queue.get_jobs() == [("run_1", "todo")]
        assert await queue.execute_sql("SELECT is_followed FROM runs") == [(True,)]


async def test_a_run_of_a_process_gets_no_job(database_url: str) -> None:
    """A run that only its own process can follow is not queued by being resumed."""
    async with open_queue(database_url) as queue:
        await queue.add("run_1", RunState.RUNNING, is_followed=False)
        await queue.execute_sql("DELETE FROM procrastinate_jobs")
        await queue.execute_sql("UPDATE runs SET is_queued = false")
        await queue.jobs.resume("run_1")
        await queue.jobs.resume("run_unknown")
        assert await queue.get_jobs() == []


async def test_draining_gives_jobs_to_others(database_url: str) -> None:
    """A worker that drains ends its executions, and another has their jobs at once."""
    began = anyio.Event()

    async def hold(_run_id: str) -> None:
        """Hold the job."""
        began.set()
        await anyio.sleep_forever()

    async with open_queue(database_url) as one, open_queue(database_url) as two, one.working(hold):
        await one.add("run_1")
        await began.wait()
        async with two.working():
            await one.jobs.drain()
            await two.wait_for(lambda: two.executed == ["run_1"])
            await two.add("run_2")
            await two.wait_for(lambda: two.executed == ["run_1", "run_2"])
        assert one.executed == ["run_1"]


async def test_draining_leaves_nothing_half_done(database_url: str) -> None:
    """What an execution shields, such as a start request, is finished before its job is given back."""
    began, answered = anyio.Event(), anyio.Event()
    finished = []

    async def start(run_id: str) -> None:
        """Send a start request."""
        with anyio.CancelScope(shield=True):
            began.set()
            await answered.wait()
            finished.append(run_id)
        await anyio.sleep_forever()

    async with open_queue(database_url) as queue, queue.working(start):
        await queue.add("run_1")
        await began.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(queue.jobs.drain)
            assert await queue.get_jobs() == [("run_1", "doing")]
            answered.set()
        assert finished == ["run_1"]
        assert await queue.get_jobs() == [("run_1", "todo")]


async def test_a_worker_that_is_cancelled_drains(database_url: str) -> None:
    """Cancelling the work gives its jobs back, as draining does."""
    began = anyio.Event()

    async def hold(_run_id: str) -> None:
        """Hold the job."""
        began.set()
        await anyio.sleep_forever()

    async with open_queue(database_url) as queue:
        await queue.add("run_1")
        async with queue.working(hold):
            await began.wait()
        assert await queue.get_jobs() == [("run_1", "todo")]
        assert (await queue.jobs.get_state()).workers == 0


async def test_the_end_of_a_job_counts_for_who_has_it(database_url: str) -> None:
    """A worker whose job was given to another neither ends nor takes it back (procrastinate-org/procrastinate#1518)."""
    first, second = anyio.Event(), anyio.Event()
    let_go = {name: anyio.Event() for name in ("one", "two")}

    async def hold_one(_run_id: str) -> None:
        """Hold the job."""
        first.set()
        await let_go["one"].wait()

    async def hold_two(_run_id: str) -> None:
        """Hold the job."""
        second.set()
        await let_go["two"].wait()

    async with open_queue(database_url) as one, open_queue(database_url) as two:
        await one.add("run_1")
        # With its one place taken it cannot fetch the job again before the other does.
        async with one.working(hold_one, concurrency=1):
            await first.wait()
            await _give_back(one)
            async with two.working(hold_two):
                await second.wait()
                let_go["one"].set()
                await one.add("run_2")
                await one.wait_for(lambda: "run_2" in one.executed + two.executed)
                assert ("run_1", "doing") in await one.get_jobs()
                let_go["two"].set()
                await one.wait_for_jobs()


async def _give_back(queue: Queue) -> None:
    """Do what the reconciler does with the jobs of a dead worker."""
    await queue.execute_sql(
        "UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1, worker_id = NULL WHERE status = 'doing'"
    )


async def test_latency_counts_from_when_a_job_was_due(database_url: str) -> None:
    """Listeners learn how long each job was due before a worker took it."""
    latencies: list[float] = []
    async with open_queue(database_url) as queue:
        queue.jobs.latency_listeners.append(latencies.append)
        await queue.add("run_1")
        await queue.execute_sql("""UPDATE procrastinate_jobs SET args = args || '{"due_at": 1}'""")
        await queue.add("run_2")
        async with queue.working():
            await queue.wait_for_jobs()
    assert latencies[0] > 1e9
    assert 0 <= latencies[1] < 60


async def test_a_worker_takes_jobs_while_the_database_has_its_heartbeat(database_url: str) -> None:
    """Others take one whose beats do not arrive for dead, and give its jobs away."""
    async with open_queue(database_url, dead_seconds=0.5) as queue:
        assert not queue.jobs.is_taking_jobs
        async with queue.working():
            await queue.wait_for(lambda: queue.jobs.is_taking_jobs)
            async with await psycopg.AsyncConnection.connect(database_url) as other:
                await other.execute("LOCK TABLE procrastinate_workers IN SHARE ROW EXCLUSIVE MODE")
                await queue.wait_for(lambda: not queue.jobs.is_taking_jobs)
            await queue.wait_for(lambda: queue.jobs.is_taking_jobs)
        assert not queue.jobs.is_taking_jobs


async def test_the_state_counts_what_is_due(database_url: str) -> None:
    """Jobs that wait for a later attempt are not counted as waiting."""
    async with open_queue(database_url) as queue:
        assert await queue.jobs.get_state() == QueueState(0, 0, 0, 0, 0.0)
        for n in range(3):
            await queue.add(f"run_{n}")
        await queue.execute_sql(
            "UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour' WHERE args ->> 'run_id' = 'run_0'"
        )
        state = await queue.jobs.get_state()
        assert (state.waiting, state.running, state.stalled, state.workers) == (2, 0, 0, 0)
        assert state.oldest_seconds > 0


async def test_jobs_that_were_fetched_and_not_begun_are_given_back(database_url: str) -> None:
    """A worker fetches several at once; when it ends, another one executes those that it has not begun."""
    async with open_queue(database_url) as queue:
        for n in range(4):
            await queue.add(f"run_{n}")
        connector = QueueConnector(database_url)
        jobs = FencedJobs(connector, concurrency=3, dead_seconds=10.0)
        async with AsyncConnectionPool(database_url, open=False) as pool:
            await connector.open_async(pool)
            worker_id = await jobs.register_worker()
            first = await jobs.fetch_job(QUEUES, worker_id)
            assert [status for _, status in await queue.get_jobs()] == ["doing", "doing", "doing", "todo"]
            await jobs.unregister_worker(worker_id)
        assert first is not None
        assert await queue.get_jobs() == [("run_0", "doing"), ("run_1", "todo"), ("run_2", "todo"), ("run_3", "todo")]
        async with queue.working():
            await queue.wait_for_jobs(("run_0", "doing"))
        assert sorted(queue.executed) == ["run_1", "run_2", "run_3"]


async def test_a_worker_that_was_paused_lives_as_soon_as_it_takes_a_job(database_url: str) -> None:
    """Its heartbeat is old until the next one; a reconciler that looks in between would give its new job to another worker."""
    async with open_queue(database_url) as queue:
        await queue.add("run_0")
        connector = QueueConnector(database_url)
        jobs = FencedJobs(connector, concurrency=3, dead_seconds=10.0)
        async with AsyncConnectionPool(database_url, open=False) as pool:
            await connector.open_async(pool)
            worker_id = await jobs.register_worker()
            await queue.execute_sql("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
            assert await jobs.fetch_job(QUEUES, worker_id) is not None
            found = await queue.database.write(
                partial(reconcile, queues=QUEUES, task=TASK, priority=PRIORITY, dead_seconds=10.0, should_save=True)
            )
        assert found == Reconciled()
        assert await queue.get_jobs() == [("run_0", "doing")]
