"""Procrastinate, made to survive outages of the database and pauses of its process.

What Procrastinate 3.10 does by itself, and what is done here instead:

- A statement that fails ends the worker, which first waits for its jobs. Here it is repeated until the database is back.
- A heartbeat that fails is never sent again, because nothing watches the side tasks of an app without periodic ones
  (`Worker._monitor_side_tasks` returns with the first that ends). Here it is repeated, and a pruned worker returns.
- A starting worker prunes all whose heartbeats are old, which after an outage are all. Here the reconciler does so.
- The end of a job goes by its id alone: a worker that was paused closes a job that another has by then
  (procrastinate-org/procrastinate#1518). Here it must still have the job, in the attempt that it was given.
- A retry fails for good where another job of its lock waits (procrastinate-org/procrastinate#1446), and wakes no worker.
  Here the job that waits takes its place, and workers are notified.
- A notification that comes while the worker looks for jobs is forgotten with the answer. Here the look is repeated.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from flowport.domain.backoff import Backoff
from flowport.store.postgres.group_commit import Coalescer
from flowport.store.postgres.reconcile import GIVE_BACK, HAS_NEXT
from flowport.store.postgres.transaction import build_options

logger = logging.getLogger(__name__)
# The line that ends a warning must not be missing in the log.
logger.setLevel(logging.INFO)
# It logs the start and the end of each job, and an error for each that is given back.
logging.getLogger("procrastinate").setLevel(logging.WARNING)
# It logs each attempt to connect, several times a second; the outage itself is logged here.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

RUNS: Final = "runs"
BATCHES: Final = "batches"
"""The jobs of batches take no place of a run: they wait for their rows, which are runs."""

QUEUES: Final = (RUNS, BATCHES)
TASK: Final = "advance"

FAILED: Final = Backoff(5.0, 2.0, 300.0)
"""Pauses after errors of a job; each may be a bug that every attempt meets again."""

RETRY_SECONDS: Final = 0.2
"""Between two attempts to reach the database."""

Turn: TypeAlias = tuple[int, int]
"""The number of a job and of its attempt. A process that was paused may still end one turn of a job while it has the next."""

FINISH_SECONDS: Final = 0.02
"""How long a job that has ended waits for others, to be removed with them. Nothing waits for its end."""

MAX_FETCHED: Final = 10
"""Jobs that one statement fetches; another worker may be idle."""

LISTEN_CHECK_SECONDS: Final = 10.0
"""How long a connection may be silent before it is checked."""

_FETCH: Final = """
WITH alive AS (
    UPDATE procrastinate_workers SET last_heartbeat = now()
    WHERE id = %(worker_id)s AND last_heartbeat < now() - make_interval(secs => %(late_seconds)s)
)
SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts, worker_id,
    extract(epoch FROM clock_timestamp())::float8 AS fetched_at
FROM generate_series(1, %(count)s) AS turn
CROSS JOIN LATERAL procrastinate_fetch_job_v2(%(queues)s::varchar[], %(worker_id)s + 0 * turn)
WHERE id IS NOT NULL
"""
"""A worker that was paused lives as soon as it takes a job. The argument that names the turn has the function executed for each."""

_ADOPT: Final = """
SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts, worker_id,
    extract(epoch FROM clock_timestamp())::float8 AS fetched_at
FROM procrastinate_jobs WHERE worker_id = %(worker_id)s AND status = 'doing' AND NOT id = ANY(%(known)s::bigint[])
"""
"""Jobs that were given to this worker by a statement whose answer was lost."""

_FINISH: Final = """
WITH mine AS (
    SELECT jobs.id FROM procrastinate_jobs AS jobs
    JOIN unnest(%(ids)s::bigint[], %(attempts)s::integer[]) AS given (id, attempts) USING (id, attempts)
    WHERE jobs.id = ANY(%(ids)s) AND jobs.status = 'doing' AND jobs.worker_id = %(worker_id)s FOR UPDATE OF jobs
),
ended AS (DELETE FROM procrastinate_jobs AS jobs USING mine WHERE jobs.id = mine.id RETURNING jobs.id, jobs.queueing_lock)
SELECT ended.id, CASE WHEN next.id IS NOT NULL THEN pg_notify('procrastinate_queue_v1#' || next.queue_name,
    json_build_object('type', 'job_inserted', 'job_id', next.id)::text) END
FROM ended LEFT JOIN procrastinate_jobs AS next ON next.queueing_lock = ended.queueing_lock AND next.status = 'todo'
"""
"""Remove jobs that this worker still has, and notify of those that have waited for them."""

_FINISH_FREE: Final = _FINISH.replace("FOR UPDATE OF jobs", "FOR UPDATE OF jobs SKIP LOCKED")
"""Leave out those whose rows another transaction has, which may take long."""

_GIVE_BACK_ONE: Final = GIVE_BACK.format(
    found=f"""
    SELECT jobs.id, {HAS_NEXT} FROM procrastinate_jobs AS jobs WHERE jobs.id = %(id)s AND jobs.status = 'doing'
        AND jobs.worker_id = %(worker_id)s AND jobs.attempts = %(attempts)s FOR UPDATE
    """  # noqa: S608 - our own words
)

_BEAT: Final = """
INSERT INTO procrastinate_workers (id) OVERRIDING SYSTEM VALUE VALUES (%(worker_id)s)
ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()
"""

_HELD: Final = "SELECT id, attempts FROM procrastinate_jobs WHERE worker_id = %(worker_id)s AND status = 'doing'"

_FOREIGN_KEY: Final = "23503"


class QueueConnector(procrastinate.PsycopgConnector):
    """Repeats what a lost connection has cut, until the database is back."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.gives_up_at: float | None = None
        """When the process has no more time to wait for the database; None while it has."""
        self._problem = ""

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        """Execute a statement without a result."""
        await self._repeat(super().execute_query_async, query, arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        """Return the row of a statement."""
        row: dict[str, Any] = await self._repeat(super().execute_query_one_async, query, arguments)
        return row

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement."""
        rows: list[dict[str, Any]] = await self._repeat(super().execute_query_all_async, query, arguments)
        return rows

    async def _repeat(self, execute: Callable[..., Awaitable[Any]], query: str, arguments: dict[str, Any]) -> Any:
        while True:
            try:
                result = await execute(query, **arguments)
            except ConnectorException as exc:
                await self.wait_out(exc)
            else:
                if self._problem:
                    logger.info("the queue goes on: the database answers again")
                self._problem = ""
                return result

    async def wait_out(self, exc: ConnectorException) -> None:
        """Wait a moment after the loss of a connection; raise any other error, and this one when there is no more time."""
        cause = exc.__cause__
        if not isinstance(cause, psycopg.OperationalError):
            raise exc
        if self.gives_up_at is not None and time.monotonic() >= self.gives_up_at:
            raise exc
        if not self._problem:
            logger.warning("the queue waits for the database (%s)", type(cause).__name__)
        self._problem = type(cause).__name__
        await asyncio.sleep(RETRY_SECONDS)

    async def execute_once(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        """Execute a statement that must not be repeated blindly, and return its rows."""
        rows: list[dict[str, Any]] = await super().execute_query_all_async(query, **arguments)
        return rows

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Pass notifications on, over a connection of its own that is made again when it is lost."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, application_name="flowport jobs", **build_options(self._url)
                ) as connection:
                    for channel in channels:
                        await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                    await self._pass_on(connection, on_notification)
            except (psycopg.Error, OSError):
                await asyncio.sleep(RETRY_SECONDS)

    async def _pass_on(self, connection: psycopg.AsyncConnection[Any], on_notification: Any) -> None:
        while True:
            async for one in connection.notifies(timeout=LISTEN_CHECK_SECONDS):
                await on_notification(channel=one.channel, payload=one.payload)
            # A connection that a router has forgotten would stay silent.
            await connection.execute("SELECT 1")


@dataclass(frozen=True, slots=True)
class Again:
    """How a job is given back."""

    after_seconds: float = 0.0
    failures: int = 0


class FencedJobs(JobManager):
    """Ends only what this worker still has."""

    def __init__(self, connector: QueueConnector, *, concurrency: int, dead_seconds: float) -> None:
        super().__init__(connector)
        self._concurrency = concurrency
        self._fetched = deque[Job]()
        """Jobs of this worker whose execution was not begun."""
        self._waiting_end = asyncio.Lock()
        self._giving_back = asyncio.Lock()
        self._ends = Coalescer(self._finish_free, _start, wait_seconds=FINISH_SECONDS)
        self._runs: set[Turn] = set()
        """Those of the known turns that are of runs and not of batches."""
        self.note_free: Callable[[], None] = lambda: None
        """Called when there is a place for another run."""
        self.announcements = 0
        """How often a job was announced, or a place for one became free."""
        self._dead_seconds = dead_seconds
        self.connector: QueueConnector = connector
        self.known: dict[Turn, float] = {}
        """The turns that this worker has, until their end is recorded, with the instant of their fetch by the database's clock."""
        self.again: dict[Turn, Again] = {}
        self.note_lost: Callable[[Collection[Turn]], None] = lambda _turns: None
        self._beaten_at = time.monotonic()
        self._unknown: set[Turn] = set()
        """Jobs, in their attempts, that the database gave to this worker and that it does not know."""

    @property
    def is_beating(self) -> bool:
        """Whether the last heartbeat that the database has is young enough."""
        return time.monotonic() - self._beaten_at < self._dead_seconds

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Return the next job, which is this worker's from then on; None when none is due."""
        while not self._fetched:
            announcements = self.announcements
            await self._fetch(list(queues or QUEUES), worker_id)
            if announcements == self.announcements:
                break
        return self._fetched.popleft() if self._fetched else None

    def note_announcement(self) -> None:
        """Have a look that is under way repeated if it finds nothing."""
        self.announcements += 1

    async def _fetch(self, queues: Sequence[str], worker_id: int) -> None:
        """Fetch jobs that are due, as many as there are places for."""
        query, most = _FETCH, MAX_FETCHED
        while True:
            places = self._concurrency - len(self._runs)
            chosen = queues if places > 0 else [BATCHES]
            try:
                rows = await self.connector.execute_once(
                    query,
                    queues=chosen,
                    worker_id=worker_id,
                    count=max(1, min(places, most)),
                    late_seconds=self._dead_seconds / 2,
                    known=[job_id for job_id, _ in self.known],
                )
            except UniqueViolation:
                # Another worker was given a job of the same run at this very moment.
                if most == 1:
                    return
                most = 1
                continue
            except ConnectorException as exc:
                if getattr(exc.__cause__, "sqlstate", None) == _FOREIGN_KEY:
                    await self._beat(worker_id)
                    continue
                await self.connector.wait_out(exc)
                query = _ADOPT
                continue
            if not rows and query is _ADOPT:
                query = _FETCH
                continue
            for row in rows:
                job = Job.from_row(row)
                self.known[get_turn(job)] = row["fetched_at"]
                if job.queue == RUNS:
                    self._runs.add(get_turn(job))
                self._fetched.append(job)
            return

    async def give_back_fetched(self) -> None:
        """Give back the jobs that were fetched and not begun; when this returns, none is left."""
        async with self._giving_back:
            while self._fetched:
                job = self._fetched.popleft()
                self.again[get_turn(job)] = Again()
                try:
                    await self.retry_job(job)
                except ConnectorException as exc:
                    # It is found by the reconciler, as those of a worker that was killed.
                    logger.warning("a job that was not begun could not be given back: %s", exc.__cause__ or exc)

    async def unregister_worker(self, worker_id: int) -> None:
        """Remove this worker, which has no jobs any more after that."""
        await self.give_back_fetched()
        await super().unregister_worker(worker_id)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: ARG002, FBT001 - the library's own
        """Remove a job that was executed; any other end gives it back."""
        if status is not Status.SUCCEEDED:
            await self.retry_job(job)
            return
        try:
            if not await self._ends.add(job):
                # One at a time: of the few connections, the others go on.
                async with self._waiting_end:
                    await self._finish(_FINISH, [job])
        finally:
            self._forget(job)

    async def _finish_free(self, jobs: Sequence[Job]) -> Sequence[bool]:
        """Remove jobs whose rows are free; return for each whether it was there, still this worker's and free."""
        ended = await self._finish(_FINISH_FREE, jobs)
        return [job.id in ended for job in jobs]

    async def _finish(self, statement: str, jobs: Sequence[Job]) -> set[int]:
        rows = await self.connector.execute_query_all_async(
            statement,
            ids=[job.id for job in jobs],
            attempts=[job.attempts for job in jobs],
            worker_id=jobs[0].worker_id,
        )
        return {row["id"] for row in rows}

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,  # noqa: ARG002 - the library's own
        priority: int | None = None,  # noqa: ARG002
        queue: str | None = None,  # noqa: ARG002
        lock: str | None = None,  # noqa: ARG002
    ) -> None:
        """Give a job back, to be executed again at the time that its execution has asked for."""
        again = self.again.pop(get_turn(job), Again(FAILED.first_seconds))
        values: dict[str, Any] = {"id": job.id, "worker_id": job.worker_id, "attempts": job.attempts}
        values |= {"after_seconds": again.after_seconds, "failures": again.failures}
        try:
            await self.connector.execute_query_all_async(_GIVE_BACK_ONE, **values)
        except UniqueViolation:
            # Another job of the run was added at this very moment; that one is enough.
            await self.connector.execute_query_all_async(_GIVE_BACK_ONE, **values)
        finally:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        """Give its place to another job."""
        self.known.pop(get_turn(job), None)
        was_full = len(self._runs) >= self._concurrency
        self._runs.discard(get_turn(job))
        if was_full:
            self.note_announcement()
            self.note_free()

    async def update_heartbeat(self, worker_id: int) -> None:
        """Show that this worker lives, and compare the jobs that it has with those that it knows."""
        try:
            await self._beat(worker_id)
            await self._compare(worker_id)
        except ConnectorException as exc:
            # An error here would end the heartbeats of the worker for good.
            logger.warning("a heartbeat of the queue was refused: %s", exc.__cause__ or exc)

    async def _beat(self, worker_id: int) -> None:
        await self.connector.execute_query_async(_BEAT, worker_id=worker_id)

    async def _compare(self, worker_id: int) -> None:
        known = set(self.known)
        rows = await self.connector.execute_query_all_async(_HELD, worker_id=worker_id)
        held = {(row["id"], row["attempts"]) for row in rows}
        now = time.monotonic()
        was_paused, self._beaten_at = now - self._beaten_at >= self._dead_seconds / 2, now
        if was_paused and (lost := known - held):
            self._fetched = deque(job for job in self._fetched if get_turn(job) not in lost)
            self.note_lost(lost)
        # What was unknown for a whole beat is not just on its way here.
        unknown = held - self.known.keys()
        for job_id, attempts in unknown & self._unknown:
            values = {"id": job_id, "worker_id": worker_id, "attempts": attempts}
            await self.connector.execute_query_all_async(_GIVE_BACK_ONE, **values, after_seconds=0.0, failures=None)
        self._unknown = unknown

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:  # noqa: ARG002 - the library's own
        """Do nothing: the reconciler knows whether old heartbeats mean anything."""
        return []


def _start(send: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    return asyncio.ensure_future(send())


def get_turn(job: Job) -> Turn:
    """Return which turn a job has that was fetched: one that was given back and fetched again has another."""
    return job.id or 0, job.attempts
