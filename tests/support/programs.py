"""Several programs with one key, each with a limiter of its own over one shared record."""

from collections.abc import Sequence

import anyio

from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.network.ratelimit.state import SharedState
from tests.support.fake_clock import FakeClock
from tests.support.shared_files import MemoryFile

KEY = "magica:host:key"
Arrival = tuple[float, int, Priority]
"""Instant in seconds, program, priority."""
Grant = tuple[float, int]


class Programs:
    """Several programs with one key, each with a limiter of its own over the same file."""

    def __init__(self, count: int, limit: int, *, per_day: int = 0) -> None:
        self.clock = FakeClock()
        self.file = MemoryFile()
        self.granted: list[Grant] = []
        self.limiters = [self.open(limit, name=str(n), per_day=per_day) for n in range(count)]

    def open(self, limit: int, *, name: str, per_day: int = 0) -> RateLimiter:
        """Return the limiter of another program."""
        window = SharedState(self.file, KEY, self.clock)
        return RateLimiter(limit, self.clock, title="Magica", per_day=per_day, window=window, process_id=name)

    async def take(self, arrival: Arrival) -> None:
        """Ask for a request at an instant, and record when it was granted."""
        at, program, priority = arrival
        await self.clock.sleep(at - self.clock.monotonic())
        await self.limiters[program].take(priority)
        self.granted.append((self.clock.monotonic(), program))

    async def take_all(self, arrivals: Sequence[Arrival]) -> list[Grant]:
        """Return when each was granted, in the order of the grants."""
        async with anyio.create_task_group() as tasks:
            for arrival in arrivals:
                tasks.start_soon(self.take, arrival)
        return self.granted
