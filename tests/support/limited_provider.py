"""A provider with one of several kinds of request limit, and programs that always have requests for it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import anyio

from flowport.domain.models import BootTime
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.network.ratelimit.state import SharedState
from flowport.runtime.clock import Clock
from tests.support.shared_files import MemoryFile

T = TypeVar("T")
MINUTE: Final = 60.0
DOCUMENTED: Final = 50
CEILING: Final = 500
KEY: Final = "magnific:host:key"
PAUSE_WITHOUT_WORD: Final = 15.0


class Limiter(Protocol):
    """A provider's rule for accepting requests."""

    limit: int

    def allow(self, now: float) -> bool:
        """Return whether a request is accepted, and count it if so."""
        ...

    def get_delay(self, now: float) -> float:
        """Return the seconds until the next request will be accepted."""
        ...


class SlidingWindow:
    """A number of requests in any 60 seconds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._recent: deque[float] = deque()

    def allow(self, now: float) -> bool:
        """Return whether a request is accepted, and count it if so."""
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        if len(self._recent) >= self.limit:
            return False
        self._recent.append(now)
        return True

    def get_delay(self, now: float) -> float:
        """Return the seconds until enough requests are a minute old."""
        place = len(self._recent) - self.limit
        return max(1.0, self._recent[place] + MINUTE - now) if 0 <= place < len(self._recent) else 1.0

    def get_left(self, now: float) -> tuple[int, None, float]:
        """Return the remaining requests and the seconds until the oldest is a minute old, as in headers."""
        recent = [at for at in self._recent if at > now - MINUTE]
        return max(0, self.limit - len(recent)), None, recent[0] + MINUTE - now if recent else 1.0


class FixedWindow:
    """A number of requests in each minute of the provider's clock."""

    def __init__(self, limit: int, *, offset: float = 17.0) -> None:
        self.limit = limit
        self._offset = offset
        self._window = -1.0
        self._count = 0

    def allow(self, now: float) -> bool:
        """Return whether a request is accepted, and count it if so."""
        window = (now + self._offset) // MINUTE
        if window != self._window:
            self._window, self._count = window, 0
        if self._count >= self.limit:
            return False
        self._count += 1
        return True

    def get_delay(self, now: float) -> float:
        """Return the seconds until the next minute begins."""
        return MINUTE - (now + self._offset) % MINUTE


class TokenBucket:
    """A token bucket, filled evenly."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tokens = float(limit)
        self._filled_at = 0.0

    def allow(self, now: float) -> bool:
        """Return whether a request is accepted, and count it if so."""
        self._tokens = min(self.limit, self._tokens + (now - self._filled_at) * self.limit / MINUTE)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def get_delay(self, now: float) -> float:
        """Return the seconds until the next token."""
        return max(1.0, MINUTE / self.limit)


class SlowFile(MemoryFile):
    """A shared file whose changes take time, as on a disk."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    async def change(self, key: str, work: Callable[[str, BootTime | None], tuple[str, T]]) -> T:
        """Change a text after the delay."""
        await self._clock.sleep(self._seconds)
        return await super().change(key, work)


@dataclass
class Refused:
    """A request that the provider refused."""

    at: float
    is_start: bool
    program: int


@dataclass
class LimitedWorld:
    """Programs of one home that share a key and always have more work than the limiter lets through."""

    clock: Clock
    limiter: Limiter
    sends_delay: bool = False
    latency_seconds: float = 0.2
    file: MemoryFile = field(default_factory=MemoryFile)
    accepted: list[float] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    sent_starts: int = 0
    until: float = 0.0

    def open(self, name: str, *, ceiling: int = CEILING, documented: int = DOCUMENTED) -> RateLimiter:
        """Return the budget of one more program."""
        window = SharedState(self.file, KEY, self.clock)
        limit = min(documented, ceiling)
        return RateLimiter(limit, self.clock, ceiling=ceiling, window=window, process_id=name)

    async def send(self, limiter: RateLimiter, *, is_start: bool, program: int = 0) -> bool:
        """Send a granted request and report its result to the limiter."""
        sent_at = limiter.note_sent()
        await self.clock.sleep(self.latency_seconds / 2)
        now = self.clock.monotonic()
        is_accepted, delay = self.limiter.allow(now), self.limiter.get_delay(now)
        self.sent_starts += is_start
        if is_accepted:
            self.accepted.append(now)
        else:
            self.refused.append(Refused(now, is_start, program))
        await self.clock.sleep(self.latency_seconds / 2)
        limiter.note_over(sent_at)
        if is_accepted:
            limiter.note_accepted(sent_at)
        else:
            limiter.note_busy(delay if self.sends_delay else PAUSE_WITHOUT_WORD, sent_at)
        return is_accepted

    async def work(self, limiter: RateLimiter, program: int, priority: Priority) -> None:
        """Send requests one after another until the end."""
        while self.clock.monotonic() < self.until:
            await limiter.take(priority)
            if self.clock.monotonic() < self.until:
                await self.send(limiter, is_start=priority.name.startswith("START"), program=program)

    async def run(self, minutes: float, limiters: list[RateLimiter], workers: Callable[[int], list[Priority]]) -> None:
        """Run every program for this many minutes."""
        self.until = self.clock.monotonic() + minutes * MINUTE
        async with anyio.create_task_group() as tasks:
            for number, limiter in enumerate(limiters):
                for priority in workers(number):
                    tasks.start_soon(self.work, limiter, number, priority)

    def count_accepted(self, since: float, until: float) -> int:
        """Return the number of requests accepted in an interval."""
        return sum(since <= at < until for at in self.accepted)
