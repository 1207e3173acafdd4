"""A worker of the queue: it executes jobs side by side, and gives back those that it cannot finish."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import anyio
import procrastinate
import psycopg
from procrastinate.job_context import JobContext
from procrastinate.jobs import Job, Notification
from procrastinate.worker import Worker
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from flowport.store.cluster import JobAgain
from flowport.store.postgres.job_engine import (
    FAILED,
    QUEUES,
    RETRY_SECONDS,
    TASK,
    Again,
    FencedJobs,
    QueueConnector,
    Turn,
    get_turn,
)
from flowport.store.postgres.reconcile import DEAD_SECONDS
from flowport.store.postgres.transaction import build_options

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Between two looks for jobs that no notification has announced."""

BEATS: Final = 0.2
"""From one heartbeat to the next, as a part of the age at which a worker is dead."""

DRAIN_SECONDS: Final = 8.0
"""A worker that drains has ended after this time."""

FINISH_SECONDS: Final = 6.0
"""How long a job may still take for what it must not leave half done, such as a start request."""

MAX_BATCHES: Final = 10_000
"""Batches side by side; each is a task that waits."""

MAX_CONNECTIONS: Final = 4
"""Of a worker, besides the one that listens."""

Execute: TypeAlias = Callable[[str], Awaitable[None]]


class _Retry(procrastinate.BaseRetryStrategy):
    """Gives every job back whose execution has not returned."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision:  # noqa: ARG002
        return procrastinate.RetryDecision()


@dataclass(slots=True)
class _Execution:
    """One execution of a job."""

    turn: Turn
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)


class _StoppableWorker(Worker):
    """Reports notifications, and that it stops by whatever cause, and can be asked to look for jobs."""

    note_announcement: Callable[[], None] = staticmethod(lambda: None)
    note_stop: Callable[[], None] = staticmethod(lambda: None)

    def stop(self) -> None:
        super().stop()  # type: ignore[no-untyped-call]
        self.note_stop()

    def wake(self) -> None:
        self._new_job_event.set()

    async def _handle_notification(self, *, channel: str, notification: Notification) -> None:
        self.note_announcement()
        await super()._handle_notification(channel=channel, notification=notification)


async def _configure(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    # The job is a reminder: what a crash of the database takes back is done once more, or by the reconciler.
    await connection.execute("SET synchronous_commit = off")
    await connection.execute("SET default_transaction_isolation = 'read committed'")


class JobWorker:
    """One worker, from its start to its end."""

    def __init__(
        self,
        url: str,
        execute: Execute,
        *,
        concurrency: int,
        dead_seconds: float = DEAD_SECONDS,
        latency_listeners: Sequence[Callable[[float], None]] = (),
    ) -> None:
        self._execute = execute
        self._latency_listeners = latency_listeners
        self._executions: dict[str, _Execution] = {}
        self._problems: dict[str, str] = {}
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=MAX_CONNECTIONS,
            timeout=2.0,
            # Its own pauses would grow to minutes; the connector asks again by itself.
            reconnect_timeout=RETRY_SECONDS,
            kwargs={**build_options(url), "autocommit": True, "application_name": "flowport jobs"},
            configure=_configure,
            open=False,
        )
        self._connector = QueueConnector(url)
        app = procrastinate.App(connector=self._connector)
        self._manager = app.job_manager = FencedJobs(
            self._connector, concurrency=concurrency, dead_seconds=dead_seconds
        )
        self._manager.note_lost = self._cancel_lost
        app.task(name=TASK, queue=QUEUES[0], retry=_Retry(), pass_context=True)(self._perform)
        self._worker = _StoppableWorker(
            app,
            queues=list(QUEUES),
            concurrency=concurrency + MAX_BATCHES,
            fetch_job_polling_interval=POLL_SECONDS,
            abort_job_polling_interval=30.0,
            update_heartbeat_interval=dead_seconds * BEATS,
            stalled_worker_timeout=dead_seconds,
            shutdown_graceful_timeout=FINISH_SECONDS,
            delete_jobs="successful",
            install_signal_handlers=False,
        )
        self._worker.note_announcement = self._manager.note_announcement
        self._worker.note_stop = self._stop_executions
        self._manager.note_free = self._worker.wake

    @property
    def is_taking_jobs(self) -> bool:
        """Whether it is registered, does not end, and has a heartbeat by which no other process takes it for dead."""
        return self._worker.worker_id is not None and not self._is_stopping and self._manager.is_beating

    async def run(self) -> None:
        """Execute jobs until an error ends it; cancelling drains it.

        Raises:
            ConnectorException: The database has refused a statement.
        """
        async with self._open():
            if self._is_stopping:
                return
            self._task = asyncio.create_task(
                self._worker.run(),  # type: ignore[no-untyped-call]
                name="the worker of the queue",
            )
            try:
                await asyncio.wait([self._task])
            finally:
                with anyio.CancelScope(shield=True):
                    await self.drain()
            self._task.result()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self._pool.open()
        try:
            await self._connector.open_async(self._pool)
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self._pool.close(timeout=1.0)

    async def drain(self) -> None:
        """Take no more jobs, give back those that are executed, and return when all have ended."""
        self._is_stopping = True
        if self._task is None:
            return
        end_at = time.monotonic() + DRAIN_SECONDS
        self._connector.gives_up_at = end_at - 1.0
        while not self._task.done() and time.monotonic() < end_at:
            # Its start forgets an earlier request.
            self._worker.stop()
            # The executions may still take long.
            await self._manager.give_back_fetched()
            await asyncio.wait([self._task], timeout=0.5)
        if not self._task.done():
            logger.warning("%d jobs did not end in time, and are left to the other workers", len(self._executions))
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    def _stop_executions(self) -> None:
        self._is_stopping = True
        for execution in self._executions.values():
            execution.scope.cancel()

    def _cancel_lost(self, turns: Collection[Turn]) -> None:
        """End executions whose jobs were given to others while this process was paused."""
        for execution in self._executions.values():
            if execution.turn in turns:
                execution.scope.cancel()

    async def _perform(self, context: JobContext, run_id: str, failures: int = 0, due_at: float = 0.0) -> None:
        """Execute the job of a run, and note how it is given back unless it has returned."""
        turn = get_turn(context.job)
        self._manager.again[turn] = Again()
        # This process was paused, and has the job a second time.
        while (earlier := self._executions.get(run_id)) is not None:
            earlier.scope.cancel()
            await earlier.ended.wait()
        self._executions[run_id] = execution = _Execution(turn)
        try:
            if self._is_stopping:
                raise JobAgain  # noqa: TRY301
            self._note_latency(turn, due_at)
            with execution.scope:
                await self._execute(run_id)
                self._manager.again.pop(turn, None)
                self._problems.pop(run_id, None)
                return
            raise JobAgain  # noqa: TRY301 - its scope was cancelled
        except JobAgain as exc:
            self._manager.again[turn] = Again(max(0.0, exc.after_seconds))
            raise
        except Exception as exc:
            failures += 1
            pause_seconds = FAILED.get_pause(failures) or FAILED.longest_seconds
            self._manager.again[turn] = Again(pause_seconds, failures)
            self._log(run_id, exc, pause_seconds)
            raise
        finally:
            if self._executions.get(run_id) is execution:
                del self._executions[run_id]
            execution.ended.set()

    def _note_latency(self, turn: Turn, due_at: float) -> None:
        fetched_at = self._manager.known.get(turn)
        if due_at and fetched_at is not None:
            for listener in self._latency_listeners:
                listener(max(0.0, fetched_at - due_at))

    def _log(self, run_id: str, exc: Exception, pause_seconds: float) -> None:
        """Log an error with its traceback once; it may come again with every attempt."""
        problem = f"{type(exc).__name__}: {exc}"
        if self._problems.get(run_id) != problem:
            logger.error("the job of run %s has failed, and is executed again", run_id, exc_info=exc)
        else:
            logger.info("the job of run %s has failed again; the next attempt is in %g s", run_id, pause_seconds)
        self._problems[run_id] = problem
