"""What may go wrong between a worker and its jobs: lost answers, cut connections, refusals, too few places."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from procrastinate.jobs import Status
from psycopg_pool import AsyncConnectionPool

from flowport.store.cluster import JobAgain
from flowport.store.postgres.job_engine import QUEUES, FencedJobs, QueueConnector
from flowport.store.postgres.jobs import add_job
from tests.support.queue import connect, open_queue

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def open_jobs(database_url: str, *, concurrency: int) -> AsyncIterator[tuple[FencedJobs, int]]:
    """Register a worker that executes nothing by itself, and return its jobs and its number."""
    connector = QueueConnector(database_url)
    jobs = FencedJobs(connector, concurrency=concurrency, dead_seconds=10.0)
    async with AsyncConnectionPool(database_url, open=False) as pool:
        await connector.open_async(pool)
        yield jobs, await jobs.register_worker()


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


async def test_the_end_of_a_job_that_another_transaction_holds_delays_no_other_end(database_url: str) -> None:
    """A process that was paused while it compared jobs with runs keeps their locks for seconds."""
    async with open_queue(database_url) as queue, open_jobs(database_url, concurrency=3) as (jobs, worker_id):
        for n in range(3):
            await queue.add(f"run_{n}")
        fetched = [await jobs.fetch_job(QUEUES, worker_id) for _ in range(3)]
        async with anyio.create_task_group() as group:
            with connect(database_url) as connection, connection.transaction():
                connection.execute("SELECT 1 FROM procrastinate_jobs WHERE args ->> 'run_id' = 'run_1' FOR UPDATE")
                for job in fetched:
                    assert job is not None
                    group.start_soon(partial(jobs.finish_job, job, Status.SUCCEEDED, delete_job=True))
                await queue.wait_for_jobs(("run_1", "doing"))
        assert await queue.get_jobs() == []


async def test_a_worker_that_drains_gives_back_at_once_what_it_has_not_begun(database_url: str) -> None:
    """However long its executions still take, another worker has the jobs that it had only fetched."""
    async with open_queue(database_url) as queue, anyio.create_task_group() as group:
        is_over = anyio.Event()

        async def execute(run_id: str) -> None:
            """Drain while the first one is executed."""
            assert run_id == "run_0"
            assert queue.jobs._worker is not None
            queue.jobs._worker._worker.stop()
            group.start_soon(queue.jobs.drain)
            with anyio.CancelScope(shield=True):
                await is_over.wait()

        for n in range(3):
            await queue.add(f"run_{n}")
        async with queue.working(execute):
            await queue.wait_for_jobs(("run_0", "doing"), ("run_1", "todo"), ("run_2", "todo"))
            is_over.set()
            await queue.wait_for_jobs(("run_1", "todo"), ("run_2", "todo"))


async def test_a_job_that_is_announced_while_a_worker_looks_for_jobs_is_fetched(database_url: str) -> None:
    """Procrastinate forgets what comes between a look that finds nothing and its answer, and looks again a second later."""
    async with open_queue(database_url) as queue, open_jobs(database_url, concurrency=1) as (jobs, worker_id):
        look = jobs.connector.execute_once

        async def look_and_miss(query: str, **arguments: Any) -> list[dict[str, Any]]:
            """Look, and have a job added before the answer is here."""
            rows = await look(query, **arguments)
            if not await queue.get_jobs():
                await queue.add("run_1")
                jobs.note_announcement()
            return rows

        with patch.object(jobs.connector, "execute_once", look_and_miss):
            fetched = await jobs.fetch_job(QUEUES, worker_id)
        assert fetched is not None
        assert fetched.task_kwargs["run_id"] == "run_1"


async def test_what_announces_a_job_is_noted(database_url: str) -> None:
    """A worker notes each notification before it looks for jobs."""
    async with open_queue(database_url) as queue, queue.working():
        await queue.add("run_1")
        await queue.wait_for_jobs()
        assert queue.jobs._worker is not None
        jobs = queue.jobs._worker._manager
        before = jobs.announcements
        await queue.add("run_2")
        await queue.wait_for(lambda: jobs.announcements > before)
