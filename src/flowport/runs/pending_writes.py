"""Record events of runs in the store, however long that takes.

Once a start request was sent, what we know of the run must not be lost because the disk was full or the file busy for a
moment. An event that the store does not take is kept in its order and recorded before every later one.
"""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Final, assert_never

from flowport.domain.backoff import Backoff
from flowport.domain.errors import StoreError
from flowport.domain.models import Run
from flowport.domain.run_events import RunEvent, apply
from flowport.runs.live import LiveRuns
from flowport.runtime.clock import Clock
from flowport.store.interface import Store
from flowport.store.records import Recorded, Stale

logger = logging.getLogger(__name__)

FAILED_WRITE: Final = Backoff(300.0, 1.0, tries=8, steps=(0.5, 2.0, 10.0, 30.0, 60.0, 120.0))
"""Between retries for a run that has ended; after the last one it stays among the live runs and in the log only."""


@dataclass(frozen=True, slots=True)
class Written:
    """A run after an event."""

    run: Run
    """As the store has it, or, while the event is pending, as it will be."""
    is_stale: bool = False
    """Whether another process was first, so that the event changed nothing."""


class PendingWrites:
    """Records events in their order, and keeps those that the store cannot take yet."""

    def __init__(self, store: Store, live_runs: LiveRuns, clock: Clock) -> None:
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._pending: dict[str, deque[tuple[RunEvent, int]]] = {}

    async def record(self, run: Run, event: RunEvent) -> Written:
        """Record an event, and before it the pending ones of the same run."""
        self._pending.setdefault(run.id, deque()).append((event, run.lease))
        return await self.flush(apply(run, event))

    async def flush(self, run: Run) -> Written:
        """Record the pending events of a run, which has had them already; without any, nothing is done."""
        pending = self._pending.get(run.id)
        written = Written(run)
        while pending:
            try:
                outcome = await self._store.record(run.id, *pending[0])
            except StoreError as exc:
                self._live_runs.note_unwritten(run.id)
                provider_run_id = run.provider_run_id or "without an id"
                logger.error(  # noqa: TRY400 - the sentence of the error says all
                    "run %s (%s at the provider) is %s, which is not recorded: %s",
                    run.id,
                    provider_run_id,
                    run.state,
                    exc,
                )
                return Written(run)
            match outcome:
                case Recorded(recorded):
                    written = Written(recorded)
                case Stale(recorded):
                    written = Written(recorded or run, is_stale=True)
                case _:
                    assert_never(outcome)
            pending.popleft()
        if self._pending.pop(run.id, None) is not None:
            self._live_runs.note_written(run.id)
        return written

    async def flush_at_end(self, run: Run) -> None:
        """Retry the pending events of a run that has ended, with increasing delays, up to a limit."""
        failures = 0
        while run.id in self._pending:
            await self.flush(run)
            failures += 1
            if run.id not in self._pending or (pause := FAILED_WRITE.get_pause(failures)) is None:
                return
            await self._clock.sleep(pause)
