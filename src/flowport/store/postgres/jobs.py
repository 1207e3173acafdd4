"""The queue of jobs: Procrastinate, whose tables lie beside ours.

A run that is queued has one job from its acceptance until nothing is left to do. The job is added in the transaction that
gives the run something to do, and executes one step after the other; a second one of the same run waits for the first.

The job is a reminder, the run is the record. `job_engine` has what Procrastinate lacks, `job_worker` executes jobs, and
`reconcile` makes up for lost and needless ones.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

import anyio
import psycopg
from procrastinate.exceptions import ConnectorException

from flowport.domain.errors import StoreError
from flowport.domain.models import Run
from flowport.store.cluster import QueueState, Reconciled
from flowport.store.postgres.database import Database
from flowport.store.postgres.job_engine import BATCHES, QUEUES, RUNS, TASK
from flowport.store.postgres.job_worker import Execute, JobWorker
from flowport.store.postgres.reconcile import DEAD_SECONDS, Punctuality, reconcile
from flowport.store.postgres.transaction import Transaction

logger = logging.getLogger(__name__)

PRIORITY: Final = 10
"""Of a run that a call waits for; rows of batches come after."""

RECONCILE_SECONDS: Final = 3.0
"""Between two looks of the reconciler."""

RESTART_SECONDS: Final = 1.0
"""Between the end of a worker by an error and the next one."""

INSERT_JOB: Final = """INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
    VALUES (%(queue)s, %(task)s, %(priority)s, 'run:' || %(run_id)s::text, 'run:' || %(run_id)s::text,
        jsonb_build_object('run_id', %(run_id)s::text, 'due_at', extract(epoch FROM clock_timestamp())))"""
"""The job of a run that is new. Procrastinate notifies the workers."""

_ADD: Final = f"""
WITH added AS (
    {INSERT_JOB}
    ON CONFLICT (queueing_lock) WHERE status = 'todo' DO UPDATE
        SET scheduled_at = NULL, args = procrastinate_jobs.args || jsonb_build_object('due_at', excluded.args -> 'due_at')
        WHERE procrastinate_jobs.scheduled_at IS NOT NULL
    RETURNING id, xmax <> 0 AS was_there
)
SELECT pg_notify('procrastinate_queue_v1#' || %(queue)s, json_build_object('type', 'job_inserted', 'job_id', id)::text)
FROM added WHERE was_there
"""  # noqa: S608 - our own words
"""A job that waits for a later attempt is due now; its insertion alone would be notified by Procrastinate."""

_STATE: Final = """
SELECT
    count(*) FILTER (WHERE is_due),
    count(*) FILTER (WHERE status = 'doing' AND is_held),
    count(*) FILTER (WHERE status = 'doing' AND NOT is_held),
    (SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => %(dead_seconds)s)),
    coalesce(max(extract(epoch FROM clock_timestamp())::float8 - (args ->> 'due_at')::float8) FILTER (WHERE is_due), 0)
FROM (
    SELECT jobs.status, jobs.args,
        jobs.status = 'todo' AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now()) AS is_due,
        coalesce(workers.last_heartbeat > now() - make_interval(secs => %(dead_seconds)s), false) AS is_held
    FROM procrastinate_jobs AS jobs LEFT JOIN procrastinate_workers AS workers ON workers.id = jobs.worker_id
    WHERE jobs.queue_name = ANY(%(queues)s) AND jobs.status IN ('todo', 'doing')
) AS found
"""


async def add_job(transaction: Transaction, run: Run) -> None:
    """Add the job of a run, in the caller's transaction; one that waits already is enough."""
    _add(transaction, run.id, run.batch_id, is_batch=run.is_batch)


def _add(transaction: Transaction, run_id: str, batch_id: str, *, is_batch: bool) -> None:
    transaction.send(_ADD, build_job_values(run_id, batch_id, is_batch=is_batch))


def build_job_values(run_id: str, batch_id: str = "", *, is_batch: bool = False) -> dict[str, Any]:
    """Return the values of the statement that adds the job of a run."""
    priority = 0 if batch_id else PRIORITY
    queue = BATCHES if is_batch else RUNS
    return {"queue": queue, "task": TASK, "priority": priority, "run_id": run_id}


class PostgresJobs:
    """The jobs of one process: it executes them, gives them back, and compares them with the runs. See `cluster.JobQueue`."""

    def __init__(
        self,
        database: Database,
        *,
        should_save: bool = True,
        dead_seconds: float = DEAD_SECONDS,
        reconcile_seconds: float = RECONCILE_SECONDS,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            should_save: Whether outputs are saved, or only linked.
            dead_seconds: How old the heartbeat of a dead worker is.
        """
        self._database = database
        self._should_save = should_save
        self._dead_seconds = dead_seconds
        self._reconcile_seconds = reconcile_seconds
        self._worker: JobWorker | None = None
        self._is_draining = False
        self._punctuality = Punctuality(dead_seconds, 2 * reconcile_seconds)
        self.latency_listeners: list[Callable[[float], None]] = []
        """Each is called with the seconds from when a job was due until it is executed."""
        self.reconciled_listeners: list[Callable[[Reconciled], None]] = []
        """Each is called with what a look of the reconciler has found."""

    @property
    def is_taking_jobs(self) -> bool:
        """Whether this process takes jobs, and the database has its heartbeat."""
        return self._worker is not None and self._worker.is_taking_jobs

    async def work(self, execute: Execute, *, concurrency: int) -> NoReturn:
        """Execute jobs until this is cancelled, which drains."""
        problem = ""
        while not self._is_draining:
            worker = JobWorker(
                self._database.url,
                execute,
                concurrency=concurrency,
                dead_seconds=self._dead_seconds,
                latency_listeners=self.latency_listeners,
            )
            try:
                await self._database.open()
                self._worker = worker
                await worker.run()
                if not self._is_draining:
                    logger.warning("the worker of the queue has ended and begins again")
                problem = ""
            except (StoreError, ConnectorException, psycopg.Error, OSError) as exc:
                if problem != (problem := _format_problem(exc)):
                    logger.warning("the worker of the queue has ended and begins again: %s", problem)
            except Exception:
                # A fault of the queue's library must not end the work of this process.
                logger.exception("the worker of the queue has failed and begins again")
            finally:
                self._worker = None
            if not self._is_draining:
                await anyio.sleep(RESTART_SECONDS)
        while True:
            await anyio.sleep_forever()

    async def drain(self) -> None:
        """Take no more jobs, and return when those of this process have ended or were given back."""
        self._is_draining = True
        if self._worker is not None:
            await self._worker.drain()

    async def resume(self, run_id: str) -> None:
        """Poll a run again if it was not any more, and add a job if it has none.

        Raises:
            StoreError: The database cannot be reached.
        """
        await self._database.write(partial(_resume, run_id=run_id))

    async def keep_reconciling(self) -> NoReturn:
        """Compare the runs with the jobs every few seconds, in one process at a time."""
        problem = ""
        while True:
            try:
                await self.reconcile()
                problem = ""
            except StoreError as exc:
                if problem != (problem := _format_problem(exc)):
                    logger.warning("the jobs cannot be compared with the runs just now: %s", problem)
            await anyio.sleep(self._reconcile_seconds)

    async def reconcile(self) -> Reconciled | None:
        """Compare once; None when another process is at it.

        Raises:
            StoreError: The database cannot be reached.
        """
        found = await self._database.write(
            partial(
                reconcile,
                queues=QUEUES,
                task=TASK,
                priority=PRIORITY,
                dead_seconds=self._dead_seconds if self._punctuality.is_proven else None,
                should_save=self._should_save,
            )
        )
        self._punctuality.note()
        if found is not None:
            for listener in self.reconciled_listeners:
                listener(found)
            if found != Reconciled():
                logger.info(
                    "the queue was put right: %d jobs of dead workers, %d missing, %d needless",
                    found.stalled,
                    found.missing,
                    found.needless,
                )
        return found

    async def get_state(self) -> QueueState:
        """Return how the queue stands.

        Raises:
            StoreError: The database cannot be reached.
        """
        values = {"queues": list(QUEUES), "dead_seconds": self._dead_seconds}

        async def look(transaction: Transaction) -> QueueState:
            [(waiting, running, stalled, workers, oldest_seconds)] = await (
                await transaction.execute(_STATE, values)
            ).fetchall()
            return QueueState(waiting, running, stalled, workers, max(0.0, float(oldest_seconds)))

        return await self._database.look_up(look)


async def _resume(transaction: Transaction, run_id: str) -> None:
    await transaction.execute(
        "UPDATE runs SET is_followed = true, changed_number = nextval('changes') WHERE id = %s AND NOT is_followed",
        (run_id,),
    )
    cursor = await transaction.execute(
        "SELECT batch_id, row_count > 0 FROM runs WHERE id = %(run_id)s AND is_queued AND NOT EXISTS ("
        "SELECT FROM procrastinate_jobs WHERE lock = 'run:' || %(run_id)s::text AND status = 'doing')",
        {"run_id": run_id},
    )
    if (row := await cursor.fetchone()) is not None:
        _add(transaction, run_id, row[0], is_batch=row[1])


def _format_problem(exc: Exception) -> str:
    """Return what a problem is known by: one that lasts is logged once."""
    return f"{type(exc).__name__}: {exc}"
