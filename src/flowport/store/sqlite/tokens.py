"""The operations of the SQLite store that concern access tokens."""

import json
import sqlite3
from dataclasses import asdict, replace

from flowport.domain.access_tokens import AccessToken
from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.store.sqlite.operations import reads, writes
from flowport.store.sqlite.thread import Worker


class TokenOperations:
    """See `TokenStore` of `store.interface`."""

    worker: Worker

    @writes
    def add_token(self, connection: sqlite3.Connection, token: AccessToken) -> bool:
        accounts = None if token.account_ids is None else json.dumps(sorted(token.account_ids))
        limits = None if token.spending_limits is None else json.dumps(asdict(token.spending_limits))
        cursor = connection.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING",
            (
                token.id,
                token.name,
                token.sha256,
                token.owner,
                accounts,
                limits,
                token.created_at,
                token.expires_at,
                token.revoked_at,
            ),
        )
        return cursor.rowcount == 1

    @reads
    def get_token(self, connection: sqlite3.Connection, sha256: str) -> AccessToken | None:
        row = connection.execute("SELECT * FROM tokens WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else _parse_token(row)

    @reads
    def get_tokens(self, connection: sqlite3.Connection) -> tuple[AccessToken, ...]:
        return tuple(map(_parse_token, connection.execute("SELECT * FROM tokens ORDER BY created_at, rowid")))

    @writes
    def revoke_token(self, connection: sqlite3.Connection, token_id: str, *, at: float) -> AccessToken | None:
        row = connection.execute("SELECT * FROM tokens WHERE id = ?", (token_id,)).fetchone()
        if row is None or row["revoked_at"] is not None:
            return None if row is None else _parse_token(row)
        connection.execute("UPDATE tokens SET revoked_at = ? WHERE id = ?", (at, token_id))
        return replace(_parse_token(row), revoked_at=at)


def _parse_token(row: sqlite3.Row) -> AccessToken:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row iterates over its values
    if values["account_ids"] is not None:
        values["account_ids"] = frozenset(json.loads(values["account_ids"]))
    if values["spending_limits"] is not None:
        limits = json.loads(values["spending_limits"])
        values["spending_limits"] = SpendingLimits(**{**limits, "unknown_price": UnknownPrice(limits["unknown_price"])})
    return AccessToken(**values)
