"""Taking runs out of the store, and knowing how much it holds. Each function is one operation of the worker.

The rows are walked in slices, in the order in which they lie in the file, so that no index is needed for it and the
store's thread is never long with one slice.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowport.domain.call_errors import RunNotOver
from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import FINAL_STATES, BootTime, RunState
from flowport.store.records import History
from flowport.store.sqlite.errors import build_damage_error, build_store_error, is_damage
from flowport.store.sqlite.rows import Value

SLICE_ROWS: Final = 1000
"""How many runs one operation looks at."""

_FINAL: Final = ", ".join(f"'{state}'" for state in RunState if state in FINAL_STATES)
_IS_OVER: Final = f"state IN ({_FINAL})"
# Of this boot the boot clock must say so too: a wall clock that was set forward must not forget what was spent.
_IS_PRUNABLE: Final = (
    f"{_IS_OVER} AND delivered_at < :before AND finished_at < :before "
    "AND (boot_id IS NOT :boot_id OR accepted_boot_seconds < :boot_before)"
)


@dataclass(frozen=True, slots=True)
class Slice:
    """What came of one operation."""

    runs: int
    """How many runs were taken out."""
    saved_paths: tuple[str, ...]
    """Where their outputs are saved."""
    end: int | None
    """Where the next slice begins; None when this was the last."""


def prune_slice(connection: sqlite3.Connection, *, begin: int, before: float, boot_before: BootTime | None) -> Slice:
    """Take out what is over, was seen, and has been both since before an instant."""
    values: dict[str, Value] = {
        "before": before,
        "boot_id": boot_before.boot_id if boot_before else None,
        "boot_before": boot_before.seconds if boot_before else None,
    }
    return _delete_slice(connection, _IS_PRUNABLE, values, begin=begin)


def erase_slice(connection: sqlite3.Connection, *, begin: int, owner: str, before: float | None = None) -> Slice:
    """Take out an owner's runs that are over, or that ended before an instant."""
    condition = f"{_IS_OVER} AND owner = :owner AND (:before IS NULL OR finished_at < :before)"
    return _delete_slice(connection, condition, {"owner": owner, "before": before}, begin=begin)


def erase_run(connection: sqlite3.Connection, run_id: str, *, owner: str) -> Slice:
    """Take out one run; a batch with all of its rows.

    Raises:
        RunNotFound: The owner has none of this id.
        RunNotOver: It is not over.
    """
    row = connection.execute("SELECT state FROM runs WHERE id = ? AND owner = ?", (run_id, owner)).fetchone()
    if row is None:
        raise RunNotFound(run_id)
    if row["state"] not in FINAL_STATES:
        raise RunNotOver(run_id)
    rows = connection.execute("SELECT run_id FROM batch_rows WHERE batch_id = ? AND run_id <> ''", (run_id,)).fetchall()
    return Slice(1, _delete_runs(connection, [run_id, *(row["run_id"] for row in rows)]), None)


def get_history(connection: sqlite3.Connection, *, owner: str) -> History:
    """Count an owner's runs."""
    row = connection.execute(
        f"SELECT count(*) AS runs, total(NOT {_IS_OVER}) AS live, total({_IS_OVER} AND delivered_at IS NULL) AS unseen, "  # noqa: S608 - our own words
        "total(state = 'unknown') AS unknown, min(accepted_at) AS oldest_at FROM runs WHERE owner = ? AND row_count = 0",
        (owner,),
    ).fetchone()
    saved, saved_bytes = connection.execute(
        "SELECT count(*), total(size_bytes) FROM outputs JOIN runs ON runs.id = outputs.run_id "
        "WHERE saved_path <> '' AND owner = ?",
        (owner,),
    ).fetchone()
    return History(
        runs=row["runs"],
        live=int(row["live"]),
        unseen=int(row["unseen"]),
        unknown=int(row["unknown"]),
        oldest_at=row["oldest_at"],
        saved_outputs=saved,
        saved_bytes=int(saved_bytes),
    )


def get_path(connection: sqlite3.Connection) -> Path:
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


def get_disk_use(connection: sqlite3.Connection) -> int:
    """Return how many bytes the database and the files that SQLite keeps beside it take."""
    path = get_path(connection)
    files = (path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm"))
    return sum(file.stat().st_size for file in files if file.exists())


def scrub(connection: sqlite3.Connection) -> None:
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


def _delete_slice(connection: sqlite3.Connection, condition: str, values: dict[str, Value], *, begin: int) -> Slice:
    rows = connection.execute(
        f"SELECT rowid, id, {condition} AS is_wanted FROM runs WHERE rowid > :begin ORDER BY rowid LIMIT :limit",  # noqa: S608 - our own words
        {**values, "begin": begin, "limit": SLICE_ROWS},
    ).fetchall()
    wanted = [row["id"] for row in rows if row["is_wanted"]]
    end = rows[-1]["rowid"] if len(rows) == SLICE_ROWS else None
    return Slice(len(wanted), _delete_runs(connection, wanted) if wanted else (), end)


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
