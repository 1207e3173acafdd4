"""The cost of sharing the rate limit for one process: requests that may be sent at once, in sequence and concurrently."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
from figures import Figure

from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.network.ratelimit.state import SharedState
from flowport.runtime.clock import SystemClock
from flowport.store.sqlite.rate_windows import RATE_WINDOWS_NAME, RateWindowFile

REQUESTS: Final = 500
LIMIT: Final = 600
"""The largest limit at which every request is recorded separately: the longest record."""
MAX_SECONDS: Final = 0.002


def measure_budget_cost() -> list[Figure]:
    """Take requests from a shared limiter, and from a local one."""
    return anyio.run(_measure)


async def _measure() -> list[Figure]:
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        file = RateWindowFile(Path(name) / RATE_WINDOWS_NAME)
        shared = RateLimiter(LIMIT, clock, window=SharedState(file, "one after the other", clock))
        seconds = await _take_in_turn(shared)
        alone = await _take_in_turn(RateLimiter(LIMIT, clock))
        together = await _take_together(RateLimiter(LIMIT, clock, window=SharedState(file, "side by side", clock)))
        await file.close()
    return [
        _build(f"a request from the shared budget, median of {REQUESTS} (by itself {alone * 1000:.2f} ms)", seconds),
        _build(f"the same, {REQUESTS} side by side, mean", together),
    ]


async def _take_in_turn(limiter: RateLimiter) -> float:
    taken = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        await limiter.take(Priority.POLL)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def _take_together(limiter: RateLimiter) -> float:
    began = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(REQUESTS):
            tasks.start_soon(limiter.take, Priority.POLL)
    return (time.perf_counter() - began) / REQUESTS


def _build(what: str, seconds: float) -> Figure:
    return Figure(what, f"{seconds * 1000:.2f} ms", f"{MAX_SECONDS * 1000:.0f} ms", is_reached=seconds <= MAX_SECONDS)
