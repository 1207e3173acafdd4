"""The operations of the SQLite store that concern files which people upload."""

import sqlite3
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, ReceiveOutcome, TicketUsed
from flowport.store.rows import build_value
from flowport.store.sqlite.operations import reads, writes
from flowport.store.sqlite.thread import Worker

_COLUMNS: Final = tuple(field.name for field in fields(ReceivedFile))
_LIST: Final = ", ".join(_COLUMNS)
_INSERT: Final = (
    f"INSERT INTO received_files ({_LIST}) VALUES ({', '.join(f':{column}' for column in _COLUMNS)}) "  # noqa: S608 - our own words
    "ON CONFLICT (id) DO NOTHING"
)
_UPDATE: Final = (
    f"UPDATE received_files SET {', '.join(f'{column} = :{column}' for column in _COLUMNS)} "  # noqa: S608 - our own words
    "WHERE id = :id AND received_at IS NULL"
)

_DROP_OLDEST: Final = (
    "DELETE FROM received_files WHERE id IN (SELECT id FROM received_files WHERE owner = ? AND received_at IS NULL "
    "ORDER BY requested_at DESC, rowid DESC LIMIT -1 OFFSET ?)"
)


class ReceivedFileOperations:
    """See `ReceivedFileStore` of `store.received_files`."""

    worker: Worker

    @writes
    def request_file(self, connection: sqlite3.Connection, file: ReceivedFile, *, max_open: int) -> bool:
        connection.execute(
            "DELETE FROM received_files WHERE received_at IS NULL AND expires_at < ?", (file.requested_at,)
        )
        is_new = connection.execute(_INSERT, _build_values(file)).rowcount == 1
        connection.execute(_DROP_OLDEST, (file.owner, max_open))
        return is_new

    @reads
    def find_file(self, connection: sqlite3.Connection, file_id: str, *, owner: str | None) -> ReceivedFile | None:
        return _find(connection, file_id, owner)

    @writes
    def keep_file(self, connection: sqlite3.Connection, file: ReceivedFile, *, max_bytes: int) -> ReceiveOutcome:
        ticket = _find(connection, file.id, None)
        received_at = file.requested_at if file.received_at is None else file.received_at
        if ticket is None or ticket.received_at is not None or ticket.expires_at < received_at:
            return TicketUsed()
        used_bytes = sum_file_bytes(connection, ticket.owner)
        if used_bytes + file.size_bytes > max_bytes:
            return QuotaExceeded(used_bytes)
        kept = replace(
            file,
            owner=ticket.owner,
            purpose=ticket.purpose,
            requested_at=ticket.requested_at,
            received_at=received_at,
        )
        connection.execute(_UPDATE, _build_values(kept))
        return Kept(kept)

    @reads
    def get_file_use(self, connection: sqlite3.Connection, *, owner: str) -> int:
        return sum_file_bytes(connection, owner)

    @reads
    def get_expired_files(self, connection: sqlite3.Connection, *, now: float) -> tuple[ReceivedFile, ...]:
        rows = connection.execute(
            f"SELECT {_LIST} FROM received_files WHERE received_at IS NOT NULL AND expires_at < ?",  # noqa: S608 - our own words
            (now,),
        )
        return tuple(map(_parse, rows))

    @writes
    def forget_files(self, connection: sqlite3.Connection, file_ids: Sequence[str]) -> None:
        connection.executemany("DELETE FROM received_files WHERE id = ?", ((one,) for one in file_ids))


def _find(connection: sqlite3.Connection, file_id: str, owner: str | None) -> ReceivedFile | None:
    row = connection.execute(f"SELECT {_LIST} FROM received_files WHERE id = ?", (file_id,)).fetchone()  # noqa: S608 - our own words
    if row is None or owner not in {None, row["owner"]}:
        return None
    return _parse(row)


def _parse(row: sqlite3.Row) -> ReceivedFile:
    return ReceivedFile(**{column: row[column] for column in _COLUMNS})


def _build_values(file: ReceivedFile) -> dict[str, str | int | float | None]:
    return {column: build_value(getattr(file, column)) for column in _COLUMNS}


def sum_file_bytes(connection: sqlite3.Connection, owner: str) -> int:
    """Return the bytes of an owner's received files and saved results."""
    return sum(
        connection.execute(f"SELECT ifnull(sum(size_bytes), 0) FROM {table} WHERE owner = ?", (owner,)).fetchone()[0]  # noqa: S608 - our own words
        for table in ("received_files", "file_use")
    )
