"""How long the runs of each app took, kept in memory: the ledger is asked once, and what ends here is added."""

import logging
import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from flowport.errors import LedgerError
from flowport.forecast import Forecast, Span, fit_forecast
from flowport.ledger.interface import Ledger
from flowport.ledger.records import MIN_DURATIONS

logger = logging.getLogger(__name__)

MAX_SPANS: Final = 200
"""Of the runs of an app that have ended here, the latest count. Many, because the wide span of a run that was looked at
seldom says little: a few dozen of a batch are no substitute for what they would push out."""


@dataclass(frozen=True, slots=True)
class Usual:
    """How long an app's runs take, by those of before."""

    median_seconds: float
    most_seconds: float
    """Nine of ten took no longer."""


@dataclass(slots=True)
class _AppDurations:
    """What is known of one app on one account."""

    history: tuple[Span, ...]
    """By the ledger; it stays, because of these the durations are known."""
    newer: deque[Span] = field(default_factory=lambda: deque(maxlen=MAX_SPANS))
    forecast: Forecast | None = None
    """By all of them; None when some have come since it was made."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """All that are known."""
        return (*self.history, *self.newer)


class DurationBook:
    """Answers how long a run of an app may take."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._apps: dict[tuple[str, str], _AppDurations] = {}

    async def load(self, account_id: str, app_id: str) -> None:
        """Have the ledger's durations of an app at hand, as far as it can be read; it is asked once."""
        if (account_id, app_id) in self._apps:
            return
        try:
            seconds = await self._ledger.get_durations(account_id=account_id, app_id=app_id)
        except LedgerError as exc:
            logger.info("how long earlier runs of %s took could not be read: %s", app_id, exc)
            return
        # Another task may have asked and noted ends meanwhile; these are newer than what the ledger had.
        self._apps.setdefault((account_id, app_id), _AppDurations(tuple(Span(one, one) for one in seconds)))

    def note(self, account_id: str, app_id: str, span: Span) -> None:
        """Take up a run that has just succeeded; without the ledger's word of those before it nothing is learnt."""
        known = self._apps.get((account_id, app_id))
        if known is not None:
            known.newer.append(span)
            known.forecast = None

    def get_forecast(self, account_id: str, app_id: str) -> Forecast:
        """Return how long a run may take; without anything known, how long apps usually take."""
        known = self._apps.get((account_id, app_id))
        if known is None:
            return Forecast()
        if known.forecast is None:
            known.forecast = fit_forecast(known.spans)
        return known.forecast

    def get_usual(self, account_id: str, app_id: str) -> Usual | None:
        """Return what a person may expect; None while too few runs are known to tell."""
        known = self._apps.get((account_id, app_id))
        if known is None or len(known.spans) < MIN_DURATIONS:
            return None
        seconds = sorted(span.middle_seconds for span in known.spans)
        return Usual(statistics.median(seconds), seconds[math.ceil(0.9 * len(seconds)) - 1])
