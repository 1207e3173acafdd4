"""Accept tokens for a moment while the record of tokens cannot be read.

A database that restarts, or whose standby takes over, is away for seconds. Some clients lose the result of a call when the
list of tools that they ask for after it is refused, so a token that the record has confirmed just before is accepted
meanwhile. As long as the record answers, it alone decides.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowport.domain.access_tokens import AccessToken
from flowport.domain.errors import StoreError

logger = logging.getLogger(__name__)

Look: TypeAlias = Callable[[str], Awaitable[AccessToken | None]]
"""Looks a token up by its hash."""

CONFIRMED_SECONDS: Final = 60.0
"""How long a token counts after it was confirmed. A standby takes over within a minute. Revoking needs the same database, so
only a replica that is cut off from a database that others reach accepts a revoked token for so long."""

MAX_CONFIRMED: Final = 10_000
"""Tokens that are remembered, at about a kilobyte each; one that is forgotten needs the record."""

AWAY_SECONDS: Final = 1.0
"""How long after a failed look the record counts as away, where no other connection shows whether it is. Another look at a
database that is away would take five seconds."""


@dataclass(frozen=True, slots=True)
class _Confirmed:
    token: AccessToken
    at_seconds: float


class ConfirmedTokens:
    """The tokens that the record has confirmed just before, by their hashes."""

    def __init__(
        self,
        get_seconds: Callable[[], float] = time.monotonic,
        *,
        max_confirmed: int = MAX_CONFIRMED,
        is_cut_off: Callable[[], bool] | None = None,
    ) -> None:
        """Begin with none.

        Args:
            get_seconds: The clock.
            is_cut_off: Returns whether another connection to the record is lost; None where there is no other.
        """
        self._get_seconds = get_seconds
        self._is_cut_off = is_cut_off
        self._max_confirmed = max_confirmed
        self._confirmed: OrderedDict[str, _Confirmed] = OrderedDict()
        """The one that was confirmed longest ago first."""
        self._failed_at: float | None = None
        """When the record could last not be read; None if it has answered since."""
        self._looking: asyncio.Task[None] | None = None

    async def find(self, sha256: str, look: Look) -> AccessToken | None:
        """Return what is on record of a token; None if it is unknown.

        Raises:
            StoreError: The record cannot be read, and has not confirmed the token just before.
        """
        if self._is_away() and (token := self._get_confirmed(sha256)) is not None:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_again(sha256, look))
            return token
        try:
            return await self._look(sha256, look)
        except StoreError:
            if (token := self._get_confirmed(sha256)) is None:
                raise
            return token

    def _is_away(self) -> bool:
        """Return whether the record is known to be unreadable now."""
        if self._failed_at is None:
            return False
        if self._is_cut_off is not None:
            return self._is_cut_off()
        is_looking = self._looking is not None and not self._looking.done()
        return is_looking or self._get_seconds() - self._failed_at < AWAY_SECONDS

    async def _look(self, sha256: str, look: Look) -> AccessToken | None:
        # From before the look: the token may be revoked while the answer is on its way.
        at_seconds = self._get_seconds()
        try:
            token = await look(sha256)
        except StoreError as exc:
            if self._failed_at is None:
                logger.warning("tokens cannot be looked up, so those confirmed just before count: %s", exc)
            self._failed_at = self._get_seconds()
            raise
        self._failed_at = None
        self._confirmed.pop(sha256, None)
        if token is not None and token.revoked_at is None:
            self._confirmed[sha256] = _Confirmed(token, at_seconds)
            if len(self._confirmed) > self._max_confirmed:
                self._confirmed.popitem(last=False)
        return token

    async def _look_again(self, sha256: str, look: Look) -> None:
        # The first failure is in the log.
        with contextlib.suppress(StoreError):
            await self._look(sha256, look)

    def _get_confirmed(self, sha256: str) -> AccessToken | None:
        found = self._confirmed.get(sha256)
        is_recent = found is not None and self._get_seconds() - found.at_seconds < CONFIRMED_SECONDS
        return found.token if found is not None and is_recent else None
