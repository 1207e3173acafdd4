"""What has changed since clients were last told: noted by whoever changes it, taken up by whoever tells."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import anyio

from flowport.clock import Clock

QUIET_SECONDS: Final = 0.3
"""How long changes are gathered. A first catalogue comes app by app, and a client reads the list again at each word."""


class ListKind(StrEnum):
    """A list that clients keep."""

    TOOLS = "tools"
    RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class Changed:
    """What has changed."""

    lists: frozenset[ListKind]
    run_ids: frozenset[str]


class Changes:
    """The changes that nobody was told of yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lists: set[ListKind] = set()
        self._run_ids: set[str] = set()
        self._noted = anyio.Event()

    def note_list(self, kind: ListKind) -> None:
        """Note that a list is not what it was."""
        self._lists.add(kind)
        self._noted.set()

    def note_run(self, run_id: str, *, is_relisted: bool) -> None:
        """Note that a run is not what it was, and perhaps not listed as it was."""
        self._run_ids.add(run_id)
        if is_relisted:
            self._lists.add(ListKind.RESOURCES)
        self._noted.set()

    async def take(self) -> Changed:
        """Wait for a change and for those that follow at once, and return them all; they are told now."""
        await self._noted.wait()
        await self._clock.sleep(QUIET_SECONDS)
        changed = Changed(frozenset(self._lists), frozenset(self._run_ids))
        self._lists.clear()
        self._run_ids.clear()
        self._noted = anyio.Event()
        return changed
