"""Time for tests: a clock that jumps to the next wake-up as soon as everybody waits, so that nobody ever sleeps."""

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
"""What a suspended asyncio task waits for; asyncio tells it to debuggers only, and anyio reads it in the same way."""

MAX_JUMPS: Final = 20_000
"""How often a clock jumps by itself before it takes the test for an endless loop, which would otherwise hang."""


_LEAST_SECONDS: Final = 0.0002
"""Between two looks whether work on a thread is done."""

_work_under_way = 0

_settling: Final[set[asyncio.Task[object]]] = set()
"""The tasks that wait until no other can run. They do not count as running, else two clocks would wait for each other."""

_watching: Final[set[asyncio.Task[object]]] = set()
"""The tasks that wait until clocks too have come to rest. They do not count as running for a clock."""


@contextmanager
def working() -> Iterator[None]:
    """Let no clock jump by itself during some work on a thread; how long it takes is up to the machine."""
    global _work_under_way  # noqa: PLW0603 - the store and the clock of a test do not know each other
    _work_under_way += 1
    try:
        yield
    finally:
        _work_under_way -= 1


class _Sleeper:
    """One task inside `sleep`."""

    def __init__(self, wakes_at: float) -> None:
        self.wakes_at = wakes_at
        self.is_due = False
        self.woken = anyio.Event()
        """Set when the sleeper is due, or when it is to drive the clock."""


class FakeClock:
    """A `Clock` whose time stands still while anybody can run.

    When every task of the event loop waits, time jumps to the earliest wake-up. One of the sleepers does that, so the
    clock needs no task of its own. Work on threads and sockets counts as waiting, unless it is inside `working`, as that of
    a `FaultyStore` is, or `is_busy` tells of it. Where nothing does, `idle_seconds` of real time must pass without any
    task moving before time jumps.
    """

    def __init__(
        self,
        now: float = 1_800_000_000.0,
        *,
        is_automatic: bool = True,
        idle_seconds: float = 0.0,
        is_busy: Callable[[], bool] = bool,
    ) -> None:
        """Begin at this instant; a clock that is not automatic moves by `advance` alone."""
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
        """Return the same time as `monotonic`, which no jump of the wall clock touches."""
        return BootTime("boot", self._elapsed)

    def set_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as a person or the network does who sets it; durations stay what they are."""
        self._began_at += seconds

    def count_sleepers(self) -> int:
        """Return how many tasks are inside `sleep`."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass at once and wake everybody who is due; like a laptop that was asleep, they see the later time."""
        self._elapsed += seconds
        for wakes_at, _, sleeper in self._sleepers:
            if wakes_at <= self._elapsed:
                sleeper.is_due = True
                sleeper.woken.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until time has come so far; a negative duration is none."""
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
        """Return a scope that ends so many real seconds after now: nobody sleeps in it, so no jump would reach it."""
        return anyio.move_on_after(seconds)

    async def settle(self) -> None:
        """Wait until no other task can run, and none did for `idle_seconds`."""
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
            raise RuntimeError("the clock has jumped too often: somebody sleeps in an endless loop")
        # While we settled, others may have come, gone or moved the time.
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
    """Wait until no clock jumps any more, and every other task waits for something: a socket, a timer, a thread.

    anyio's `wait_all_tasks_blocked` looks only every 0.1 s. A server that ticks as often, as uvicorn does, can be in step
    with it: then it is about to run at every look, and the wait never ends.
    """
    with _note(_watching):
        await asyncio.sleep(0)
        while _work_under_way or get_waiting(_watching) is None:  # noqa: ASYNC110 - no event tells it
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
    """Return what each other task waits for, besides some; None when one of them can run."""
    waiting: dict[asyncio.Task[object], object] = {}
    for task in asyncio.all_tasks() - besides - {asyncio.current_task()}:
        future = getattr(task, _WAITING_FOR)
        if future is None or future.done():
            return None
        waiting[task] = future
    return waiting
