"""What may go wrong between a worker and its jobs: lost answers, cut connections, refusals, too few places."""

import anyio
import pytest

from flowport.store.cluster import JobAgain
from flowport.store.postgres.jobs import add_job
from tests.support.queue import connect, open_queue

pytestmark = pytest.mark.anyio


async def test_a_job_that_its_worker_does_not_know_is_given_back(database_url: str) -> None:
    """A job that was given to a worker by an answer that never arrived does not stay with it."""
    async with open_queue(database_url, dead_seconds=1.0) as queue, queue.working():
        await queue.add("run_1")
        await queue.wait_for_jobs()
        await queue.execute_sql(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, status, worker_id) "
            "SELECT 'runs', 'advance', 'run:run_2', 'run:run_2', '{\"run_id\": \"run_2\"}', 'doing', id "
            "FROM procrastinate_workers"
        )
        await queue.wait_for(lambda: queue.executed == ["run_1", "run_2"])
        await queue.wait_for_jobs()


async def test_a_worker_that_was_pruned_comes_back(database_url: str) -> None:
    """A worker whose row was removed while it was paused registers again, and takes jobs."""
    async with open_queue(database_url, dead_seconds=1.0) as queue, queue.working():
        await queue.add("run_1")
        await queue.wait_for_jobs()
        await queue.execute_sql("DELETE FROM procrastinate_workers")
        await queue.add("run_2")
        await queue.wait_for_jobs()
        assert queue.executed == ["run_1", "run_2"]
        assert (await queue.jobs.get_state()).workers == 1


async def test_a_job_that_is_given_back_while_the_next_one_waits_is_one(database_url: str) -> None:
    """A run has one waiting job: what is given back meets the one that was added (procrastinate-org/procrastinate#1446)."""
    began, end = anyio.Event(), anyio.Event()

    async def execute(run_id: str) -> None:
        """Pass the job on the first time."""
        if not began.is_set():
            began.set()
            await end.wait()
            raise JobAgain
        await queue.finish(run_id)

    async with open_queue(database_url) as queue, queue.working(execute):
        run = await queue.add("run_1")
        await began.wait()
        await queue.database.write(lambda transaction: add_job(transaction, run))
        assert await queue.get_jobs() == [("run_1", "doing"), ("run_1", "todo")]
        end.set()
        await queue.wait_for_jobs()
        assert queue.executed == ["run_1", "run_1"]


async def test_connections_that_are_cut_cost_no_job(database_url: str) -> None:
    """Every connection is cut again and again: each run is executed, and none of their jobs stays behind."""
    async with open_queue(database_url) as queue, queue.working():
        for n in range(30):
            await queue.add(f"run_{n}")
            if n % 5 == 0:
                with connect(database_url) as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
        await queue.wait_for_jobs()
        assert set(queue.executed) == {f"run_{n}" for n in range(30)}
        assert await queue.execute_sql("SELECT count(*) FROM runs WHERE state <> 'succeeded'") == [(0,)]


async def test_a_worker_that_fails_begins_again(database_url: str) -> None:
    """An error that ends the worker, such as a table that is locked away for a while, ends no process."""
    async with open_queue(database_url) as queue, queue.working():
        await queue.add("run_1")
        await queue.wait_for_jobs()
        await queue.execute_sql("ALTER TABLE procrastinate_jobs RENAME TO jobs_elsewhere")
        await queue.wait_for(lambda: queue.jobs._worker is None)
        await queue.execute_sql("ALTER TABLE jobs_elsewhere RENAME TO procrastinate_jobs")
        await queue.add("run_2")
        await queue.wait_for_jobs()
        assert queue.executed == ["run_1", "run_2"]


async def test_a_queue_that_drains_before_it_works_takes_nothing(database_url: str) -> None:
    """A process that is ended while it starts leaves all jobs to others."""
    async with open_queue(database_url) as queue:
        await queue.add("run_1")
        await queue.jobs.drain()
        async with queue.working():
            await anyio.sleep(0.1)
            assert queue.executed == []
        assert await queue.get_jobs() == [("run_1", "todo")]


async def test_batches_take_no_place_of_their_rows(database_url: str) -> None:
    """However few runs a worker executes side by side, batches that wait for their rows do not keep them from it."""
    rows_ended = anyio.Event()

    async def execute(run_id: str) -> None:
        """Have batches wait for all rows."""
        if run_id.startswith("batch"):
            await rows_ended.wait()
        elif len([one for one in queue.executed if one.startswith("row")]) == 4:
            rows_ended.set()
        await queue.finish(run_id)

    async with open_queue(database_url) as queue:
        for n in range(3):
            await queue.add(f"batch_{n}", row_count=2)
        async with queue.working(execute, concurrency=1):
            await queue.wait_for(lambda: len(queue.executed) == 3)
            for n in range(4):
                await queue.add(f"row_{n}", batch_id="batch_1")
            await queue.wait_for_jobs()


async def test_no_more_runs_are_executed_side_by_side_than_wanted(database_url: str) -> None:
    """A worker has as many runs as it may have, and takes the next one when one ends."""
    under_way, most = 0, 0

    async def execute(run_id: str) -> None:
        """Count who is under way."""
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await anyio.sleep(0.05)
        under_way -= 1
        await queue.finish(run_id)

    async with open_queue(database_url) as queue:
        for n in range(12):
            await queue.add(f"run_{n}")
        async with queue.working(execute, concurrency=3):
            await queue.wait_for_jobs()
    assert most == 3
