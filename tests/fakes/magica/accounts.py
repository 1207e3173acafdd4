"""The keys that Magica's face accepts, and what each of them may still spend."""

import hmac
from collections.abc import Iterable
from typing import Final

from starlette.requests import Request

from tests.fakes.magica.refusals import Denied

MICROCREDITS: Final = 1_000_000
"""In one credit."""

FIRST_BALANCE_MICROCREDITS: Final = 1_000 * MICROCREDITS


class Accounts:
    """Every key is an account of its own, with a balance and with runs that no other sees."""

    def __init__(self, key: str) -> None:
        """Begin with one key, to which `reset` returns."""
        self._first_key = key
        self._granted: dict[str, int] = {key: FIRST_BALANCE_MICROCREDITS}

    def find_key(self, request: Request) -> str:
        """Return the key that a request names; raises `Denied` with 401 for none or another."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise Denied(401, "Missing API key")
        for key in self._granted:
            if hmac.compare_digest(given.strip().encode(), key.encode()):
                return key
        raise Denied(401, "Invalid API key")

    def get_granted(self, key: str) -> int:
        """Return what an account had before it spent anything, in microcredits."""
        return self._granted[key]

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key."""
        return tuple(self._granted)

    def grant(self, key: str, microcredits: int) -> None:
        """Say what an account had before it spent anything."""
        self._granted[key] = microcredits

    def add(self, keys: Iterable[str]) -> None:
        """Accept more keys."""
        self._granted |= {key: FIRST_BALANCE_MICROCREDITS for key in keys if key not in self._granted}

    def reset(self) -> None:
        """Go back to the first key, which has spent nothing."""
        self._granted = {self._first_key: FIRST_BALANCE_MICROCREDITS}
