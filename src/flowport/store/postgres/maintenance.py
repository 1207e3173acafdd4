"""Maintenance of the PostgreSQL store: find damage, delete runs, measure what is held.

What is erased is in no table and no index afterwards. Three places keep its bytes for a while, and only the administrator of
the database reaches them: free space inside a table's file, until new rows fill it or `VACUUM FULL` rewrites the file; the
write-ahead log, until its segments are recycled; and the backups, archives and standbys that were made of it.
"""

import time
from typing import Final

import anyio

from flowport.domain.call_errors import RunNotOver
from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import FINAL_STATES, BootTime
from flowport.store.postgres.database import PATIENCE_SECONDS, Database
from flowport.store.postgres.operations import IS_OVER, looks_up, reads, select, translate, writes
from flowport.store.postgres.transaction import Transaction
from flowport.store.records import Erasure, History
from flowport.store.rows import Value
from flowport.store.statements import build_history_queries, parse_history

SLICE_ROWS: Final = 1000
"""The most runs that one transaction deletes."""

RETRY_SECONDS: Final = 0.05
"""Between two looks whether an older transaction still sees what was deleted."""

RUN_TABLES: Final = ("runs", "outputs", "waiting_calls", "batches", "batch_rows", "whole_arguments")
"""What is erased with a run."""

TABLES: Final = (
    *RUN_TABLES,
    *("tool_names", "property_names", "uploads", "tokens", "received_files", "file_use"),
    *("commits", "migrations", "processes", "rate_windows", "used_marks"),
)

_JOB_TABLES: Final = ("procrastinate_jobs", "procrastinate_events")

# Of this boot the boot clock must say so too: a wall clock that was set forward must not forget what was spent.
_IS_PRUNABLE: Final = (
    f"{IS_OVER} AND delivered_at < %(before)s AND finished_at < %(before)s "
    "AND (boot_id IS DISTINCT FROM %(boot_id)s::text OR accepted_boot_seconds < %(boot_before)s::double precision)"
)
_HISTORY: Final = tuple(map(translate, build_history_queries()))
_SAVED_PATHS: Final = (
    "SELECT saved_path FROM outputs WHERE saved_path <> '' AND run_id = ANY(%(ids)s) "
    "UNION ALL SELECT csv_path FROM batches WHERE csv_path <> '' AND id = ANY(%(ids)s)"
)
# A batch that stays still has its row, without what it was made of.
_EMPTY_ROWS: Final = (
    "UPDATE batch_rows SET arguments_json = '{}', display_json = '{}', folded_display = '{}' "
    "WHERE run_id = ANY(%(ids)s) AND run_id <> ''"
)
# A worker removes the job that it is executing itself.
_DELETE_JOBS: Final = "DELETE FROM procrastinate_jobs WHERE lock = ANY(%(locks)s) AND status <> 'doing'"
_HAS_OLDER: Final = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND greatest(age(backend_xmin), age(backend_xid)) >= age(%s::xid) LIMIT 1"
)
"""Whether a transaction is open that began before this one ended: for it the server keeps what was deleted."""
_DISK_USE: Final = (
    "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint FROM unnest(%s::text[]) AS name"
)


class RecordMaintenance:
    """See `RecordKeeping` of `store.interface`."""

    database: Database

    @reads
    async def check(self, transaction: Transaction) -> None:
        # The server checks a page when it is read; no index may answer in place of the tables.
        transaction.send("SET LOCAL enable_indexscan = off")
        transaction.send("SET LOCAL enable_indexonlyscan = off")
        transaction.send("SET LOCAL enable_bitmapscan = off")
        for table in TABLES:
            await transaction.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own words

    @writes
    async def check_writable(self, transaction: Transaction) -> None:
        # Every transaction that writes leaves its mark in `commits`.
        await transaction.flush()

    async def prune(self, *, before: float, boot_before: BootTime | None = None) -> Erasure:
        """Delete the runs that ended and were delivered before an instant."""
        values: dict[str, Value] = {
            "before": before,
            "boot_id": boot_before.boot_id if boot_before else None,
            "boot_before": boot_before.seconds if boot_before else None,
        }
        return await self._delete(_IS_PRUNABLE, values)

    async def erase_run(self, run_id: str, *, owner: str) -> Erasure:
        """Remove one run that is over; a batch with all of its rows."""

        async def erase(transaction: Transaction) -> tuple[Erasure, str]:
            erased = await _erase_run(transaction, run_id, owner)
            return erased, await _get_number(transaction)

        erased, number = await self.database.write(erase)
        await self._remove_traces(number)
        return erased

    async def erase_owner(self, owner: str, *, before: float | None = None) -> Erasure:
        """Remove all of an owner's runs that are over, or those of them that ended before an instant."""
        condition = f"{IS_OVER} AND owner = %(owner)s" + ("" if before is None else " AND finished_at < %(before)s")
        erased = await self._delete(condition, {"owner": owner, "before": before})
        await self._remove_traces(await self.database.write(_get_number))
        return erased

    async def _delete(self, condition: str, values: dict[str, Value]) -> Erasure:
        begin = ""
        runs, saved_paths = 0, list[str]()

        async def delete_slice(transaction: Transaction) -> tuple[list[str], tuple[str, ...]]:
            cursor = await transaction.execute(
                f"SELECT id FROM runs WHERE id > %(begin)s AND {condition} ORDER BY id LIMIT %(limit)s FOR UPDATE",  # noqa: S608 - our own words
                {**values, "begin": begin, "limit": SLICE_ROWS},
            )
            chosen = [row[0] for row in await cursor.fetchall()]
            return chosen, await _delete_runs(transaction, chosen) if chosen else ()

        while True:
            chosen, saved = await self.database.write(delete_slice)
            runs += len(chosen)
            saved_paths += saved
            if len(chosen) < SLICE_ROWS:
                return Erasure(runs, tuple(saved_paths))
            begin = chosen[-1]

    async def _remove_traces(self, number: str) -> None:
        """Remove deleted rows from the tables and indexes, once no transaction can see them.

        Args:
            number: Of the last transaction that deleted some.

        Raises:
            StoreError: A transaction was open all the while.
        """
        give_up_at = time.monotonic() + PATIENCE_SECONDS

        async def has_older(transaction: Transaction) -> bool:
            return await (await transaction.execute(_HAS_OLDER, (number,))).fetchone() is not None

        while is_seen := await self.database.look_up(has_older):
            if time.monotonic() >= give_up_at:
                break
            await anyio.sleep(RETRY_SECONDS)

        async def vacuum(transaction: Transaction) -> None:
            await transaction.execute(f"VACUUM {', '.join((*RUN_TABLES, *_JOB_TABLES))}")

        await self.database.look_up(vacuum)
        if is_seen:
            raise StoreError(
                "another program keeps a transaction open, so traces of what was erased remain",
                "End that transaction and erase again.",
            )

    @reads
    async def get_history(self, transaction: Transaction, *, owner: str) -> History:
        runs, outputs = [(await select(transaction, query, {"owner": owner}))[0] for query in _HISTORY]
        return parse_history(runs, outputs)

    @looks_up
    async def get_disk_use(self, transaction: Transaction) -> int:
        names = [*TABLES, *_JOB_TABLES, "procrastinate_workers", "procrastinate_periodic_defers"]
        row = await (await transaction.execute(_DISK_USE, (names,))).fetchone()
        return 0 if row is None else int(row[0])

    async def close(self) -> None:
        """Finish what was requested and close the connections."""
        await self.database.close()


async def _get_number(transaction: Transaction) -> str:
    """Return the number of a transaction, without the count of its wraparounds."""
    return str((await select(transaction, "SELECT pg_current_xact_id()::xid::text AS number"))[0]["number"])


async def _erase_run(transaction: Transaction, run_id: str, owner: str) -> Erasure:
    cursor = await transaction.execute(
        "SELECT state FROM runs WHERE id = %s AND owner = %s FOR UPDATE", (run_id, owner)
    )
    row = await cursor.fetchone()
    if row is None:
        raise RunNotFound(run_id)
    if row[0] not in FINAL_STATES:
        raise RunNotOver(run_id)
    rows = await transaction.execute("SELECT run_id FROM batch_rows WHERE batch_id = %s AND run_id <> ''", (run_id,))
    return Erasure(1, await _delete_runs(transaction, [run_id, *[row[0] for row in await rows.fetchall()]]))


async def _delete_runs(transaction: Transaction, run_ids: list[str]) -> tuple[str, ...]:
    """Delete the runs with what belongs to them, and return where their outputs and tables are saved."""
    values = {"ids": run_ids, "locks": [f"run:{run_id}" for run_id in run_ids]}
    # All of them first: saving a result locks the run, and then the count of its owner's files.
    transaction.send("SELECT 1 FROM runs WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE", values)
    saved = await (await transaction.execute(_SAVED_PATHS, values)).fetchall()
    transaction.send(_EMPTY_ROWS, values)
    # Outputs and waiting calls go with their run: the tables say so, and what a newer version adds will too.
    transaction.send("DELETE FROM runs WHERE id = ANY(%(ids)s)", values)
    transaction.send(_DELETE_JOBS, values)
    return tuple([row[0] for row in saved])
