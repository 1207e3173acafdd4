"""Foretell how long a run takes, by how long earlier runs of its app took. Pure.

Durations of generative apps are skewed to the right, so their logarithms are taken as normal. The end of a run is only
known to lie between two looks at it: taking the later for the end would let an app seem slower the less often we look,
and then we would look less often still.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

PRIOR_LOG_SECONDS: Final = math.log(55.0)
PRIOR_SIGMA: Final = 0.85
"""Before anything is known: 19 of 20 runs take 10 s to 5 min, as Magnific says of its apps."""

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
class Span:
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


def fit_forecast(spans: Sequence[Span]) -> Forecast:
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


def _get_known(span: Span) -> tuple[float, float]:
    return math.log(max(span.middle_seconds, 0.01)), 0.0


def _place_end(span: Span, forecast: Forecast) -> tuple[float, float]:
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
