"""The operations of the SQLite store that concern access tokens."""

import sqlite3
from dataclasses import replace

from flowport.domain.access_tokens import AccessToken
from flowport.store.sqlite.operations import reads, writes
from flowport.store.sqlite.thread import Worker
from flowport.store.statements import ADD_TOKEN, build_token_values, parse_token


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
