"""Write what became of runs into the store, however long that takes.

Once a start request has left, what we know of the run must not be lost because the disk was full or the file busy for a
moment. A change that the store does not take is kept in its order and offered again before every later one.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, TypeAlias

from flowport.domain.backoff import Backoff
from flowport.domain.errors import StoreError
from flowport.domain.models import Run
from flowport.runs.live import LiveRuns
from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

FAILED_WRITE: Final = Backoff(300.0, 1.0, tries=8, steps=(0.5, 2.0, 10.0, 30.0, 60.0, 120.0))
"""Before a run that is over is offered again; after the last try it stays on the list of live runs and in the log only."""

Change: TypeAlias = Callable[[], Awaitable[bool]]
"""One of the store's compare-and-set operations, ready to be asked for."""


class Written(Enum):
    """What came of a change."""

    TAKEN = "taken"
    REFUSED = "refused"
    """The run is not in a state that the change may start from: another process was there first."""
    KEPT = "kept"
    """The store cannot be written to just now; the change waits here."""


class RunWriter:
    """Carries changes of runs to the store, in their order."""

    def __init__(self, live_runs: LiveRuns, clock: Clock) -> None:
        self._live_runs = live_runs
        self._clock = clock
        self._waiting: dict[str, deque[Change]] = {}

    async def write(self, run: Run, change: Change) -> Written:
        """Offer a change, and before it those of the same run that still wait."""
        self._waiting.setdefault(run.id, deque()).append(change)
        return await self.write_waiting(run)

    async def write_waiting(self, run: Run) -> Written:
        """Offer the changes that wait; without any it costs nothing."""
        waiting = self._waiting.get(run.id)
        outcome = Written.TAKEN
        while waiting:
            try:
                outcome = Written.TAKEN if await waiting[0]() else Written.REFUSED
            except StoreError as exc:
                self._live_runs.note_unwritten(run.id)
                place = run.provider_run_id or "without an id"
                logger.error(  # noqa: TRY400 - the error's sentence says all
                    "run %s (%s at the provider) is %s, which is not written down: %s", run.id, place, run.state, exc
                )
                return Written.KEPT
            waiting.popleft()
        if self._waiting.pop(run.id, None) is not None:
            self._live_runs.note_written(run.id)
        return outcome

    async def write_at_last(self, run: Run) -> None:
        """Offer what still waits for a run that is over, again and again, but not for ever."""
        failures = 0
        while run.id in self._waiting and await self.write_waiting(run) is Written.KEPT:
            failures += 1
            pause = FAILED_WRITE.get_pause(failures)
            if pause is None:
                return
            await self._clock.sleep(pause)
