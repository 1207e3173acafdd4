"""Estimate how long a run takes, from the durations of earlier runs."""

import logging
import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from flowport.domain.errors import StoreError
from flowport.store.interface import Store
from flowport.store.records import MIN_DURATIONS

PRIOR_LOG_SECONDS: Final = math.log(55.0)
PRIOR_SIGMA: Final = 0.85
"""Before anything is known: 19 of 20 runs take 10 s to 5 min, as one provider says of its apps."""

_PRIOR_WEIGHT: Final = 0.5
"""How many runs the prior counts as; half a one, so that three real ones outvote it."""
_LEAST_SIGMA: Final = 0.15
"""A dozen runs that all took the same do not promise that the next one does."""
_ROUNDS: Final = 4
"""Of working out where within their spans the ends were; more change less than a second."""
_FAR: Final = 30.0
"""Standard deviations beyond which a tail is too small for a float, and its expansion is exact enough."""
_STEPS: Final = tuple(n / 4 for n in range(-16, 17))
"""Standard deviations at which a curve is summed up."""
_ROOT_TAU: Final = math.sqrt(math.tau)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of the duration of a run that is over."""

    low_seconds: float
    """It was seen alive so long after its start; 0 when the first look found it over."""
    high_seconds: float
    """It was seen over so long after its start; equal to the other when its duration is known."""

    @property
    def middle_seconds(self) -> float:
        """The best guess in one number."""
        return (self.low_seconds + self.high_seconds) / 2


@dataclass(frozen=True)
class Forecast:
    """How long a run of an app may take."""

    log_seconds: float = PRIOR_LOG_SECONDS
    """The logarithm of the median."""
    sigma: float = PRIOR_SIGMA
    """The standard deviation of the logarithm."""

    def get_hazard(self, seconds: float) -> float:
        """Return the hazard summed up from the start until so many seconds: minus the logarithm of the chance to go on."""
        return _get_tail(self._get_place(seconds))

    def get_end_chance(self, since_seconds: float, until_seconds: float) -> float:
        """Return the chance that a run which went on at one moment is over at another; both count from its start."""
        return -math.expm1(self.get_hazard(since_seconds) - self.get_hazard(until_seconds))

    @cached_property
    def strain(self) -> float:
        """Looks a second that a run of this app is worth on average, where those of a brisker app are worth more.

        Looks that are spread as the square root of the hazard find the ends soonest; this is that root's mean in a run.
        """
        total = sum(math.exp((self.sigma * z - z * z / 2 - _get_tail(z)) / 2) for z in _STEPS) * (_STEPS[1] - _STEPS[0])
        roots = math.sqrt(self.sigma / _ROOT_TAU) * math.exp(self.log_seconds / 2) * total
        return roots / math.exp(self.log_seconds + self.sigma**2 / 2)

    def _get_place(self, seconds: float) -> float:
        return (math.log(seconds) - self.log_seconds) / self.sigma if seconds > 0 else -math.inf


def fit_forecast(spans: Sequence[Observation]) -> Forecast:
    """Return the forecast that earlier runs of an app suggest; without any, what apps usually take."""
    # It begins with those that are known: the middles of wide spans would lead far from them, and few rounds lead back.
    forecast = _fit([_get_known(span) for span in spans if span.low_seconds == span.high_seconds])
    for _ in range(_ROUNDS if any(span.low_seconds < span.high_seconds for span in spans) else 0):
        forecast = _fit([_place_end(span, forecast) for span in spans])
    return forecast


def _fit(ends: Sequence[tuple[float, float]]) -> Forecast:
    """Return the normal distribution of logarithms, each given as its mean and its variance."""
    weight = len(ends) + _PRIOR_WEIGHT
    mean = (sum(one for one, _ in ends) + _PRIOR_WEIGHT * PRIOR_LOG_SECONDS) / weight
    spread = sum((one - mean) ** 2 + variance for one, variance in ends) + _PRIOR_WEIGHT * PRIOR_SIGMA**2
    return Forecast(mean, max(_LEAST_SIGMA, math.sqrt(spread / weight)))


def _get_known(span: Observation) -> tuple[float, float]:
    return math.log(max(span.middle_seconds, 0.01)), 0.0


def _place_end(span: Observation, forecast: Forecast) -> tuple[float, float]:
    """Return where within its span the logarithm of an end is to be expected, and the variance that is left."""
    low, high = (forecast._get_place(one) for one in (span.low_seconds, span.high_seconds))  # noqa: SLF001 - one matter
    mass = _get_mass(low, high)
    if mass < 1e-9:  # noqa: PLR2004 - where a difference of floats means nothing any more
        return _get_known(span)
    at_low, at_high = _get_density(low), _get_density(high)
    mean = (at_low - at_high) / mass
    variance = 1 + ((low * at_low if at_low else 0.0) - high * at_high) / mass - mean**2
    return forecast.log_seconds + forecast.sigma * mean, forecast.sigma**2 * max(0.0, variance)


def _get_mass(low: float, high: float) -> float:
    return (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2))) / 2


def _get_density(place: float) -> float:
    return math.exp(-place * place / 2) / _ROOT_TAU


def _get_tail(place: float) -> float:
    """Return minus the logarithm of the normal distribution's tail."""
    if place > _FAR:
        return place * place / 2 + math.log(place * _ROOT_TAU)
    return -math.log(math.erfc(place / math.sqrt(2)) / 2)


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

    history: tuple[Observation, ...]
    """By the store; it stays, because of these the durations are known."""
    newer: deque[Observation] = field(default_factory=lambda: deque(maxlen=MAX_SPANS))
    forecast: Forecast | None = None
    """By all of them; None when some have come since it was made."""

    @property
    def spans(self) -> tuple[Observation, ...]:
        """All that are known."""
        return (*self.history, *self.newer)


class DurationBook:
    """Answers how long a run of an app may take."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._apps: dict[tuple[str, str], _AppDurations] = {}

    async def load(self, account_id: str, app_id: str) -> None:
        """Have the store's durations of an app at hand, as far as it can be read; it is asked once."""
        if (account_id, app_id) in self._apps:
            return
        try:
            seconds = await self._store.get_durations(account_id=account_id, app_id=app_id)
        except StoreError as exc:
            logger.info("how long earlier runs of %s took could not be read: %s", app_id, exc)
            return
        # Another task may have asked and noted ends meanwhile; these are newer than what the store had.
        self._apps.setdefault((account_id, app_id), _AppDurations(tuple(Observation(one, one) for one in seconds)))

    def note(self, account_id: str, app_id: str, span: Observation) -> None:
        """Take up a run that has just succeeded; without the store's word of those before it nothing is learnt."""
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
