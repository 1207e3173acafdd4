"""The trade-off of the schedule: the time to finish against the delay of results, for several values of its constants.

    .venv/bin/python scripts/bench/schedule_curve.py [SEEDS]

The marked lines are the values of the program. `first poll` is `ROW.first`, `last starts` is `LAST_STARTS_MINUTES`.
"""

import sys
from functools import partial
from typing import Any

import schedule
from schedule_world import LIMIT

from flowport.runs import poller
from flowport.runs import steps as poll_schedule

FIRST = (1.0, 1.2, 1.4, 1.6)
LAST_MINUTES = (0.5, 1.0, 1.5, 2.0)
LIVE_ROWS = (64, 100, 200)


def get_given(live_rows: int, _: int) -> int:
    """Return the number whatever the limit is."""
    return live_rows


def set_value(module: Any, name: str, value: Any) -> None:
    """Replace a constant of a module."""
    setattr(module, name, value)


def main() -> None:
    """Print a line for each choice."""
    if len(sys.argv) > 1:
        set_value(schedule, "SEEDS", int(sys.argv[1]))
    chosen = (poll_schedule.get_max_live_rows(LIMIT), poll_schedule.LAST_STARTS_MINUTES, poll_schedule.ROW.first)
    print("live rows, last starts, first poll:  finish  worst  mean  p95 | with a run a minute: finish  median  p95")
    choices = {(chosen[0], minutes, first) for minutes in LAST_MINUTES for first in FIRST}
    choices |= {(live_rows, *chosen[1:]) for live_rows in LIVE_ROWS}
    for live_rows, minutes, first in sorted(choices):
        set_value(schedule, "get_max_live_rows", partial(get_given, live_rows))
        set_value(poller, "LAST_STARTS_MINUTES", minutes)
        set_value(poll_schedule, "ROW", poll_schedule.ROW._replace(first=first))
        alone = schedule.play(schedule.play_batch, schedule.carry_by_schedule, 0.0)
        shared = schedule.play(schedule.play_batch, schedule.carry_by_schedule, 60.0)
        figures = (*schedule.build_batch_figures(alone), *schedule.build_shared_figures(shared))
        mark = " *" * ((live_rows, minutes, first) == chosen)
        print(f"{live_rows}, {minutes}, {first}:", *(figure.measured for figure in figures), mark, flush=True)


if __name__ == "__main__":
    main()
