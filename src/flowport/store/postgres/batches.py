"""The batches of the PostgreSQL store.

What changes a batch or begins a row locks the row of its run first, so the changes of one batch come one after the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Run
from flowport.domain.run_events import Cancelled, Finished
from flowport.domain.spending import SpendingCheck
from flowport.store.postgres.accept import accept_call
from flowport.store.postgres.database import Database
from flowport.store.postgres.operations import (
    insert_runs,
    is_waited_for,
    looks_up,
    reads,
    record_event,
    remove_waiting,
    select,
    select_runs,
    translate,
    writes,
)
from flowport.store.postgres.transaction import Transaction
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
from flowport.store.statements import (
    ARGUMENTS_OF_ROW,
    BATCH_COLUMNS,
    LIVE_ROWS,
    NOTE_STOP,
    NOTE_TABLE,
    ROW_ARGUMENTS,
    ROW_COLUMNS,
    ROW_LIST,
    ROW_RUNS,
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

# In the words of the index.
_IS_WAITING: Final = "batch_rows.run_id = '' AND NOT batch_rows.is_dropped"
_RESERVE: Final = translate(build_reservation(_IS_WAITING))
_PROGRESS: Final = translate(build_progress_query(_IS_WAITING))
_ADD_BATCH: Final = translate(build_insert("batches", BATCH_COLUMNS))
_ADD_ROW: Final = translate(build_insert("batch_rows", ("batch_id", *ROW_COLUMNS, "folded_display")))
_LOCK: Final = "SELECT is_queued, lease FROM runs WHERE id = %s FOR UPDATE"
_BEGIN_ROWS: Final = (
    "UPDATE batch_rows SET run_id = given.run_id "  # noqa: S608 - our own words
    "FROM unnest(%(numbers)s::bigint[], %(run_ids)s::text[]) AS given (n, run_id) "
    f"WHERE batch_rows.batch_id = %(batch_id)s AND batch_rows.n = given.n AND {_IS_WAITING} RETURNING batch_rows.run_id"
)
_DROP_WAITING: Final = f"UPDATE batch_rows SET is_dropped = true WHERE batch_id = %s AND {_IS_WAITING}"  # noqa: S608 - our own words
_LOCK_UNSENT: Final = (
    f"SELECT 1 FROM {translate(ROW_RUNS)} AND runs.state = 'accepted' ORDER BY runs.id FOR UPDATE OF runs"  # noqa: S608 - our own words
)
_WAITING_ROWS: Final = f"SELECT {ROW_LIST} FROM batch_rows WHERE batch_id = %s AND {_IS_WAITING} ORDER BY n LIMIT %s"  # noqa: S608 - our own words
_UNSENT_ROWS: Final = translate(UNSENT_ROWS)
_NOTE_STOP: Final = translate(NOTE_STOP)
_NOTE_TABLE: Final = translate(NOTE_TABLE)
_ROWS_FROM: Final = translate(ROWS_FROM)
_RUNS_OF_ROWS_FROM: Final = translate(RUNS_OF_ROWS_FROM)
_LIVE_ROWS: Final = translate(LIVE_ROWS)
_SHARED_ARGUMENTS: Final = translate(SHARED_ARGUMENTS)
_ROW_ARGUMENTS: Final = translate(ROW_ARGUMENTS)
_ARGUMENTS: Final = (
    f"{translate(ARGUMENTS_OF_ROW)} "  # noqa: S608 - our own words
    "UNION ALL SELECT NULL, arguments_json FROM whole_arguments WHERE run_id = %(run_id)s LIMIT 1"
)


class BatchOperations:
    """See `BatchStore` of `store.interface`."""

    database: Database
    stale_writes: int

    async def accept_batch(
        self,
        batch: NewBatch,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        is_queued: bool = False,
    ) -> AcceptOutcome:
        """Record a batch with its rows, or return the earlier batch that the call joins."""
        digests = [row.canonical_digest for row in batch.rows]

        async def accept(transaction: Transaction) -> AcceptOutcome:
            outcome = await accept_call(transaction, batch.run, rules, terms, row_digests=digests, is_queued=is_queued)
            if isinstance(outcome, Accepted):
                transaction.send(_ADD_BATCH, build_batch_values(batch))
                for row in batch.rows:
                    folded = {"folded_display": row.display_json.casefold()}
                    transaction.send(_ADD_ROW, {**build_row_values(batch.run.id, row), **folded})
            return outcome

        return await self.database.write(accept, is_in_line=True)

    @writes
    async def accept_rows(
        self, transaction: Transaction, batch_id: str, runs: Sequence[tuple[int, Run]], lease: int | None = None
    ) -> tuple[Run, ...]:
        batch = await (await transaction.execute(_LOCK, (batch_id,))).fetchone()
        if batch is None:
            return ()
        is_queued, present_lease = batch
        if lease not in {None, present_lease}:
            self.stale_writes += 1
            return ()
        first = dict(reversed(runs))
        values = {"numbers": list(first), "run_ids": [run.id for run in first.values()], "batch_id": batch_id}
        cursor = await transaction.execute(_BEGIN_ROWS, values)
        begun = {row[0] for row in await cursor.fetchall()}
        accepted = [run for n, run in runs if run.id in begun and first[n] is run]
        if is_queued:
            # Any worker may start it, so it does not end with a process.
            accepted = [replace(run, process_id="") for run in accepted]
        await insert_runs(transaction, accepted, is_queued=is_queued)
        transaction.send(_RESERVE, {"batch_id": batch_id})
        return tuple(accepted)

    @writes
    async def drop_rows(
        self,
        transaction: Transaction,
        batch_id: str,
        *,
        reason: str,
        at: float,
        call_id: str | None = None,
        holder: Run | None = None,
    ) -> int:
        transaction.send(_LOCK, (batch_id,))
        if holder is not None and not await _is_held(transaction, holder):
            self.stale_writes += 1
            return 0
        if call_id is not None:
            remove_waiting(transaction, call_id)
            if await is_waited_for(transaction, batch_id):
                return 0
        waiting = await transaction.execute(_DROP_WAITING, (batch_id,))
        transaction.send(_LOCK_UNSENT, {"batch_id": batch_id})
        unsent = await select_runs(transaction, _UNSENT_ROWS, {"batch_id": batch_id})
        for run in unsent:
            await record_event(transaction, run.id, Cancelled(reason, at))
        dropped = waiting.rowcount + len(unsent)
        if dropped:
            transaction.send(_NOTE_STOP, {"batch_id": batch_id, "reason": reason})
            transaction.send(_RESERVE, {"batch_id": batch_id})
        return dropped

    @writes
    async def finish_batch(
        self,
        transaction: Transaction,
        batch_id: str,
        end: Finished,
        lease: int | None = None,
        *,
        csv_path: str,
        csv_problem: str,
    ) -> RecordOutcome:
        outcome = await record_event(transaction, batch_id, end, lease)
        if isinstance(outcome, Recorded):
            transaction.send(_NOTE_TABLE, {"batch_id": batch_id, "csv_path": csv_path, "csv_problem": csv_problem})
        return outcome

    @looks_up
    async def get_waiting_rows(self, transaction: Transaction, batch_id: str, *, limit: int) -> tuple[BatchRow, ...]:
        return tuple(map(parse_batch_row, await select(transaction, _WAITING_ROWS, (batch_id, limit))))

    @looks_up
    async def get_batch_progress(self, transaction: Transaction, batch_id: str) -> BatchProgress:
        rows = await select(transaction, _PROGRESS, {"batch_id": batch_id})
        return parse_progress(next(iter(rows), None), batch_id)

    @reads
    async def get_rows(
        self, transaction: Transaction, batch_id: str, *, start: int = 1, limit: int = 1_000_000
    ) -> tuple[RowStatus, ...]:
        values = {"batch_id": batch_id, "start": start, "limit": limit}
        rows = await select(transaction, _ROWS_FROM, values)
        return parse_row_statuses(rows, await select_runs(transaction, _RUNS_OF_ROWS_FROM, values))

    @looks_up
    async def get_live_rows(self, transaction: Transaction, batch_id: str) -> tuple[Run, ...]:
        return await select_runs(transaction, _LIVE_ROWS, {"batch_id": batch_id})

    @reads
    async def get_batch_arguments(self, transaction: Transaction, batch_id: str) -> BatchArguments:
        shared = await (await transaction.execute(_SHARED_ARGUMENTS, {"batch_id": batch_id})).fetchone()
        if shared is None:
            raise RunNotFound(batch_id)
        rows = await transaction.execute(_ROW_ARGUMENTS, {"batch_id": batch_id})
        return BatchArguments(shared[0], dict(await rows.fetchall()))

    @looks_up
    async def get_whole_arguments(self, transaction: Transaction, run_id: str) -> tuple[str, ...] | None:
        row = await (await transaction.execute(_ARGUMENTS, {"run_id": run_id})).fetchone()
        return None if row is None else tuple(part for part in row if part is not None)


async def _is_held(transaction: Transaction, run: Run) -> bool:
    """Return whether the lease of a run is the present one."""
    cursor = await transaction.execute("SELECT 1 FROM runs WHERE id = %s AND lease = %s", (run.id, run.lease))
    return await cursor.fetchone() is not None
