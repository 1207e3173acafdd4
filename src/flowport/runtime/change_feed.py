"""The changes since clients were last notified, collected from the modules that make them."""

from enum import StrEnum
from typing import Final, Generic, TypeVar

import anyio

from flowport.runtime.clock import Clock

T = TypeVar("T")

QUIET_SECONDS: Final = 0.3
"""How long changes of runs are collected; short, because a client may watch a run."""

LIST_SECONDS: Final = 3.0
"""How long changes of lists are collected. A first catalogue arrives app by app, and clients read the whole list again at each
notification."""


class ListKind(StrEnum):
    """A list that clients keep."""

    TOOLS = "tools"
    RESOURCES = "resources"


class Changes:
    """The changes that were not announced yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lists = _Noted[ListKind]()
        self._runs = _Noted[str]()

    def note_list(self, kind: ListKind) -> None:
        """Record that a list changed."""
        self._lists.add(kind)

    def note_run(self, run_id: str, *, is_relisted: bool) -> None:
        """Record that a run changed, and whether its entry in the resource list changed too."""
        self._runs.add(run_id)
        if is_relisted:
            self._lists.add(ListKind.RESOURCES)

    async def take_lists(self) -> frozenset[ListKind]:
        """Wait for a change of a list and those of the next seconds; return and clear them all."""
        return await self._lists.take(self._clock, LIST_SECONDS)

    async def take_runs(self) -> frozenset[str]:
        """Wait for a change of a run and those that follow at once; return and clear their ids."""
        return await self._runs.take(self._clock, QUIET_SECONDS)


class _Noted(Generic[T]):
    """A set of distinct changes, and an event that is set when there is one."""

    def __init__(self) -> None:
        self._things: set[T] = set()
        self._bell = anyio.Event()

    def add(self, thing: T) -> None:
        self._things.add(thing)
        self._bell.set()

    async def take(self, clock: Clock, seconds: float) -> frozenset[T]:
        await self._bell.wait()
        await clock.sleep(seconds)
        taken = frozenset(self._things)
        self._things.clear()
        self._bell = anyio.Event()
        return taken
