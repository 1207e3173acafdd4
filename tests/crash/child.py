"""Flowport as a child process under test: killed or halted at a failpoint, with a wrong or fast clock, polling sooner.

`python -m tests.crash.child` does what `python -m flowport serve` does, under the conditions that `VARIABLE` holds; with the
word `worker` it does what `python -m flowport worker` does.
"""

import math
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from flowport.bootstrap import open_assembly
from flowport.cli import serve
from flowport.cli.startup import prepare_process
from flowport.runs.steps import Pace
from flowport.runtime.failpoints import Failpoint
from tests.support.shifted_clock import ShiftedClock
from tests.support.traps import Trap, set_trap

VARIABLE: Final = "TESTS_CRASH_CONDITIONS"
"""As `kill=after_starting:2 clock=-86400 rate=20 pace=0.1`; each part is optional, and `halt` may replace `kill`."""

_SIGNALS: Final = {"kill": "SIGKILL", "halt": "SIGSTOP"}
"""By name, because Windows has neither."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How this process differs from a normal one."""

    point: Failpoint | None = None
    """Where the process is killed or halted; None for nowhere."""
    passes: int = 1
    """At which occurrence of the point."""
    signal_name: str = "SIGKILL"
    clock_shift_seconds: float = 0.0
    """The error of the wall clock, in seconds."""
    rate: float = 1.0
    """How many times as fast as real time the process's clock runs: for all that it plans, counts and records.

    The provider must be as fast, since the seconds that it sends are read on this clock. Limits on real work keep real
    seconds: a response of the network, of the user, of the store."""
    pace_seconds: float | None = None
    """Between two polls of a run; None for the usual interval."""

    @property
    def pace(self) -> Pace | None:
        """Return the poll interval; None for the usual one."""
        return None if self.pace_seconds is None else Pace(self.pace_seconds, self.pace_seconds)

    @property
    def clock(self) -> ShiftedClock:
        """Return the clock of the process."""
        return ShiftedClock(shift_seconds=self.clock_shift_seconds, rate=self.rate)

    def begin(self) -> None:
        """Set the failpoint, if there is one."""
        if self.point is not None:
            set_trap(Trap(self.point, getattr(signal, self.signal_name), self.passes))


def parse_conditions(text: str) -> Conditions:
    """Parse the variable; raises `ValueError` for unknown parts."""
    conditions = Conditions()
    for part in text.split():
        word, _, value = part.partition("=")
        try:
            conditions = _PARTS[word](conditions, word, value)
        except (KeyError, ValueError) as exc:
            raise ValueError(f"{VARIABLE} holds {part!r}") from exc
    return conditions


def _parse_trap(conditions: Conditions, word: str, value: str) -> Conditions:
    point, _, passes = value.partition(":")
    return replace(conditions, point=Failpoint(point), passes=int(passes or 1), signal_name=_SIGNALS[word])


def _parse_clock(conditions: Conditions, _: str, value: str) -> Conditions:
    return replace(conditions, clock_shift_seconds=float(value))


def _parse_rate(conditions: Conditions, _: str, value: str) -> Conditions:
    rate = float(value)
    if not 0 < rate < math.inf:
        raise ValueError(value)
    return replace(conditions, rate=rate)


def _parse_pace(conditions: Conditions, _: str, value: str) -> Conditions:
    return replace(conditions, pace_seconds=float(value))


_PARTS: Final[Mapping[str, Callable[[Conditions, str, str], Conditions]]] = {
    "kill": _parse_trap,
    "halt": _parse_trap,
    "clock": _parse_clock,
    "rate": _parse_rate,
    "pace": _parse_pace,
}


def main() -> int:
    """Serve, or work, under the conditions of the environment."""
    conditions = parse_conditions(os.environ.pop(VARIABLE, ""))
    prepare_process()
    conditions.begin()
    open_all = partial(open_assembly, clock=conditions.clock, pace=conditions.pace)
    is_worker, words = sys.argv[1:2] == ["worker"], sys.argv[1:]
    command = serve.worker if is_worker else serve.command
    code: int = command.main(words[1:] if is_worker else words, standalone_mode=False, obj=open_all)
    return code


if __name__ == "__main__":
    sys.exit(main())
