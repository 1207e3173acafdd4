"""The limits of each key: so many requests a minute and so many a day, reported with every answer."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MINUTE_SECONDS: Final = 60.0
DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request is reported its key's limits."""

    is_allowed: bool
    remaining: int
    """Requests that are still allowed in the narrower of both windows."""
    reset_at: float
    """When that window has more room, in seconds since the epoch."""
    delay_seconds: int
    """Until then, rounded up and at least 1."""

    @property
    def headers(self) -> dict[str, str]:
        """What is sent with the answer: the reset in milliseconds, the delay, with a refusal, in seconds."""
        reported = {
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(math.ceil(self.reset_at * 1000)),
        }
        return reported if self.is_allowed else {**reported, "retry-after": str(self.delay_seconds)}


class KeyLimits:
    """The recent requests of every key, in sliding windows: whether the real ones slide is not known."""

    def __init__(self, per_minute: int, per_day: int, clock: Callable[[], float] = time.time) -> None:
        """Start empty; a limit of 0 means none."""
        self._first = (per_minute, per_day)
        self._per_minute, self._per_day = per_minute, per_day
        self._clock = clock
        self._recent: dict[str, deque[float]] = {}

    def set_limits(self, per_minute: int | None, per_day: int | None) -> None:
        """Change the limits; None leaves one as it is."""
        self._per_minute = self._per_minute if per_minute is None else per_minute
        self._per_day = self._per_day if per_day is None else per_day

    def take(self, key: str) -> Allowance | None:
        """Take room for one request where there is any; None when nothing is limited. A refused one takes none."""
        windows = [
            (limit, seconds)
            for limit, seconds in ((self._per_minute, MINUTE_SECONDS), (self._per_day, DAY_SECONDS))
            if limit
        ]
        if not windows:
            return None
        now, recent = self._clock(), self._recent.setdefault(key, deque())
        while recent and recent[0] <= now - max(seconds for _, seconds in windows):
            recent.popleft()
        is_allowed = all(_count_since(recent, now - seconds) < limit for limit, seconds in windows)
        if is_allowed:
            recent.append(now)
        return min(
            (_report(recent, limit, seconds, now, is_allowed=is_allowed) for limit, seconds in windows),
            # Of two that are used up, the one that lasts longer is the one to wait for.
            key=lambda reported: (reported.remaining, -reported.reset_at),
        )

    def reset(self) -> None:
        """Forget all requests and go back to the first limits."""
        self._per_minute, self._per_day = self._first
        self._recent.clear()


def _count_since(recent: deque[float], since: float) -> int:
    return sum(at > since for at in recent)


def _report(recent: deque[float], limit: int, seconds: float, now: float, *, is_allowed: bool) -> Allowance:
    inside = [at for at in recent if at > now - seconds]
    remaining = max(0, limit - len(inside))
    # Room comes when the request leaves that is `limit` back; before a window is full, when its oldest does.
    oldest = inside[max(0, len(inside) - limit)] if inside else now
    reset_at = oldest + seconds
    return Allowance(is_allowed, remaining, reset_at, max(1, math.ceil(reset_at - now)))
