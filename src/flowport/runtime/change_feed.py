"""What has changed since clients were last told: noted by whoever changes it, taken up by whoever tells."""

from enum import StrEnum
from typing import Final, Generic, TypeVar

import anyio

from flowport.runtime.clock import Clock

T = TypeVar("T")

QUIET_SECONDS: Final = 0.3
"""How long changes of runs are gathered; somebody who watches one wants to see it soon."""

LIST_SECONDS: Final = 3.0
"""How long changes of lists are gathered. A first catalogue comes app by app, a batch of calls makes run after run, and
clients read the whole list again at each word, or print a line."""


class ListKind(StrEnum):
    """A list that clients keep."""

    TOOLS = "tools"
    RESOURCES = "resources"


class Changes:
    """The changes that nobody was told of yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lists = _Noted[ListKind]()
        self._runs = _Noted[str]()

    def note_list(self, kind: ListKind) -> None:
        """Note that a list is not what it was."""
        self._lists.add(kind)

    def note_run(self, run_id: str, *, is_relisted: bool) -> None:
        """Note that a run is not what it was, and perhaps not listed as it was."""
        self._runs.add(run_id)
        if is_relisted:
            self._lists.add(ListKind.RESOURCES)

    async def take_lists(self) -> frozenset[ListKind]:
        """Wait until a list changes and for the changes of the next seconds, and return them all; they are told now."""
        return await self._lists.take(self._clock, LIST_SECONDS)

    async def take_runs(self) -> frozenset[str]:
        """Wait until a run changes and for the changes that follow at once, and return their ids; they are told now."""
        return await self._runs.take(self._clock, QUIET_SECONDS)


class _Noted(Generic[T]):
    """Distinct things, and a bell."""

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
