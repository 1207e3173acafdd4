"""The queue of jobs: Procrastinate, whose tables lie beside ours.

A run that is queued has one job from its acceptance until nothing is left to do. The job is added in the transaction that
gives the run something to do, and executes one step after the other; a second one of the same run waits for the first.
"""

from collections.abc import Sequence
from typing import Final

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job

from flowport.domain.models import Run
from flowport.store.postgres.database import Transaction

QUEUE: Final = "runs"
TASK: Final = "advance"

PRIORITY: Final = 10
"""Of a run that a call waits for; rows of batches come after."""

app: Final = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def add_jobs(transaction: Transaction, runs: Sequence[Run]) -> None:
    """Add the jobs of runs that are new, in the caller's transaction."""
    jobs = [
        Job(
            id=None,
            queue=QUEUE,
            lock=f"run:{run.id}",
            queueing_lock=f"run:{run.id}",
            priority=0 if run.batch_id else PRIORITY,
            task_name=TASK,
            task_kwargs={"run_id": run.id},
        )
        for run in runs
    ]
    await transaction.flush()
    if jobs:
        await app.job_manager.batch_defer_jobs_async(jobs, transaction.connection)


async def add_job(transaction: Transaction, run: Run) -> None:
    """Add the job of a run, in the caller's transaction; one that waits already is enough."""
    deferrer = app.configure_task(
        TASK,
        queue=QUEUE,
        lock=f"run:{run.id}",
        queueing_lock=f"run:{run.id}",
        priority=0 if run.batch_id else PRIORITY,
        connection=transaction.connection,
        allow_unknown=True,
    )
    await transaction.flush()
    try:
        async with transaction.connection.transaction():
            await deferrer.defer_async(run_id=run.id)
    except AlreadyEnqueued:
        return
