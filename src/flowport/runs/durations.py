"""How long the runs of an app take, from those that succeeded before."""

import logging
import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from flowport.domain.errors import StoreError
from flowport.runs.poll_schedule import UNKNOWN_SECONDS
from flowport.store.interface import Store
from flowport.store.records import MIN_DURATIONS

logger = logging.getLogger(__name__)

MAX_DURATIONS: Final = 200
"""Of the runs of an app that ended in this process, the latest count."""


@dataclass(frozen=True, slots=True)
class Usual:
    """How long an app's runs take."""

    median_seconds: float
    most_seconds: float
    """Nine of ten took no longer."""


@dataclass(slots=True)
class _AppDurations:
    """What is known of one app on one account."""

    history: tuple[float, ...]
    """From the store; it stays, because these durations are exact."""
    newer: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DURATIONS))
    usual: Usual | None = None
    """Of all of them; None when it is to be worked out."""

    def get_usual(self) -> Usual | None:
        """Return what is usual; None when nothing is known."""
        if self.usual is None and (self.history or self.newer):
            seconds = sorted((*self.history, *self.newer))
            self.usual = Usual(statistics.median(seconds), seconds[math.ceil(0.9 * len(seconds)) - 1])
        return self.usual


class DurationBook:
    """Answers how long a run of an app usually takes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._apps: dict[tuple[str, str], _AppDurations] = {}

    async def load(self, account_id: str, app_id: str) -> None:
        """Read the durations of an app from the store, once; without it the durations stay unknown."""
        if (account_id, app_id) in self._apps:
            return
        try:
            seconds = await self._store.get_durations(account_id=account_id, app_id=app_id)
        except StoreError as exc:
            logger.info("how long earlier runs of %s took could not be read: %s", app_id, exc)
            return
        # Another task may have loaded them meanwhile, and recorded newer ones.
        self._apps.setdefault((account_id, app_id), _AppDurations(tuple(seconds)))

    def note(self, account_id: str, app_id: str, *, alive_seconds: float, over_seconds: float) -> None:
        """Record a run that has just succeeded, if the earlier ones are known.

        Args:
            alive_seconds: The age at which it was last seen running; 0 when the first poll found it over.
            over_seconds: The age at which it was seen over.
        """
        known = self._apps.get((account_id, app_id))
        if known is not None:
            known.newer.append((alive_seconds + over_seconds) / 2)
            known.usual = None

    def get_usual_seconds(self, account_id: str, app_id: str) -> float:
        """Return the median; a general one while nothing is known."""
        known = self._apps.get((account_id, app_id))
        usual = known.get_usual() if known is not None else None
        return UNKNOWN_SECONDS if usual is None else usual.median_seconds

    def get_usual(self, account_id: str, app_id: str) -> Usual | None:
        """Return what a person may expect; None while too few runs are known."""
        known = self._apps.get((account_id, app_id))
        if known is None or len(known.history) + len(known.newer) < MIN_DURATIONS:
            return None
        return known.get_usual()
