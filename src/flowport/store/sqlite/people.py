"""The operations of the SQLite store that concern people: their access tokens, and the files that they upload."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from flowport.domain.access_tokens import AccessToken
from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, ReceiveOutcome, TicketUsed
from flowport.store.sqlite.operations import reads, writes
from flowport.store.sqlite.thread import Worker
from flowport.store.statements import (
    ADD_FILE,
    ADD_TOKEN,
    DROP_EXPIRED_TICKETS,
    EXPIRED_FILES,
    FIND_FILE,
    KEEP_FILE,
    SUM_FILES,
    build_file_values,
    build_kept_file,
    build_token_values,
    parse_file,
    parse_token,
)

_DROP_OLDEST: Final = (
    "DELETE FROM received_files WHERE id IN (SELECT id FROM received_files WHERE owner = ? AND received_at IS NULL "
    "ORDER BY requested_at DESC, rowid DESC LIMIT -1 OFFSET ?)"
)


class TokenOperations:
    """See `TokenStore` of `store.interface`."""

    worker: Worker

    @writes
    def add_token(self, connection: sqlite3.Connection, token: AccessToken) -> bool:
        cursor = connection.execute(ADD_TOKEN, build_token_values(token))
        return cursor.rowcount == 1

    @reads
    def get_token(self, connection: sqlite3.Connection, sha256: str) -> AccessToken | None:
        row = connection.execute("SELECT * FROM tokens WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else parse_token(row)

    @reads
    def get_tokens(self, connection: sqlite3.Connection) -> tuple[AccessToken, ...]:
        return tuple(map(parse_token, connection.execute("SELECT * FROM tokens ORDER BY created_at, rowid")))

    @writes
    def revoke_token(self, connection: sqlite3.Connection, token_id: str, *, at: float) -> AccessToken | None:
        row = connection.execute("SELECT * FROM tokens WHERE id = ?", (token_id,)).fetchone()
        if row is None or row["revoked_at"] is not None:
            return None if row is None else parse_token(row)
        connection.execute("UPDATE tokens SET revoked_at = ? WHERE id = ?", (at, token_id))
        return replace(parse_token(row), revoked_at=at)


class ReceivedFileOperations:
    """See `ReceivedFileStore` of `store.received_files`."""

    worker: Worker

    @writes
    def request_file(self, connection: sqlite3.Connection, file: ReceivedFile, *, max_open: int) -> bool:
        connection.execute(DROP_EXPIRED_TICKETS, {"now": file.requested_at})
        is_new = connection.execute(ADD_FILE, build_file_values(file)).rowcount == 1
        connection.execute(_DROP_OLDEST, (file.owner, max_open))
        return is_new

    @reads
    def find_file(self, connection: sqlite3.Connection, file_id: str, *, owner: str | None) -> ReceivedFile | None:
        return _find(connection, file_id, owner)

    @writes
    def keep_file(self, connection: sqlite3.Connection, file: ReceivedFile, *, max_bytes: int) -> ReceiveOutcome:
        kept = build_kept_file(_find(connection, file.id, None), file)
        if kept is None:
            return TicketUsed()
        used_bytes = sum_file_bytes(connection, kept.owner)
        if used_bytes + file.size_bytes > max_bytes:
            return QuotaExceeded(used_bytes)
        connection.execute(KEEP_FILE, build_file_values(kept))
        return Kept(kept)

    @reads
    def get_file_use(self, connection: sqlite3.Connection, *, owner: str) -> int:
        return sum_file_bytes(connection, owner)

    @reads
    def get_expired_files(self, connection: sqlite3.Connection, *, now: float) -> tuple[ReceivedFile, ...]:
        return tuple(map(parse_file, connection.execute(EXPIRED_FILES, {"now": now})))

    @writes
    def forget_files(self, connection: sqlite3.Connection, file_ids: Sequence[str]) -> None:
        connection.executemany("DELETE FROM received_files WHERE id = ?", ((one,) for one in file_ids))


def _find(connection: sqlite3.Connection, file_id: str, owner: str | None) -> ReceivedFile | None:
    row = connection.execute(FIND_FILE, {"id": file_id}).fetchone()
    return None if row is None or owner not in {None, row["owner"]} else parse_file(row)


def sum_file_bytes(connection: sqlite3.Connection, owner: str) -> int:
    """Return the bytes of an owner's received files and saved results."""
    return int(connection.execute(SUM_FILES, {"owner": owner}).fetchone()["bytes"])
