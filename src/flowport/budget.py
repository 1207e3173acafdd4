"""The request budget of one account: at most so many requests in any sixty seconds, the urgent ones first.

Starts of runs go before looks at runs, and both before discovery. The window slides, as the provider's own does, so a
burst is allowed as long as the minute around it stays within the limit.
"""

import itertools
from collections import deque
from enum import IntEnum
from typing import Final

import anyio

from flowport.clock import Clock

WINDOW_SECONDS: Final = 60.0
MARGIN_SECONDS: Final = 0.25
"""Added to the window, because a request leaves here earlier than the provider counts it."""


class Priority(IntEnum):
    """Who goes first; smaller is sooner."""

    START = 0
    LOOK = 1
    """At a run that somebody waits for."""
    LOOK_ENDED = 2
    """At a run that nobody waits for and that has almost certainly ended."""
    START_ROW = 3
    """Of a run that is a row of a batch."""
    LOOK_ROW = 4
    """At a row of a batch, or at a run that nobody waits for any more."""
    DISCOVER = 5
    DISCOVER_LATER = 6
    """Definitions that no listed tool needs; they leave half of the window to everything else."""


class RequestBudget:
    """Grants requests, one at a time, in the order of their priority."""

    def __init__(self, limit: int, clock: Clock) -> None:
        """Make a budget of `limit` requests a minute; 0 for no limit."""
        self._limit = limit
        self._clock = clock
        self._granted: deque[float] = deque()
        self._waiting: list[tuple[Priority, int]] = []
        self._tickets = itertools.count()
        self._paused_until = float("-inf")
        self._changed = anyio.Event()

    @property
    def limit(self) -> int:
        """Requests in a minute; 0 for no limit."""
        return self._limit

    def get_used(self) -> int:
        """Return how many requests the last minute holds."""
        self._forget_old()
        return len(self._granted)

    async def take(self, priority: Priority) -> None:
        """Wait until a request may be sent, and count it as sent."""
        ticket = (priority, next(self._tickets))
        self._waiting.append(ticket)
        try:
            while (delay := self._get_delay(ticket)) > 0:
                await self._wait(delay)
            self._granted.append(self._clock.monotonic())
        finally:
            self._waiting.remove(ticket)
            self._wake()

    def note_busy(self, seconds: float) -> None:
        """Grant nothing for so long, because the provider asked for it."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    def _get_delay(self, ticket: tuple[Priority, int]) -> float:
        """Return the seconds until this ticket may go, 0 for now, infinity while another goes first."""
        if ticket != min(self._waiting):
            return float("inf")
        now = self._clock.monotonic()
        pause = max(0.0, self._paused_until - now)
        self._forget_old()
        if self._limit == 0:
            return pause
        allowed = max(1, self._limit // 2) if ticket[0] is Priority.DISCOVER_LATER else self._limit
        if len(self._granted) < allowed:
            return pause
        freed_at = self._granted[len(self._granted) - allowed] + WINDOW_SECONDS + MARGIN_SECONDS
        return max(pause, freed_at - now)

    async def _wait(self, delay: float) -> None:
        changed = self._changed
        if delay == float("inf"):
            await changed.wait()
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_after, changed, group.cancel_scope)
            await self._clock.sleep(delay)
            group.cancel_scope.cancel()

    @staticmethod
    async def _cancel_after(changed: anyio.Event, scope: anyio.CancelScope) -> None:
        await changed.wait()
        scope.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - WINDOW_SECONDS - MARGIN_SECONDS
        while self._granted and self._granted[0] <= oldest:
            self._granted.popleft()
