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
    START_ROW = 2
    """Of a run that is a row of a batch."""
    LOOK_ROW = 3
    """At a row of a batch, or at a run that nobody waits for any more."""
    DISCOVER = 4
    DISCOVER_LATER = 5
    """Definitions that no listed tool needs; they leave half of the window to everything else."""


ROWS: Final = frozenset({Priority.START_ROW, Priority.LOOK_ROW})

ROW_HASTE: Final = 4.0
"""How much faster than the limit allows for long rows may go for a while. A burst that outran its own answers would look
at rows whose places, when they turn out to be free, find no request left to start the next with."""

KEPT_PART: Final = 25
"""Rows leave one of so many requests to whoever may come and wait."""

KEPT_PART_URGENT: Final = 8
"""And one of so many once somebody has: a run that is waited for needs more than its start."""


class RequestBudget:
    """Grants requests, one at a time, in the order of their priority."""

    def __init__(self, limit: int, clock: Clock) -> None:
        """Make a budget of `limit` requests a minute; 0 for no limit."""
        self._limit = limit
        self._clock = clock
        self._granted: deque[float] = deque()
        self._waiting: list[tuple[Priority, int]] = []
        self._tickets = itertools.count()
        self._urgent: deque[float] = deque()
        """When requests were granted for what somebody waits for."""
        self._row_granted_at = float("-inf")
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
            self._note_granted(priority)
        finally:
            self._waiting.remove(ticket)
            self._wake()

    def _note_granted(self, priority: Priority) -> None:
        now = self._clock.monotonic()
        self._granted.append(now)
        if priority in ROWS:
            self._row_granted_at = now
        elif priority in {Priority.START, Priority.LOOK}:
            self._urgent.append(now)

    def get_wait(self, place: int) -> float:
        """Return about how many seconds it takes until so many requests more can be granted; 0 when they can be now."""
        self._forget_old()
        now = self._clock.monotonic()
        pause = max(0.0, self._paused_until - now)
        if self._limit == 0:
            return pause
        # Each place of the window is free a window after it was taken, and once it is taken again a window later.
        rounds, n = divmod(place - 1, self._limit)
        taken = n - (self._limit - len(self._granted))
        freed_at = now if taken < 0 else self._granted[taken] + WINDOW_SECONDS + MARGIN_SECONDS
        return max(pause, freed_at - now + rounds * (WINDOW_SECONDS + MARGIN_SECONDS))

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
        if ticket[0] in ROWS:
            pause = max(pause, self._row_granted_at + WINDOW_SECONDS / (ROW_HASTE * self._limit) - now)
        allowed = self._get_allowed(ticket[0])
        if len(self._granted) < allowed:
            return pause
        freed_at = self._granted[len(self._granted) - allowed] + WINDOW_SECONDS + MARGIN_SECONDS
        return max(pause, freed_at - now)

    def _get_allowed(self, priority: Priority) -> int:
        """Return how many requests the window may hold when one of this priority is granted, itself included."""
        if priority is Priority.DISCOVER_LATER:
            return max(1, self._limit // 2)
        if priority in ROWS:
            kept = self._limit // (KEPT_PART_URGENT if self._urgent else KEPT_PART)
            return max(1, self._limit - kept)
        return self._limit

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
        for granted in (self._granted, self._urgent):
            while granted and granted[0] <= oldest:
                granted.popleft()
