"""What keeps runs and jobs consistent: jobs of dead workers are given to others, missing ones are added, needless ones removed.

A job gets lost when a worker that was paused ends a job that was given to another meanwhile (procrastinate-org/procrastinate#1518),
and by whatever else may happen to a table. The runs say what there is to do.
"""

import time
from typing import Any, Final

from flowport.store.cluster import Reconciled
from flowport.store.postgres.transaction import Transaction
from flowport.store.rows import FINAL, LIVE

LOCK: Final = 0x466C6F77_0002
"""The number of the advisory lock under which one process reconciles."""

DEAD_SECONDS: Final = 10.0
"""How old the heartbeat of a dead worker is."""

FORGET_SECONDS: Final = 60.0
"""After how long the row of a dead worker is removed; one that comes back adds itself again."""

UNSAVED_SECONDS: Final = 2 * 24 * 3600.0
"""For how long after its end outputs of a run are saved."""

_IS_LIVE: Final = (
    f"(runs.finished_at IS NULL AND runs.state IN ({LIVE}) "
    "AND (runs.is_followed OR runs.state NOT IN ('queued', 'running')))"
)
"""A run that is no longer polled stays so at its provider; one that is not there yet gets its end."""

_IS_UNSAVED_OUTPUT: Final = (
    "outputs.saved_path = '' AND outputs.url IS NOT NULL AND (outputs.expires_at IS NULL "
    "OR outputs.expires_at > extract(epoch FROM now()) OR outputs.save_problem = '')"
)
_IS_RECENT: Final = f"(runs.state IN ({FINAL}) AND runs.finished_at > extract(epoch FROM now()) - {UNSAVED_SECONDS})"
_IS_UNSAVED: Final = (
    f"(%(should_save)s AND {_IS_RECENT} "
    f"AND EXISTS (SELECT FROM outputs WHERE outputs.run_id = runs.id AND {_IS_UNSAVED_OUTPUT}))"
)

GIVE_BACK: Final = """
WITH found AS MATERIALIZED ({found}),
gone AS (
    DELETE FROM procrastinate_jobs USING found WHERE procrastinate_jobs.id = found.id AND found.has_next
    RETURNING procrastinate_jobs.id, queue_name
),
given AS (
    UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1, worker_id = NULL, abort_requested = false,
        scheduled_at = CASE WHEN %(after_seconds)s > 0 THEN clock_timestamp() + make_interval(secs => %(after_seconds)s) END,
        args = args || jsonb_build_object('failures', coalesce(%(failures)s, (args ->> 'failures')::int, 0),
            'due_at', extract(epoch FROM clock_timestamp()) + %(after_seconds)s)
    FROM found WHERE procrastinate_jobs.id = found.id AND NOT found.has_next
    RETURNING procrastinate_jobs.id, queue_name
)
SELECT id, CASE WHEN %(after_seconds)s = 0 THEN pg_notify('procrastinate_queue_v1#' || queue_name,
    json_build_object('type', 'job_inserted', 'job_id', id)::text) END
FROM (SELECT * FROM gone UNION ALL SELECT * FROM given) AS changed
"""
"""Give jobs to other workers, which are notified as of new ones; Procrastinate itself would notify of new ones only.

Where another job of the run waits already, that one is enough, and a second one in its state is not allowed.
"""

HAS_NEXT: Final = (
    "EXISTS (SELECT FROM procrastinate_jobs AS next WHERE next.queueing_lock = jobs.queueing_lock AND next.status = 'todo') "
    "AS has_next"
)

_GIVE_BACK_STALLED: Final = GIVE_BACK.format(
    found=f"SELECT jobs.id, {HAS_NEXT} FROM procrastinate_jobs AS jobs "  # noqa: S608 - our own words
    "LEFT JOIN procrastinate_workers AS workers ON workers.id = jobs.worker_id "
    "WHERE jobs.status = 'doing' AND jobs.queue_name = ANY(%(queues)s) AND (workers.id IS NULL "
    "OR workers.last_heartbeat < clock_timestamp() - make_interval(secs => %(dead_seconds)s::float8)) "
    "FOR UPDATE OF jobs SKIP LOCKED"
)

_FORGET_WORKERS: Final = (
    "DELETE FROM procrastinate_workers WHERE last_heartbeat < clock_timestamp() - make_interval(secs => %(forget_seconds)s) "
    "AND %(dead_seconds)s::float8 IS NOT NULL"
)

_ADD_MISSING: Final = f"""
INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
SELECT CASE WHEN row_count > 0 THEN %(batches)s ELSE %(runs)s END, %(task)s, CASE WHEN batch_id = '' THEN %(priority)s ELSE 0 END, 'run:' || id, 'run:' || id,
    jsonb_build_object('run_id', id, 'due_at', extract(epoch FROM clock_timestamp()))
FROM (
    SELECT id, batch_id, row_count, accepted_at FROM runs WHERE is_queued AND {_IS_LIVE}
    UNION
    SELECT id, batch_id, row_count, accepted_at FROM runs WHERE %(should_save)s AND is_queued AND {_IS_RECENT}
        AND id IN (SELECT run_id FROM outputs WHERE {_IS_UNSAVED_OUTPUT})
) AS found
WHERE NOT EXISTS (
    SELECT FROM procrastinate_jobs AS jobs WHERE jobs.lock = 'run:' || found.id AND jobs.status IN ('todo', 'doing')
)
ORDER BY accepted_at, id
ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own words

_REMOVE_NEEDLESS: Final = f"""
DELETE FROM procrastinate_jobs WHERE id IN (
    SELECT jobs.id FROM procrastinate_jobs AS jobs LEFT JOIN runs ON runs.id = jobs.args ->> 'run_id'
    WHERE jobs.status = 'todo' AND jobs.queue_name = ANY(%(queues)s)
        AND NOT coalesce(runs.is_queued AND ({_IS_LIVE} OR {_IS_UNSAVED}), false)
    FOR UPDATE OF jobs SKIP LOCKED
)
"""  # noqa: S608 - our own words

_REMOVE_ENDED: Final = (
    "DELETE FROM procrastinate_jobs WHERE queue_name = ANY(%(queues)s) AND status NOT IN ('todo', 'doing')"
)
"""A worker of ours leaves no such job behind; where someone has ended one by hand, its run goes on with another."""


class Punctuality:
    """Whether this process could keep the time lately. After an outage of the database all heartbeats are old."""

    def __init__(self, proof_seconds: float, gap_seconds: float) -> None:
        self._proof_seconds = proof_seconds
        self._gap_seconds = gap_seconds
        self._since: float | None = None
        self._last_at = 0.0

    def note(self) -> None:
        """Note a success."""
        now = time.monotonic()
        if self._since is None or now - self._last_at > self._gap_seconds:
            self._since = now
        self._last_at = now

    @property
    def is_proven(self) -> bool:
        """Whether the successes came without a gap for long enough, up to now."""
        now = time.monotonic()
        if self._since is None or now - self._last_at > self._gap_seconds:
            return False
        return self._last_at - self._since >= self._proof_seconds


async def reconcile(
    transaction: Transaction,
    *,
    queues: tuple[str, str],
    task: str,
    priority: int,
    dead_seconds: float | None,
    should_save: bool,
) -> Reconciled | None:
    """Compare the runs with the jobs, and put right what differs; None when another process does so just now.

    Args:
        queues: Of runs and of batches.
        dead_seconds: How old the heartbeat of a dead worker is; None to take only workers that have left for dead.
        should_save: Whether outputs are saved.
    """
    lock = await (await transaction.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,))).fetchone()
    if lock is None or not lock[0]:
        return None
    values: dict[str, Any] = {
        "queues": list(queues),
        "runs": queues[0],
        "batches": queues[1],
        "task": task,
        "priority": priority,
        "should_save": should_save,
        "dead_seconds": dead_seconds,
        "forget_seconds": FORGET_SECONDS,
        "after_seconds": 0.0,
        "failures": None,
    }
    stalled = await transaction.execute(_GIVE_BACK_STALLED, values)
    await transaction.execute(_FORGET_WORKERS, values)
    await transaction.execute(_REMOVE_ENDED, values)
    missing = await transaction.execute(_ADD_MISSING, values)
    needless = await transaction.execute(_REMOVE_NEEDLESS, values)
    return Reconciled(stalled=stalled.rowcount, missing=missing.rowcount, needless=needless.rowcount)
