"""The store's writes of one run. Each function is one operation inside the worker's transaction.

What an event makes of a run is decided by `domain.run_events.apply` alone. The transaction holds the write lock, so the
row cannot change between being read and being written.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from flowport.domain.models import Run
from flowport.domain.run_events import Delivered, DeliveryCancelled, RunEvent, apply, is_covered
from flowport.store.records import Claimed, ClaimOutcome, Recorded, RecordOutcome, Stale, Taken
from flowport.store.sqlite.queries import find_run
from flowport.store.sqlite.rows import (
    OUTPUT_COLUMNS,
    RUN_COLUMNS,
    build_changed_values,
    build_output_values,
    build_run_values,
)


def insert_run(connection: sqlite3.Connection, run: Run) -> None:
    """Add a run as it is, with its outputs."""
    connection.execute(_INSERT_RUN, build_run_values(run))
    connection.executemany(_WRITE_OUTPUT, [build_output_values(run.id, output) for output in run.outputs])


def record_event(
    connection: sqlite3.Connection,
    run_id: str,
    event: RunEvent,
    lease: int | None = None,
    *,
    ended_call_id: str = "",
    unless_waited_for: bool = False,
) -> RecordOutcome:
    """Apply an event to a run, and a delivery of a batch to its rows; the call that it answers waits no longer."""
    if ended_call_id:
        remove_waiting(connection, ended_call_id)
    before = find_run(connection, run_id)
    if before is None or (unless_waited_for and is_waited_for(connection, run_id)):
        return Stale(before)
    after = apply(before, event) if is_covered(before, event, lease) else before
    if after == before:
        return Stale(before)
    if changed := build_changed_values(before, after):
        assignments = ", ".join(f"{column} = :{column}" for column in changed)
        is_shared = before.is_batch and isinstance(event, Delivered | DeliveryCancelled)
        whose = _WITH_ROWS if is_shared else "id = :run_id"
        connection.execute(f"UPDATE runs SET {assignments} WHERE {whose}", {**changed, "run_id": run_id})  # noqa: S608 - our own words
    changed_outputs = [output for output in after.outputs if output not in before.outputs]
    connection.executemany(_WRITE_OUTPUT, [build_output_values(run_id, output) for output in changed_outputs])
    return Recorded(after)


def claim_run(connection: sqlite3.Connection, run_id: str, worker: str, *, lease: int) -> ClaimOutcome:
    """Compare and set which process follows the run."""
    cursor = connection.execute(
        "UPDATE runs SET process_id = ?, lease = lease + 1, is_followed = 1 WHERE id = ? AND lease = ?",
        (worker, run_id, lease),
    )
    run = find_run(connection, run_id) if cursor.rowcount else None
    return Taken() if run is None else Claimed(run)


def remove_waiting(connection: sqlite3.Connection, *call_ids: str) -> None:
    """Forget calls."""
    connection.executemany("DELETE FROM waiting_calls WHERE id = ?", ((one,) for one in call_ids))


def is_waited_for(connection: sqlite3.Connection, run_id: str) -> bool:
    """Tell whether a call waits for a run."""
    return connection.execute("SELECT 1 FROM waiting_calls WHERE run_id = ?", (run_id,)).fetchone() is not None


def _build_insert(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(columns)
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - our own table and column names


_INSERT_RUN: Final = _build_insert("runs", RUN_COLUMNS)
# Not INSERT OR REPLACE, which would empty the columns that a newer version has added.
_WRITE_OUTPUT: Final = (
    _build_insert("outputs", ("run_id", *OUTPUT_COLUMNS))
    + " ON CONFLICT (run_id, n) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in OUTPUT_COLUMNS)
)
_WITH_ROWS: Final = "id IN (SELECT :run_id UNION ALL SELECT run_id FROM batch_rows WHERE batch_id = :run_id)"
"""A batch with its rows."""
