"""A queue on a real database: runs in a given state, workers that note what they execute, and a look at the jobs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import psycopg
from psycopg.rows import TupleRow

from flowport.domain.models import Run, RunState
from flowport.store.postgres.database import Database
from flowport.store.postgres.jobs import PostgresJobs
from flowport.store.postgres.operations import insert_run
from flowport.store.postgres.transaction import Transaction
from tests.store.samples import build_run
from tests.support.patience import PATIENCE_SECONDS


class Queue:
    """One process of a team, as far as its jobs go."""

    def __init__(self, url: str, **options: Any) -> None:
        self.database = Database(url)
        self.jobs = PostgresJobs(self.database, **options)
        self.executed: list[str] = []
        """The runs in the order in which their jobs were begun."""

    async def add(self, run_id: str, state: RunState = RunState.ACCEPTED, **changes: Any) -> Run:
        """Record a queued run with its job."""
        run = build_run(run_id, state, **changes)
        await self.insert(run, is_queued=True)
        return run

    async def insert(self, run: Run, *, is_queued: bool) -> None:
        """Record a run."""
        await self.database.write(lambda transaction: insert_run(transaction, run, is_queued=is_queued))

    async def execute_sql(self, statement: str, *values: Any) -> list[TupleRow]:
        """Execute a statement, and return its rows."""

        async def perform(transaction: Transaction) -> list[TupleRow]:
            """Execute it."""
            cursor = await transaction.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

        return await self.database.write(perform)

    async def finish(self, run_id: str) -> None:
        """Record that a run is over."""
        await self.execute_sql("UPDATE runs SET state = 'succeeded', finished_at = 900 WHERE id = %s", run_id)

    async def get_jobs(self) -> list[tuple[str, str]]:
        """Return the run and the status of each job, by its number."""
        rows = await self.execute_sql("SELECT args ->> 'run_id', status::text FROM procrastinate_jobs ORDER BY id")
        return [(row[0], row[1]) for row in rows]

    async def wait_for_jobs(self, *wanted: tuple[str, str]) -> None:
        """Wait until these are all jobs."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while await self.get_jobs() != list(wanted):  # noqa: ASYNC110 - the database has no event for it
                await anyio.sleep(0.02)

    async def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 - any condition
                await anyio.sleep(0.01)

    @asynccontextmanager
    async def working(
        self, execute: Callable[[str], Awaitable[None]] | None = None, *, concurrency: int = 10
    ) -> AsyncIterator[None]:
        """Execute jobs meanwhile; by default, each ends its run."""

        async def note(run_id: str) -> None:
            """Note an execution."""
            self.executed.append(run_id)
            await (execute or self.finish)(run_id)

        async def work() -> None:
            """Work until this is cancelled."""
            await self.jobs.work(note, concurrency=concurrency)

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield
            group.cancel_scope.cancel()


@asynccontextmanager
async def open_queue(url: str, **options: Any) -> AsyncIterator[Queue]:
    """Open a process of a team."""
    queue = Queue(url, **options)
    try:
        yield queue
    finally:
        await queue.database.close()


def connect(url: str) -> psycopg.Connection[TupleRow]:
    """Connect without the code under test."""
    return psycopg.connect(url, autocommit=True)
