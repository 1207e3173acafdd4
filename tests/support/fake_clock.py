"""A clock for tests that jumps to the next wake-up when all tasks wait, so no test sleeps."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Final

import anyio
import anyio.lowlevel

from flowport.domain.models import BootTime

_WAITING_FOR = "_fut_waiter"
"""The attribute with what a suspended asyncio task waits for; anyio reads it in the same way."""

MAX_JUMPS: Final = 20_000
"""The most jumps of a clock; more are an endless loop, which would otherwise hang the test."""


_LEAST_SECONDS: Final = 0.0002
"""Interval between two checks whether work on a thread is done."""

_work_under_way = 0

_settling: Final[set[asyncio.Task[object]]] = set()
"""Tasks that wait until no other can run. They do not count as running; otherwise two clocks would wait for each other."""

_watching: Final[set[asyncio.Task[object]]] = set()
"""Tasks that wait until clocks are idle too. They do not count as running for a clock."""


@contextmanager
def working() -> Iterator[None]:
    """Keep every clock from jumping during work on a thread, whose duration depends on the machine."""
    global _work_under_way  # noqa: PLW0603 - a test's store and clock are independent
    _work_under_way += 1
    try:
        yield
    finally:
        _work_under_way -= 1


class _Sleeper:
    """One task that is inside `sleep`."""

    def __init__(self, wakes_at: float) -> None:
        self.wakes_at = wakes_at
        self.is_due = False
        self.woken = anyio.Event()
        """Set when the sleeper is due, or when it becomes the driver of the clock."""


class FakeClock:
    """A `Clock` whose time stands still while any task can run.

    When all tasks of the event loop wait, time jumps to the earliest wake-up. One of the sleepers drives it, so the clock needs
    no task of its own. Work on threads and sockets counts as waiting, unless it is inside `working` (as in `FaultyStore`) or
    `is_busy` returns true. With `idle_seconds`, that much real time must pass without progress before time jumps.
    """

    def __init__(
        self,
        now: float = 1_800_000_000.0,
        *,
        is_automatic: bool = True,
        idle_seconds: float = 0.0,
        is_busy: Callable[[], bool] = bool,
    ) -> None:
        """Start at this instant; a clock that is not automatic moves only by `advance`."""
        self._began_at = now
        self._elapsed = 0.0
        self._is_automatic = is_automatic
        self._idle_seconds = idle_seconds
        self._is_busy = is_busy
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, _Sleeper]] = []
        self._driver: _Sleeper | None = None
        self._jumps = 0

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._began_at + self._elapsed

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._elapsed

    def boot_time(self) -> BootTime | None:
        """Return the same time as `monotonic`; `set_wall` does not change it."""
        return BootTime("boot", self._elapsed)

    def set_wall(self, seconds: float) -> None:
        """Move only the wall clock, as when it is set; durations are unaffected."""
        self._began_at += seconds

    def count_sleepers(self) -> int:
        """Return how many tasks are inside `sleep`."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move time and wake all sleepers that are due; as after a laptop's sleep, they see the later time."""
        self._elapsed += seconds
        for wakes_at, _, sleeper in self._sleepers:
            if wakes_at <= self._elapsed:
                sleeper.is_due = True
                sleeper.woken.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until time has moved this far; a negative duration counts as 0."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = _Sleeper(self._elapsed + seconds)
        entry = (sleeper.wakes_at, next(self._order), sleeper)
        heapq.heappush(self._sleepers, entry)
        try:
            while not sleeper.is_due:
                await self._wait(sleeper)
        finally:
            self._sleepers.remove(entry)
            heapq.heapify(self._sleepers)
            self._hand_over(sleeper)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope with a deadline in real seconds; no task sleeps in it, so a jump could not end it."""
        return anyio.move_on_after(seconds)

    async def settle(self) -> None:
        """Wait until no other task can run and none ran for `idle_seconds`."""
        with _note(_settling):
            while True:
                before = get_waiting(_settling | _watching)
                is_working = _work_under_way > 0 or self._is_busy()
                await asyncio.sleep(max(self._idle_seconds, _LEAST_SECONDS) if is_working else self._idle_seconds)
                if _work_under_way or self._is_busy():
                    continue
                if before is not None and before == get_waiting(_settling | _watching):
                    return

    async def _wait(self, sleeper: _Sleeper) -> None:
        if self._is_automatic and self._driver is None:
            self._driver = sleeper
        if self._driver is not sleeper:
            await sleeper.woken.wait()
            return
        await self.settle()
        self._jumps += 1
        if self._jumps > MAX_JUMPS:
            raise RuntimeError("the clock jumped too often: a task sleeps in an endless loop")
        # Other sleepers may have come or gone, or moved the time, meanwhile.
        self.advance(max(0.0, self._sleepers[0][0] - self._elapsed))

    def _hand_over(self, sleeper: _Sleeper) -> None:
        if self._driver is not sleeper:
            return
        self._driver = None
        heir = next((other for _, _, other in self._sleepers if not other.is_due), None)
        if heir is not None:
            self._driver = heir
            heir.woken.set()


async def wait_until_blocked() -> None:
    """Wait until no clock jumps any more and every other task waits for a socket, a timer or a thread.

    anyio's `wait_all_tasks_blocked` checks only every 0.1 s. A server that ticks at the same rate, such as uvicorn, can be
    about to run at every check, so that wait may never end.
    """
    with _note(_watching):
        await asyncio.sleep(0)
        while _work_under_way or get_waiting(_watching) is None:  # noqa: ASYNC110 - no event reports it
            await asyncio.sleep(_LEAST_SECONDS if _work_under_way else 0)


@contextmanager
def _note(tasks: set[asyncio.Task[object]]) -> Iterator[None]:
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


def get_waiting(besides: AbstractSet[asyncio.Task[object]] = frozenset()) -> dict[asyncio.Task[object], object] | None:
    """Return what each other task waits for, without those in `besides`; None if one of them can run."""
    waiting: dict[asyncio.Task[object], object] = {}
    for task in asyncio.all_tasks() - besides - {asyncio.current_task()}:
        future = getattr(task, _WAITING_FOR)
        if future is None or future.done():
            return None
        waiting[task] = future
    return waiting
