"""The batches of the SQLite store."""

import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

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
from flowport.store.rows import IS_UNPRICED, LIVE, build_value
from flowport.store.sqlite.accept import accept_call
from flowport.store.sqlite.operations import (
    begins_run,
    insert_run,
    is_waited_for,
    reads,
    record_event,
    remove_waiting,
    select_runs,
    writes,
)

_ROW_COLUMNS: Final = tuple(field.name for field in fields(BatchRow))
_ROW_LIST: Final = ", ".join(f"batch_rows.{column}" for column in _ROW_COLUMNS if column != "arguments_json")
_IS_WAITING: Final = "batch_rows.run_id = '' AND batch_rows.is_dropped = 0"


_ROW_RUNS: Final = "batch_rows JOIN runs ON runs.id = batch_rows.run_id WHERE batch_rows.batch_id = ?"
"""The runs of a batch's rows."""


def _hold_back(connection: sqlite3.Connection, batch_id: str) -> None:
    """Reserve the price of the rows that have not begun; it is counted again, so that no rounding errors add up."""
    connection.execute(
        f"UPDATE runs SET reserved_credits = coalesce((SELECT price_each_credits FROM batches WHERE id = :id), 0) * "  # noqa: S608 - our own words
        f"(SELECT count(*) FROM batch_rows WHERE batch_id = :id AND {_IS_WAITING}) WHERE id = :id",
        {"id": batch_id},
    )


_IS_CANCELLED_UNSENT: Final = "(runs.state = 'cancelled' AND runs.starting_at IS NULL)"
_BATCH_PROGRESS: Final = f"""
SELECT count(*) AS rows, batches.price_each_credits, batches.variations, batches.stop_after_failures, batches.stop_reason, batches.csv_path,
    batches.csv_problem,
    count(*) FILTER (WHERE {_IS_WAITING}) AS waiting,
    count(*) FILTER (WHERE batch_rows.is_dropped OR {_IS_CANCELLED_UNSENT}) AS dropped,
    count(*) FILTER (WHERE runs.state IN ({LIVE})) AS live,
    count(*) FILTER (WHERE runs.state = 'accepted') AS unsent,
    count(*) FILTER (WHERE runs.state = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE runs.state = 'partial') AS partial,
    count(*) FILTER (WHERE runs.state = 'failed') AS failed,
    count(*) FILTER (WHERE runs.state = 'unknown') AS unknown,
    count(*) FILTER (WHERE runs.state = 'cancelled' AND NOT {_IS_CANCELLED_UNSENT}) AS cancelled,
    count(*) FILTER (WHERE batch_rows.run_id <> '' AND runs.id IS NULL) AS forgotten,
    count(*) FILTER (WHERE {IS_UNPRICED} AND runs.state NOT IN ({LIVE})) AS unpriced,
    total(runs.spent_credits) AS spent_credits, min(runs.starting_at) AS first_starting_at
FROM batches JOIN batch_rows ON batch_rows.batch_id = batches.id LEFT JOIN runs ON runs.id = batch_rows.run_id
WHERE batches.id = ? GROUP BY batches.id
"""  # noqa: S608 - our own words


def _parse_row(row: sqlite3.Row) -> BatchRow:
    values: dict[str, Any] = {column: row[column] for column in _ROW_COLUMNS if column != "arguments_json"}
    return BatchRow(**values, arguments_json="")


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
            connection.execute(
                "INSERT INTO batches (id, shared_json, price_each_credits, variations, stop_after_failures) VALUES (?, ?, ?, ?, ?)",
                (
                    batch.run.id,
                    build_value(batch.shared_json),
                    batch.price_each_credits,
                    batch.variations,
                    batch.stop_after_failures,
                ),
            )
            connection.executemany(
                f"INSERT INTO batch_rows (batch_id, {', '.join(_ROW_COLUMNS)}) VALUES (?{', ?' * len(_ROW_COLUMNS)})",  # noqa: S608 - our own words
                [(batch.run.id, *(build_value(getattr(row, column)) for column in _ROW_COLUMNS)) for row in batch.rows],
            )
        return outcome

    @begins_run
    def accept_rows(
        self, connection: sqlite3.Connection, batch_id: str, runs: Sequence[tuple[int, Run]]
    ) -> tuple[Run, ...]:
        accepted = []
        for n, run in runs:
            cursor = connection.execute(
                f"UPDATE batch_rows SET run_id = ? WHERE batch_id = ? AND n = ? AND {_IS_WAITING}",  # noqa: S608 - our own words
                (run.id, batch_id, n),
            )
            if cursor.rowcount:
                insert_run(connection, run)
                accepted.append(run)
        _hold_back(connection, batch_id)
        return tuple(accepted)

    @writes
    def drop_rows(
        self, connection: sqlite3.Connection, batch_id: str, *, reason: str, at: float, call_id: str | None = None
    ) -> int:
        if call_id is not None:
            remove_waiting(connection, call_id)
            if is_waited_for(connection, batch_id):
                return 0
        waiting = connection.execute(
            f"UPDATE batch_rows SET is_dropped = 1 WHERE batch_id = ? AND {_IS_WAITING}",  # noqa: S608 - our own words
            (batch_id,),
        )
        unsent = select_runs(connection, f"{_ROW_RUNS} AND runs.state = 'accepted'", (batch_id,))
        for run in unsent:
            record_event(connection, run.id, Cancelled(reason, at))
        dropped = waiting.rowcount + len(unsent)
        if dropped:
            connection.execute(
                "UPDATE batches SET stop_reason = ? WHERE id = ? AND stop_reason = ''", (reason, batch_id)
            )
            _hold_back(connection, batch_id)
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
            connection.execute(
                "UPDATE batches SET csv_path = ?, csv_problem = ? WHERE id = ?",
                (build_value(csv_path), build_value(csv_problem), batch_id),
            )
        return outcome

    @reads
    def get_waiting_rows(self, connection: sqlite3.Connection, batch_id: str, *, limit: int) -> tuple[BatchRow, ...]:
        rows = connection.execute(
            f"SELECT {_ROW_LIST} FROM batch_rows WHERE batch_id = ? AND {_IS_WAITING} ORDER BY n LIMIT ?",  # noqa: S608 - our own words
            (batch_id, limit),
        )
        return tuple(_parse_row(row) for row in rows)

    @reads
    def get_batch_progress(self, connection: sqlite3.Connection, batch_id: str) -> BatchProgress:
        row = connection.execute(_BATCH_PROGRESS, (batch_id,)).fetchone()
        if row is None:
            raise RunNotFound(batch_id)
        return BatchProgress(**{field.name: row[field.name] for field in fields(BatchProgress)})

    @reads
    def get_rows(
        self, connection: sqlite3.Connection, batch_id: str, *, start: int = 1, limit: int = 1_000_000
    ) -> tuple[RowStatus, ...]:
        found = connection.execute(
            f"SELECT {_ROW_LIST}, batch_rows.run_id, batch_rows.is_dropped FROM batch_rows "  # noqa: S608 - our own words
            "WHERE batch_id = ? AND n >= ? ORDER BY n LIMIT ?",
            (batch_id, start, limit),
        ).fetchall()
        runs = select_runs(connection, f"{_ROW_RUNS} AND n >= ? ORDER BY n LIMIT ?", (batch_id, start, limit))
        by_id = {run.id: run for run in runs}
        return tuple(
            RowStatus(_parse_row(row), by_id.get(row["run_id"]), bool(row["run_id"]), bool(row["is_dropped"]))
            for row in found
        )

    @reads
    def get_live_rows(self, connection: sqlite3.Connection, batch_id: str) -> tuple[Run, ...]:
        return select_runs(connection, f"{_ROW_RUNS} AND runs.state IN ({LIVE}) ORDER BY n", (batch_id,))

    @reads
    def get_batch_arguments(self, connection: sqlite3.Connection, batch_id: str) -> BatchArguments:
        shared = connection.execute("SELECT shared_json FROM batches WHERE id = ?", (batch_id,)).fetchone()
        if shared is None:
            raise RunNotFound(batch_id)
        rows = connection.execute("SELECT n, arguments_json FROM batch_rows WHERE batch_id = ?", (batch_id,))
        return BatchArguments(shared["shared_json"], {row["n"]: row["arguments_json"] for row in rows})

    @reads
    def get_whole_arguments(self, connection: sqlite3.Connection, run_id: str) -> tuple[str, ...] | None:
        row = connection.execute(
            "SELECT batches.shared_json, batch_rows.arguments_json FROM batch_rows "
            "JOIN batches ON batches.id = batch_rows.batch_id WHERE batch_rows.run_id = ? AND batch_rows.run_id <> ''",
            (run_id,),
        ).fetchone()
        return None if row is None else (row["shared_json"], row["arguments_json"])
