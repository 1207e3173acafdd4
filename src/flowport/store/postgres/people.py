"""The operations of the PostgreSQL store that concern people: their access tokens, and the files that they upload.

What counts the files of an owner and then adds one holds the owner's lock: two of them never count the same.
"""

from collections.abc import Sequence
from typing import Final

from flowport.domain.access_tokens import AccessToken
from flowport.store.postgres.database import Database
from flowport.store.postgres.operations import lock_texts, looks_up, select, translate, writes
from flowport.store.postgres.transaction import Transaction
from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, ReceiveOutcome, TicketUsed
from flowport.store.statements import (
    ADD_FILE,
    ADD_TOKEN,
    DROP_EXPIRED_TICKETS,
    EXPIRED_FILES,
    FIND_FILE,
    KEEP_FILE,
    SUM_FILES,
    TOKEN_COLUMNS,
    build_file_values,
    build_kept_file,
    build_token_values,
    parse_file,
    parse_token,
)

_FIND: Final = translate(FIND_FILE)
_ADD: Final = translate(ADD_FILE)
_KEEP: Final = translate(KEEP_FILE)
_SUM: Final = translate(SUM_FILES)
_EXPIRED: Final = translate(EXPIRED_FILES)
_DROP_EXPIRED: Final = translate(DROP_EXPIRED_TICKETS)
_DROP_OLDEST: Final = (
    "DELETE FROM received_files WHERE id IN (SELECT id FROM received_files WHERE owner = %s AND received_at IS NULL "
    "ORDER BY requested_at DESC, file_number DESC OFFSET %s)"
)
_ADD_TOKEN: Final = translate(ADD_TOKEN)
_REVOKE_TOKEN: Final = (
    "UPDATE tokens SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s "  # noqa: S608 - our own words
    f"RETURNING {', '.join(TOKEN_COLUMNS)}"
)


class TokenOperations:
    """See `TokenStore` of `store.interface`."""

    database: Database

    @writes
    async def add_token(self, transaction: Transaction, token: AccessToken) -> bool:
        return (await transaction.execute(_ADD_TOKEN, build_token_values(token))).rowcount == 1

    @looks_up
    async def get_token(self, transaction: Transaction, sha256: str) -> AccessToken | None:
        rows = await select(transaction, "SELECT * FROM tokens WHERE sha256 = %s", (sha256,))
        return next(map(parse_token, rows), None)

    @looks_up
    async def get_tokens(self, transaction: Transaction) -> tuple[AccessToken, ...]:
        rows = await select(transaction, "SELECT * FROM tokens ORDER BY created_at, token_number")
        return tuple(map(parse_token, rows))

    @writes
    async def revoke_token(self, transaction: Transaction, token_id: str, *, at: float) -> AccessToken | None:
        return next(map(parse_token, await select(transaction, _REVOKE_TOKEN, (at, token_id))), None)


class ReceivedFileOperations:
    """See `ReceivedFileStore` of `store.received_files`."""

    database: Database

    @writes
    async def request_file(self, transaction: Transaction, file: ReceivedFile, *, max_open: int) -> bool:
        _lock_files(transaction, file.owner)
        transaction.send(_DROP_EXPIRED, {"now": file.requested_at})
        is_new = (await transaction.execute(_ADD, build_file_values(file))).rowcount == 1
        transaction.send(_DROP_OLDEST, (file.owner, max_open))
        return is_new

    @looks_up
    async def find_file(self, transaction: Transaction, file_id: str, *, owner: str | None) -> ReceivedFile | None:
        file = await _find(transaction, file_id)
        return None if file is None or owner not in {None, file.owner} else file

    @writes
    async def keep_file(self, transaction: Transaction, file: ReceivedFile, *, max_bytes: int) -> ReceiveOutcome:
        ticket = await _find(transaction, file.id)
        if ticket is not None:
            _lock_files(transaction, ticket.owner)
            ticket = await _find(transaction, file.id)
        kept = build_kept_file(ticket, file)
        if kept is None:
            return TicketUsed()
        used_bytes = await sum_file_bytes(transaction, kept.owner)
        if used_bytes + file.size_bytes > max_bytes:
            return QuotaExceeded(used_bytes)
        is_kept = (await transaction.execute(_KEEP, build_file_values(kept))).rowcount == 1
        return Kept(kept) if is_kept else TicketUsed()

    @looks_up
    async def get_file_use(self, transaction: Transaction, *, owner: str) -> int:
        return await sum_file_bytes(transaction, owner)

    @looks_up
    async def get_expired_files(self, transaction: Transaction, *, now: float) -> tuple[ReceivedFile, ...]:
        return tuple(map(parse_file, await select(transaction, _EXPIRED, {"now": now})))

    @writes
    async def forget_files(self, transaction: Transaction, file_ids: Sequence[str]) -> None:
        transaction.send("DELETE FROM received_files WHERE id = ANY(%s)", (list(file_ids),))


def _lock_files(transaction: Transaction, owner: str) -> None:
    lock_texts(transaction, f"files of {owner}")


async def _find(transaction: Transaction, file_id: str) -> ReceivedFile | None:
    return next(map(parse_file, await select(transaction, _FIND, {"id": file_id})), None)


async def sum_file_bytes(transaction: Transaction, owner: str) -> int:
    """Return the bytes of an owner's received files and saved results."""
    return int((await select(transaction, _SUM, {"owner": owner}))[0]["bytes"])
