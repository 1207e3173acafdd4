"""Maintenance of the SQLite store: find damage, delete runs, measure what is held.

The rows are walked in slices, in the order in which they lie in the file, so that no index is needed for it and the
store's thread is never long with one slice.
"""

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.domain.call_errors import RunNotOver
from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import FINAL_STATES, BootTime
from flowport.store.records import Erasure, History
from flowport.store.rows import Value
from flowport.store.sqlite.errors import build_damage_error, build_store_error, is_damage
from flowport.store.sqlite.operations import IS_OVER, reads
from flowport.store.sqlite.thread import Worker
from flowport.store.statements import build_history_queries, parse_history

SLICE_ROWS: Final = 1000
"""How many runs one operation looks at."""

# Of this boot the boot clock must say so too: a wall clock that was set forward must not forget what was spent.
_IS_PRUNABLE: Final = (
    f"{IS_OVER} AND delivered_at < :before AND finished_at < :before "
    "AND (boot_id IS NOT :boot_id OR accepted_boot_seconds < :boot_before)"
)

_HISTORY: Final = {False: build_history_queries(), True: build_history_queries("<>")}
"""By whether the others are meant."""


def _get_path(connection: sqlite3.Connection) -> Path:
    """Return where the file lies."""
    return Path(connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()["file"])


def find_damage(path: Path) -> StoreError | None:
    """Look through the whole file with a connection of its own, which takes a second for 100,000 runs."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as exc:
        return build_store_error(exc) if is_damage(exc) else None
    return None if found == "ok" else build_damage_error()


def _scrub(connection: sqlite3.Connection) -> None:
    """Leave no trace of deleted rows in the file or its journal; outside of a transaction.

    Raises:
        StoreError: Another process was reading all the while.
    """
    # Pages that were split or merged keep copies of rows where no later deletion finds them; only a copy of the whole
    # file has none. It is made in memory, so that no temporary file holds what is to be gone.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("VACUUM")
    if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise StoreError(
            "another process keeps it busy, so traces of what was erased remain",
            "Close the other programs and erase again.",
        )


def _delete_slice(
    connection: sqlite3.Connection, condition: str, values: dict[str, Value], begin: int
) -> tuple[Erasure, int | None]:
    """Delete the runs of one slice that fulfil a condition; return them and where the next slice begins, None after the last."""
    rows = connection.execute(
        f"SELECT rowid, id, {condition} AS is_chosen FROM runs WHERE rowid > :begin ORDER BY rowid LIMIT :limit",  # noqa: S608 - our own words
        {**values, "begin": begin, "limit": SLICE_ROWS},
    ).fetchall()
    chosen = [row["id"] for row in rows if row["is_chosen"]]
    end = rows[-1]["rowid"] if len(rows) == SLICE_ROWS else None
    return Erasure(len(chosen), _delete_runs(connection, chosen) if chosen else ()), end


def _delete_runs(connection: sqlite3.Connection, run_ids: list[str]) -> tuple[str, ...]:
    """Delete the runs with what belongs to them, and return where their outputs and tables are saved."""
    chosen = json.dumps(run_ids)
    saved = connection.execute(
        "SELECT saved_path FROM outputs WHERE saved_path <> '' AND run_id IN (SELECT value FROM json_each(:chosen)) "
        "UNION ALL SELECT csv_path FROM batches WHERE csv_path <> '' AND id IN (SELECT value FROM json_each(:chosen))",
        {"chosen": chosen},
    ).fetchall()
    # A batch that stays still has its row, without what it was made of.
    connection.execute(
        "UPDATE batch_rows SET arguments_json = '{}', display_json = '{}' "
        "WHERE run_id IN (SELECT value FROM json_each(?)) AND run_id <> ''",
        (chosen,),
    )
    # Outputs and waiting calls go with their run: the schema says so, and what a newer version adds will too.
    connection.execute("DELETE FROM runs WHERE id IN (SELECT value FROM json_each(?))", (chosen,))
    return tuple(row["saved_path"] for row in saved)


def read_history(connection: sqlite3.Connection, owner: str, *, is_other: bool = False) -> History:
    """Count an owner's runs, or those of all other owners."""
    runs, outputs = (connection.execute(query, {"owner": owner}).fetchone() for query in _HISTORY[is_other])
    return parse_history(runs, outputs)


class RecordMaintenance:
    """See `RecordKeeping` of `store.interface`."""

    worker: Worker

    async def check(self) -> None:
        """Look for damage with a connection of its own."""
        path = await self.worker.read(_get_path)
        damage = await anyio.to_thread.run_sync(find_damage, path, limiter=anyio.CapacityLimiter(1))
        if damage is not None:
            self.worker.damage = damage
            raise damage

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
        erased = await self.worker.write(partial(_erase_run, run_id=run_id, owner=owner))
        await self.worker.perform_alone(_scrub)
        return erased

    async def erase_owner(self, owner: str, *, before: float | None = None) -> Erasure:
        """Remove all of an owner's runs that are over, or those of them that ended before an instant."""
        condition = f"{IS_OVER} AND owner = :owner AND (:before IS NULL OR finished_at < :before)"
        erased = await self._delete(condition, {"owner": owner, "before": before})
        await self.worker.perform_alone(_scrub)
        return erased

    async def _delete(self, condition: str, values: dict[str, Value]) -> Erasure:
        begin: int | None = 0
        runs, saved_paths = 0, list[str]()
        while begin is not None:
            delete = partial(_delete_slice, condition=condition, values=values, begin=begin)
            erased, begin = await self.worker.write(delete)
            runs += erased.runs
            saved_paths += erased.saved_paths
        return Erasure(runs, tuple(saved_paths))

    @reads
    def get_history(self, connection: sqlite3.Connection, *, owner: str) -> History:
        return read_history(connection, owner)

    @reads
    def get_disk_use(self, connection: sqlite3.Connection) -> int:
        path = _get_path(connection)
        files = (path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    async def close(self) -> None:
        """Finish what was requested and close the file."""
        await self.worker.close()


def _erase_run(connection: sqlite3.Connection, run_id: str, owner: str) -> Erasure:
    row = connection.execute("SELECT state FROM runs WHERE id = ? AND owner = ?", (run_id, owner)).fetchone()
    if row is None:
        raise RunNotFound(run_id)
    if row["state"] not in FINAL_STATES:
        raise RunNotOver(run_id)
    rows = connection.execute("SELECT run_id FROM batch_rows WHERE batch_id = ? AND run_id <> ''", (run_id,)).fetchall()
    return Erasure(1, _delete_runs(connection, [run_id, *(row["run_id"] for row in rows)]))
