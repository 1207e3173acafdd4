"""Tokens on record, as `flowport token add` leaves them, and headers that send one."""

from pathlib import Path
from typing import Any

from flowport.domain.access_tokens import AccessToken, create_token, hash_token
from flowport.domain.principal import Principal
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.reconnect import open_store
from flowport.web.auth import UNKNOWN_TOKEN, Refusal
from tests.runs.samples import NOW


def show_token(token: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"authorization": f"Bearer {token}"}


def build_token(owner: str, **changes: Any) -> tuple[str, AccessToken]:
    """Return a new token, and what is stored of it."""
    token = create_token()
    fields: dict[str, Any] = {"account_ids": None, "spending_limits": None, "created_at": NOW, **changes}
    return token, AccessToken(f"tok_{hash_token(token)[:8]}", hash_token(token)[:8], hash_token(token), owner, **fields)


async def add_token(home: Path, owner: str, **changes: Any) -> tuple[str, AccessToken]:
    """Put a new token on record in a home, beside a running server too, and return it with its record."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    token, record = build_token(owner, **changes)
    store = open_store(home / STORE_NAME)
    try:
        assert await store.add_token(record)
    finally:
        await store.close()
    return token, record


async def revoke_token(home: Path, record: AccessToken) -> None:
    """Revoke a token of a home."""
    store = open_store(home / STORE_NAME)
    try:
        assert await store.revoke_token(record.id, at=NOW)
    finally:
        await store.close()


class SilentIssuer:
    """An issuer whose tokens no test sends."""

    scopes: tuple[str, ...] = ()

    async def verify(self, token: str, /) -> Principal | Refusal:
        """Accept no token."""
        return UNKNOWN_TOKEN

    async def find_issuer(self) -> str:
        """Return its name."""
        return "https://issuer.example"
