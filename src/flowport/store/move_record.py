"""Copy the record of a home into the database of a team: what is over, and what is kept for good.

What a process is carrying out stays: a run is moved once it is over, a batch with its rows once all of them are. Each row is
written unless it is there, so a second move adds what was left, and the file of the home is only read.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.operations import translate
from flowport.store.postgres.transaction import Transaction
from flowport.store.records import Upload
from flowport.store.rows import FINAL, LIVE, OUTPUT_COLUMNS, RUN_COLUMNS
from flowport.store.sqlite.connection import STORE_NAME, open_connection
from flowport.store.statements import BATCH_COLUMNS, FILE_COLUMNS, ROW_COLUMNS, TOKEN_COLUMNS, build_insert

SLICE_ROWS: Final = 200
"""How many rows one transaction writes."""

_FLAGS: Final = frozenset({"is_cost_reported", "is_delivery_cancelled", "is_followed", "is_dropped"})
_FOLDED: Final = {
    "runs": {
        "folded_app": "{app_name} {tool_name}",
        "folded_rest": " {id} {arguments_json}",
    },
    "batch_rows": {"folded_display": "{display_json}"},
}


@dataclass(frozen=True, slots=True)
class Moved:
    """What has become of one kind of record."""

    name: str
    moved: int
    present: int = 0
    """How many were in the database before, or have an id or a name that is taken there."""
    left: int = 0
    """How many stay in the home alone."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one table that are moved."""

    name: str
    table: str
    columns: tuple[str, ...]
    condition: str = "true"


_IS_MOVED: Final = "IN (SELECT id FROM temp.moved)"
_PARTS: Final = (
    _Part("access tokens", "tokens", TOKEN_COLUMNS),
    _Part("names of tools", "tool_names", ("name", "scope", "app_id")),
    _Part("names of inputs", "property_names", ("scope", "app_id", "input_id", "name")),
    _Part("runs", "runs", RUN_COLUMNS, f"id {_IS_MOVED}"),
    _Part("outputs", "outputs", ("run_id", *OUTPUT_COLUMNS), f"run_id {_IS_MOVED}"),
    _Part("batches", "batches", (*BATCH_COLUMNS, "stop_reason", "csv_path", "csv_problem"), f"id {_IS_MOVED}"),
    _Part("rows of batches", "batch_rows", ("batch_id", *ROW_COLUMNS, "run_id", "is_dropped"), f"batch_id {_IS_MOVED}"),
    _Part("received files", "received_files", FILE_COLUMNS, "received_at IS NOT NULL"),
    _Part("files at providers", "uploads", tuple(field.name for field in fields(Upload)), "url <> ''"),
)
"""In the order in which they refer to each other."""

# A batch goes with its rows, and none of them without it.
_CHOOSE_WAITING: Final = (
    "CREATE TEMP TABLE waiting AS SELECT id FROM runs WHERE row_count > 0 "  # noqa: S608 - our own words
    f"AND (state IN ({LIVE}) OR EXISTS (SELECT 1 FROM batch_rows JOIN runs AS begun ON begun.id = batch_rows.run_id "
    f"WHERE batch_rows.batch_id = runs.id AND begun.state IN ({LIVE})))"
)
_CHOOSE_MOVED: Final = (
    f"CREATE TEMP TABLE moved AS SELECT id FROM runs WHERE state IN ({FINAL}) "  # noqa: S608 - our own words
    "AND id NOT IN (SELECT id FROM waiting) AND batch_id NOT IN (SELECT id FROM waiting)"
)


async def move_record(home: Path, url: str) -> tuple[Moved, ...]:
    """Copy what can be moved from a home into a database, and return what was done.

    Raises:
        StoreError: One of the two cannot be read or written; what was moved until then stays moved.
    """
    database = Database(url, prepare=migrate)
    try:
        await database.open()
        with closing(open_connection(home / STORE_NAME)) as connection:
            # One snapshot for all that follows.
            connection.execute("BEGIN")
            for statement in (_CHOOSE_WAITING, _CHOOSE_MOVED, "CREATE UNIQUE INDEX temp.moved_by_id ON moved (id)"):
                connection.execute(statement)
            moved = [await _move_part(connection, database, part) for part in _PARTS]
        await database.look_up(_analyze)
    finally:
        await database.close()
    return tuple(moved)


async def _move_part(connection: Any, database: Database, part: _Part) -> Moved:
    added = found = 0
    for rows in _read(connection, part):
        added += await database.write(partial(_write, part=part, rows=rows))
        found += len(rows)
    left = 0
    if part.table == "runs":
        left = connection.execute("SELECT count(*) FROM runs").fetchone()[0] - found
    return Moved(part.name, added, found - added, left)


def _read(connection: Any, part: _Part) -> Iterator[list[dict[str, Any]]]:
    """Read the rows of a part in slices, in the order in which they were written."""
    cursor = connection.execute(
        f"SELECT {', '.join(part.columns)} FROM {part.table} WHERE {part.condition} ORDER BY rowid"  # noqa: S608 - our own words
    )
    while rows := cursor.fetchmany(SLICE_ROWS):
        yield [_convert(part, row) for row in rows]


def _convert(part: _Part, row: Any) -> dict[str, Any]:
    values = {column: bool(row[column]) if column in _FLAGS else row[column] for column in part.columns}
    folded = {name: text.format_map(values).casefold() for name, text in _FOLDED.get(part.table, {}).items()}
    return {**values, **folded}


async def _write(transaction: Transaction, part: _Part, rows: list[dict[str, Any]]) -> int:
    insert = translate(build_insert(part.table, tuple(rows[0]))) + " ON CONFLICT DO NOTHING"
    sent = [transaction.send(insert, row) for row in rows]
    await transaction.flush()
    return sum(one.cursor.rowcount for one in sent if one.cursor is not None)


async def _analyze(transaction: Transaction) -> None:
    await transaction.execute(f"ANALYZE {', '.join(part.table for part in _PARTS)}")
