"""The queue of jobs: Procrastinate, whose tables lie beside ours.

A run that is queued has one job from its acceptance until nothing is left to do. The job is added in the transaction that
gives the run something to do, and executes one step after the other; a second one of the same run waits for the first.
"""

from typing import Final

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued

from flowport.domain.models import Run
from flowport.store.postgres.database import Transaction

QUEUE: Final = "runs"
TASK: Final = "advance"

PRIORITY: Final = 10
"""Of a run that a call waits for; rows of batches come after."""

app: Final = procrastinate.App(connector=procrastinate.PsycopgConnector())


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
