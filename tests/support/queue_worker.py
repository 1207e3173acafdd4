"""A worker in a process of its own: each execution claims its run, takes a while, and ends the run if it still has it."""

import os
import sys
from functools import partial
from typing import Final

import anyio

from flowport.domain.errors import StoreError
from flowport.store.cluster import JobAgain
from flowport.store.postgres.database import Database
from flowport.store.postgres.jobs import PostgresJobs
from flowport.store.postgres.transaction import Transaction

TABLE: Final = (
    "CREATE TABLE executions (run_id text, pid int, lease bigint, began_at timestamptz DEFAULT clock_timestamp(), "
    "ended_at timestamptz, was_fenced boolean)"
)
"""What the workers have done, for the test."""


async def claim(transaction: Transaction, run_id: str, pid: int) -> int | None:
    """Take a run over, and return the lease; None for one that is over."""
    cursor = await transaction.execute(
        "UPDATE runs SET lease = lease + 1 WHERE id = %s AND finished_at IS NULL RETURNING lease", (run_id,)
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    [lease] = row
    await transaction.execute("INSERT INTO executions (run_id, pid, lease) VALUES (%s, %s, %s)", (run_id, pid, lease))
    return int(lease)


async def finish(transaction: Transaction, run_id: str, lease: int) -> None:
    """End a run if its lease still is this one."""
    cursor = await transaction.execute(
        "UPDATE runs SET state = 'succeeded', finished_at = extract(epoch FROM now()) WHERE id = %s AND lease = %s",
        (run_id, lease),
    )
    await transaction.execute(
        "UPDATE executions SET ended_at = clock_timestamp(), was_fenced = %s WHERE run_id = %s AND lease = %s",
        (cursor.rowcount == 0, run_id, lease),
    )


async def report(jobs: PostgresJobs) -> None:
    """Print a line when the queue is ready."""
    while (await jobs.get_state()).workers == 0:  # noqa: ASYNC110 - the database has no event for it
        await anyio.sleep(0.05)
    print("ready", flush=True)  # noqa: T201 - for the test


async def main(url: str, dead_seconds: float, hold_seconds: float) -> None:
    """Work and reconcile until the process is ended."""
    pid = os.getpid()
    database = Database(url)
    jobs = PostgresJobs(database, dead_seconds=dead_seconds, reconcile_seconds=dead_seconds * 0.3)

    async def execute(run_id: str) -> None:
        """Execute a run."""
        try:
            lease = await database.write(partial(claim, run_id=run_id, pid=pid))
            if lease is None:
                return
            await anyio.sleep(hold_seconds)
            await database.write(partial(finish, run_id=run_id, lease=lease))
        except StoreError as exc:
            raise JobAgain(1.0) from exc

    async with anyio.create_task_group() as group:
        group.start_soon(partial(jobs.work, execute, concurrency=50))
        group.start_soon(jobs.keep_reconciling)
        group.start_soon(report, jobs)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
