"""Decide which live run is looked at next, and when. Pure: no clock, no sleep; the watch supplies the time and obeys.

With little load every run is looked at in the pace that its provider documents. Where the looks of all live runs would
not fit into the request budget, a look has to be worth it: its run must have gone unseen long enough, and be likely
enough to have ended meanwhile.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from flowport.domain.backoff import Backoff
from flowport.runs.durations import Forecast
from flowport.runtime.clock import Pace

MAX_PAUSE_SECONDS: Final = 60.0
"""The longest pause between two looks at a run whose provider does not answer."""

FAILED_POLL: Final = {True: Backoff(2.0, 2.0, 10.0), False: Backoff(2.0, 2.0, MAX_PAUSE_SECONDS)}
"""After looks that brought no answer: while somebody waits for the run, and while nobody does."""

LOST_AFTER_SECONDS: Final = 3600.0
"""For how long a provider must say that it does not know a run before we believe it. A fresh run may not be readable
yet, and a gateway that is down may answer for every run that it does not exist."""

PLANNED_SHARE: Final = 0.9
"""The part of the budget that looks may plan with; discovery and what cannot be foreseen have the rest."""

FAIR_CHANCE: Final = 0.5
"""A look with such a chance of finding an end is worth a request under any load."""

SURE_CHANCE: Final = 0.95
"""A row that has so likely ended is looked at before another one is started. Less would have looks in vain hold up starts,
and a batch is over when what it started last is; more would leave results lying for longer."""

COURTESY_PRICE: Final = 1.4
"""What a look at a run that somebody waits for must be worth while a batch wants every request that is left."""

LOOKS_IN_ONE: Final = 4
"""As so many requests counts one that tells of several runs, when it is asked what a look at a run that somebody waits for
must be worth: fewer are needed for the others. More would have such looks hold up starts."""

LONGEST_SECONDS: Final = {True: 20.0, False: 120.0}
"""How long a run that somebody waits for, and any other, goes unseen at most where the budget allows it; what has waited
longer goes first, whatever its chances."""


UNKNOWN_APP: Final = Forecast()
"""How long a run may take of whose app nothing is known."""


_LEAST_WORTH: Final = 1e-6
"""More than nothing and less than any chance that matters."""


class PollReason(Enum):
    """Why a run is looked at now."""

    WAITED = "waited"
    """Somebody waits for it."""
    OVER = "over"
    """Nobody does, but it is all but certain to be over."""
    LEFT = "left"
    """Nobody does; it takes what the others leave."""


@dataclass(frozen=True, slots=True)
class PollState:
    """What counts when runs compete for a look. Seconds are monotonic ones."""

    started_at: float
    seen_at: float
    """When it was last found to go on; the start before the first look."""
    asked_at: float
    """When it was last asked for, with or without an answer; the start before the first time."""
    looks: int = 0
    failures: int = 0
    """How many of the last looks in a row brought no answer."""
    is_waited: bool = True
    forecast: Forecast = UNKNOWN_APP

    def get_end_chance(self, now: float) -> float:
        """Return the chance that it is over by now."""
        return self.forecast.get_end_chance(self.seen_at - self.started_at, now - self.started_at)


@dataclass(frozen=True, slots=True)
class Prices:
    """What a look must be worth; 0 where every run may be looked at in its pace."""

    waited: float = 0.0
    left: float = 0.0


def get_next_pause(
    pace: Pace, *, looks: int, failures: int, crowd: int = 1, chance: float = 0.0, is_waited: bool = True
) -> float:
    """Return the seconds from the last look, or from the start, to the earliest next look at a run.

    Args:
        looks: How often the run was looked at.
        failures: How many of the last looks in a row brought no answer.
        crowd: How many runs there are where no budget spreads their looks, this one included.
        chance: From 0 to 1, another one each time; it spreads the looks of a crowd.
        is_waited: Whether somebody waits for the run.
    """
    pause = FAILED_POLL[is_waited].get_pause(failures) if failures else None
    if pause is None:
        pause = pace.first_seconds if looks == 0 else pace.every_seconds
    # Without a budget to stand in line for, hundreds would be due in the same moment and hold up everything else.
    return pause + chance * (crowd - 1) / pace.spread_per_second


def get_prices(runs: Iterable[PollState], pace: Pace, *, limit: int) -> Prices:
    """Return what a look must be worth, so that the looks at all these runs fit into so many requests a minute.

    Looks that go to a run in proportion to the square root of its hazard find its end soonest. The price is the factor:
    what all runs would like to have, over what there is.
    """
    waited: list[float] = []
    left: list[float] = []
    for run in runs:
        (waited if run.is_waited else left).append(run.forecast.strain)
    supply, each = limit * PLANNED_SHARE, 60.0 / pace.every_seconds
    if (len(waited) + len(left)) * each <= supply:
        return Prices()
    courtesy = COURTESY_PRICE * min(1.0, 2 * len(left) / limit)
    price = max(courtesy, 60.0 * sum(waited) / supply if len(waited) * each > supply else 0.0)
    rest = max(1.0, supply - 60.0 * sum(waited) / price) if waited and price else max(1.0, supply - len(waited) * each)
    return Prices(price, 60.0 * sum(left) / rest)


def get_prices_of_many(runs: Sequence[PollState], pace: Pace, *, limit: int) -> Prices:
    """Return what a look must be worth where it takes others along; rows leave to starts what they save."""
    waited = get_prices(runs, pace, limit=limit * LOOKS_IN_ONE).waited
    return Prices(waited, get_prices(runs, pace, limit=limit).left)


def choose_run(runs: Sequence[PollState], poll_reason: PollReason, prices: Prices, now: float) -> int | None:
    """Return the place of the run that is to be looked at for this reason; None when no look is worth it yet.

    All of them are due by their pace.
    """
    worths = [_get_worth(run, poll_reason, prices, now) for run in runs]
    best = max(range(len(runs)), key=worths.__getitem__, default=None)
    return best if best is not None and worths[best] > 0 else None


def choose_likeliest(runs: Sequence[PollState], now: float) -> int | None:
    """Return the place of the run that is likeliest to have ended, whoever waits for it; None when there is none."""
    return max(range(len(runs)), key=lambda n: runs[n].get_end_chance(now), default=None)


def choose_companions(runs: Sequence[PollState], now: float, most: int) -> list[int]:
    """Return the places of those that a request for another run takes along: who is waited for, then the likeliest to have ended."""
    return heapq.nlargest(most, range(len(runs)), key=lambda n: (runs[n].is_waited, runs[n].get_end_chance(now)))


def _get_worth(run: PollState, poll_reason: PollReason, prices: Prices, now: float) -> float:
    """Return a number that is greater the sooner the run should be looked at; 0 for not yet."""
    if run.is_waited is not (poll_reason is PollReason.WAITED):
        return 0.0
    unasked, chance = now - run.asked_at, run.get_end_chance(now)
    if poll_reason is PollReason.OVER:
        return chance if chance >= SURE_CHANCE else 0.0
    if unasked >= LONGEST_SECONDS[run.is_waited]:
        # Above every chance, the oldest first: so none is passed over for ever.
        return 1.0 + unasked
    price = prices.waited if run.is_waited else prices.left
    if price == 0.0:
        # In its pace, whatever its chances; those that are likelier to have ended before the others.
        return chance + (1.0 + unasked) * _LEAST_WORTH
    hazard = -math.log1p(-chance) if chance < 1 else math.inf
    is_worth_it = unasked * hazard >= price**2 or (not run.is_waited and chance >= FAIR_CHANCE)
    return chance if is_worth_it else 0.0


def note_look(run: PollState, now: float) -> PollState:
    """Return the run after a look that found it going on."""
    return replace(run, looks=run.looks + 1, failures=0, seen_at=now, asked_at=now)


def note_failure(run: PollState, now: float) -> PollState:
    """Return the run after a look that brought no answer."""
    return replace(run, looks=run.looks + 1, failures=run.failures + 1, asked_at=now)
