"""The batches of the SQLite store."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Run
from flowport.domain.run_events import Cancelled, Finished
from flowport.domain.spending import SpendingCheck
from flowport.store.records import (
    Accepted,
    AcceptOutcome,
    AttachRules,
    BatchArguments,
    BatchProgress,
    BatchRow,
    NewBatch,
    Recorded,
    RecordOutcome,
    RowStatus,
)
from flowport.store.rows import Value, build_value
from flowport.store.sqlite.accept import accept_call
from flowport.store.sqlite.operations import (
    begins_run,
    insert_run,
    is_held,
    is_waited_for,
    reads,
    record_event,
    remove_waiting,
    select_runs,
    writes,
)
from flowport.store.statements import (
    ARGUMENTS_OF_ROW,
    BATCH_COLUMNS,
    LIVE_ROWS,
    NOTE_STOP,
    NOTE_TABLE,
    ROW_ARGUMENTS,
    ROW_COLUMNS,
    ROW_LIST,
    ROWS_FROM,
    RUNS_OF_ROWS_FROM,
    SHARED_ARGUMENTS,
    UNSENT_ROWS,
    build_batch_values,
    build_insert,
    build_progress_query,
    build_reservation,
    build_row_values,
    parse_batch_row,
    parse_progress,
    parse_row_statuses,
)

_IS_WAITING: Final = "batch_rows.run_id = '' AND batch_rows.is_dropped = 0"
_RESERVE: Final = build_reservation(_IS_WAITING)
_PROGRESS: Final = build_progress_query(_IS_WAITING)
_ADD_BATCH: Final = build_insert("batches", BATCH_COLUMNS)
_ADD_ROW: Final = build_insert("batch_rows", ("batch_id", *ROW_COLUMNS))


class BatchOperations:
    """See `BatchStore` of `store.interface`."""

    @begins_run
    def accept_batch(
        self,
        connection: sqlite3.Connection,
        batch: NewBatch,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        is_queued: bool = False,  # noqa: ARG002 - there is no queue
    ) -> AcceptOutcome:
        digests = [row.canonical_digest for row in batch.rows]
        outcome = accept_call(connection, batch.run, rules, terms, row_digests=digests)
        if isinstance(outcome, Accepted):
            connection.execute(_ADD_BATCH, build_batch_values(batch))
            connection.executemany(_ADD_ROW, [build_row_values(batch.run.id, row) for row in batch.rows])
        return outcome

    @begins_run
    def accept_rows(
        self,
        connection: sqlite3.Connection,
        batch_id: str,
        runs: Sequence[tuple[int, Run]],
        lease: int | None = None,
    ) -> tuple[Run, ...]:
        if lease is not None and not is_held(connection, batch_id, lease):
            return ()
        accepted = []
        for n, run in runs:
            cursor = connection.execute(
                f"UPDATE batch_rows SET run_id = ? WHERE batch_id = ? AND n = ? AND {_IS_WAITING}",  # noqa: S608 - our own words
                (run.id, batch_id, n),
            )
            if cursor.rowcount:
                insert_run(connection, run)
                accepted.append(run)
        connection.execute(_RESERVE, {"batch_id": batch_id})
        return tuple(accepted)

    @writes
    def drop_rows(
        self,
        connection: sqlite3.Connection,
        batch_id: str,
        *,
        reason: str,
        at: float,
        call_id: str | None = None,
        holder: Run | None = None,
    ) -> int:
        if holder is not None and not is_held(connection, holder.id, holder.lease):
            return 0
        if call_id is not None:
            remove_waiting(connection, call_id)
            if is_waited_for(connection, batch_id):
                return 0
        waiting = connection.execute(
            f"UPDATE batch_rows SET is_dropped = 1 WHERE batch_id = ? AND {_IS_WAITING}",  # noqa: S608 - our own words
            (batch_id,),
        )
        unsent = select_runs(connection, UNSENT_ROWS, {"batch_id": batch_id})
        for run in unsent:
            record_event(connection, run.id, Cancelled(reason, at))
        dropped = waiting.rowcount + len(unsent)
        if dropped:
            connection.execute(NOTE_STOP, {"batch_id": batch_id, "reason": reason})
            connection.execute(_RESERVE, {"batch_id": batch_id})
        return dropped

    @writes
    def finish_batch(
        self,
        connection: sqlite3.Connection,
        batch_id: str,
        end: Finished,
        lease: int | None = None,
        *,
        csv_path: str,
        csv_problem: str,
    ) -> RecordOutcome:
        outcome = record_event(connection, batch_id, end, lease)
        if isinstance(outcome, Recorded):
            values = {"csv_path": build_value(csv_path), "csv_problem": build_value(csv_problem)}
            connection.execute(NOTE_TABLE, {"batch_id": batch_id, **values})
        return outcome

    @reads
    def get_waiting_rows(self, connection: sqlite3.Connection, batch_id: str, *, limit: int) -> tuple[BatchRow, ...]:
        rows = connection.execute(
            f"SELECT {ROW_LIST} FROM batch_rows WHERE batch_id = ? AND {_IS_WAITING} ORDER BY n LIMIT ?",  # noqa: S608 - our own words
            (batch_id, limit),
        )
        return tuple(parse_batch_row(row) for row in rows)

    @reads
    def get_batch_progress(self, connection: sqlite3.Connection, batch_id: str) -> BatchProgress:
        return parse_progress(connection.execute(_PROGRESS, {"batch_id": batch_id}).fetchone(), batch_id)

    @reads
    def get_rows(
        self, connection: sqlite3.Connection, batch_id: str, *, start: int = 1, limit: int = 1_000_000
    ) -> tuple[RowStatus, ...]:
        values: dict[str, Value] = {"batch_id": batch_id, "start": start, "limit": limit}
        rows = connection.execute(ROWS_FROM, values).fetchall()
        return parse_row_statuses(rows, select_runs(connection, RUNS_OF_ROWS_FROM, values))

    @reads
    def get_live_rows(self, connection: sqlite3.Connection, batch_id: str) -> tuple[Run, ...]:
        return select_runs(connection, LIVE_ROWS, {"batch_id": batch_id})

    @reads
    def get_batch_arguments(self, connection: sqlite3.Connection, batch_id: str) -> BatchArguments:
        shared = connection.execute(SHARED_ARGUMENTS, {"batch_id": batch_id}).fetchone()
        if shared is None:
            raise RunNotFound(batch_id)
        rows = connection.execute(ROW_ARGUMENTS, {"batch_id": batch_id})
        return BatchArguments(shared["shared_json"], {row["n"]: row["arguments_json"] for row in rows})

    @reads
    def get_whole_arguments(self, connection: sqlite3.Connection, run_id: str) -> tuple[str, ...] | None:
        row = connection.execute(ARGUMENTS_OF_ROW, {"run_id": run_id}).fetchone()
        return None if row is None else (row["shared_json"], row["arguments_json"])
