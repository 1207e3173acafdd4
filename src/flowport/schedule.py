"""Decide when to look at a run. Pure: no clock, no sleep; the runner supplies the time and obeys the answer."""

from dataclasses import dataclass
from typing import Final

MAX_PAUSE_SECONDS: Final = 60.0
"""The longest pause between two looks at a run whose provider does not answer."""

_MAX_DOUBLINGS: Final = 16
"""More than any pace needs to reach the longest pause; a laptop that sleeps for days fails thousands of times."""

LOST_AFTER_SECONDS: Final = 3600.0
"""For how long a provider must say that it does not know a run before we believe it. A fresh run may not be readable
yet, and a gateway that is down may answer for every run that it does not exist."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often one run is looked at."""

    first_seconds: float = 2.5
    """From the start to the first look (get-run: "wait 2-3 s")."""
    every_seconds: float = 4.0
    """Between two looks (get-run: "then every 3-5 s")."""
    looks_per_minute: int = 0
    """What all runs together may take, 0 for no limit; more runs than fit are looked at less often."""
    spread_per_second: int = 200
    """About how many looks a second there are when many runs were started together."""


def get_next_pause(pace: Pace, *, looks: int, failures: int, live_runs: int, chance: float = 0.0) -> float:
    """Return the seconds from the last look, or from the start, to the next look at a run.

    Args:
        looks: How often the run was looked at.
        failures: How many of the last looks in a row brought no answer.
        live_runs: How many runs share the budget, this one included.
        chance: From 0 to 1, another one each time; it spreads the looks where no budget does.
    """
    pause = pace.first_seconds if looks == 0 else pace.every_seconds
    if pace.looks_per_minute:
        pause = max(pause, 60.0 * live_runs / pace.looks_per_minute)
    else:
        # Without a budget to stand in line for, hundreds would be due in the same moment and hold up everything else.
        pause += chance * (live_runs - 1) / pace.spread_per_second
    return (
        max(pause, min(pace.every_seconds * 2.0 ** min(failures, _MAX_DOUBLINGS), MAX_PAUSE_SECONDS))
        if failures
        else pause
    )
