"""When a start request may leave, and when it is sent again.

Between the record of `starting` and the request a process may stand still for longer than it takes to count as dead: it was
paused, swapped out or moved to another machine. By then another process may have made the run unknown, and a person may have
started it again. So the last thing before the request leaves is a look whether the record is still true.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from flowport.domain.backoff import Backoff
from flowport.domain.errors import ProviderBusy, ProviderError, ProviderUnreachable, StoreError
from flowport.domain.models import Run, RunState
from flowport.network.api_client import PAUSE_WITHOUT_WORD_SECONDS
from flowport.providers.interface import NotTaken, StartOutcome
from flowport.runtime.clock import Clock

PROVEN_SECONDS: Final = 4.0
"""How long a record is known to be true. A process counts as dead ten seconds after its last heartbeat, which comes every two."""

MAX_LOOKS: Final = 3
"""How often the record is read, where each look takes longer than that."""

LOST_CONNECTION: Final = Backoff(1.0, 1.0, tries=3)
"""After a connection that was never made: the first try and two more."""

LOST_CONNECTION_OF_ROW: Final = Backoff(1.0, 2.0, 30.0, tries=24)
"""The same for a row of a batch, which no call waits for: it outlasts a network outage of ten minutes."""

MAX_BUSY_TRIES: Final = 4
"""How often a start is sent in all when the provider answers 429."""


class Records(Protocol):
    """What has the records of runs."""

    async def get_run_of_any_owner(self, run_id: str, /) -> Run:
        """Return a run."""


class StartWithdrawn(Exception):
    """A start request must not leave any more."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.id)
        self.run = run
        """As it is on record."""


class StartPermit:
    """Whether the start request of a run may leave. Made before `starting` is recorded."""

    def __init__(self, run: Run, store: Records, clock: Clock) -> None:
        self._run = run
        self._store = store
        self._clock = clock
        self._asked_at = self._read_clocks()

    async def check(self) -> None:
        """Return when it is certain that no other process has taken the run over.

        Raises:
            StartWithdrawn: One has.
            StoreError: That cannot be known.
        """
        for _ in range(MAX_LOOKS):
            if self._get_age_seconds() <= PROVEN_SECONDS:
                return
            asked_at = self._read_clocks()
            kept = await self._store.get_run_of_any_owner(self._run.id)
            if kept.state is not RunState.STARTING or kept.lease != self._run.lease:
                raise StartWithdrawn(kept)
            self._asked_at = asked_at
        if self._get_age_seconds() > PROVEN_SECONDS:
            raise StoreError("it answers too slowly to start runs", "Flowport tries again by itself.")

    def _get_age_seconds(self) -> float:
        """Return how old the record is known to be; of clocks that differ, the one that has gone on furthest counts."""
        return max(now - then for now, then in zip(self._read_clocks(), self._asked_at, strict=True))

    def _read_clocks(self) -> tuple[float, float, float]:
        """Return the instant by all clocks: some stand still while a machine sleeps, and another one can be set."""
        boot = self._clock.boot_time()
        return self._clock.monotonic(), 0.0 if boot is None else boot.seconds, self._clock.now()


@dataclass(slots=True)
class Tries:
    """How often one start failed without being taken."""

    is_row: bool
    lost_connections: int = 0
    refusals: int = 0

    def get_pause(self, outcome: StartOutcome) -> float | None:
        """Return how long to wait before the start is sent again, None when it is not: only what was certainly not taken is."""
        if not isinstance(outcome, NotTaken):
            return None
        if isinstance(outcome.error, ProviderUnreachable):
            if outcome.error.is_lasting:
                return None
            self.lost_connections += 1
            return (LOST_CONNECTION_OF_ROW if self.is_row else LOST_CONNECTION).get_pause(self.lost_connections)
        if _is_too_many(outcome.error):
            self.refusals += 1
            return _get_delay(outcome.error) if self.refusals < MAX_BUSY_TRIES else None
        return None


def _is_too_many(error: ProviderError) -> bool:
    return isinstance(error, ProviderBusy) and error.status == 429  # noqa: PLR2004


def _get_delay(error: ProviderError) -> float:
    delay = error.retry_after_seconds if isinstance(error, ProviderBusy) else None
    return PAUSE_WITHOUT_WORD_SECONDS if delay is None else delay
