"""The tokens of a server for several people: what one says of its bearer. Pure.

A token is `fp_` and 43 characters of 256 random bits. Only its hash is stored. The bits are random and long, so a plain
SHA-256 suffices: nothing can be guessed, and the duration of a look-up by hash reveals nothing about a token.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flowport.domain.principal import Principal
from flowport.domain.spending import SpendingLimits

_PREFIX: Final = "fp_"
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")


class TokenState(StrEnum):
    """Whether a token is accepted."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is stored, without its secret."""

    id: str
    name: str
    """Unique among the tokens that are not revoked."""
    sha256: str
    """Of the whole token, in hexadecimal digits."""
    owner: str
    account_ids: frozenset[str] | None
    """The accounts that it may use, by their ids or their providers' names; None for all."""
    spending_limits: SpendingLimits | None
    """The bearer's own limits; None for those of the settings."""
    created_at: float
    expires_at: float | None = None
    """None for never."""
    revoked_at: float | None = None

    def get_state(self, now: float) -> TokenState:
        """Return whether it is accepted at an instant."""
        if self.revoked_at is not None:
            return TokenState.REVOKED
        if self.expires_at is not None and now >= self.expires_at:
            return TokenState.EXPIRED
        return TokenState.VALID

    def find_principal(self, now: float, *, is_local: bool = False) -> Principal | None:
        """Return whom it stands for; None if it is revoked or has expired.

        Args:
            is_local: Whether the paths of this computer are the caller's own.
        """
        if self.get_state(now) is not TokenState.VALID:
            return None
        return Principal(self.owner, self.account_ids, self.spending_limits, is_local=is_local, token_id=self.id)


def create_token() -> str:
    """Return a new token."""
    return _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def is_token(text: str) -> bool:
    """Return whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def hash_token(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
