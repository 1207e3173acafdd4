"""What a test may ask of a whole process: to be killed at a point, to have a wrong clock or a fast one, to look sooner.

It comes as one variable that no person's file or flag can hold, and only for a provider on this machine, so that a
normal start is never one.
"""

import math
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from flowport.domain.errors import ConfigurationError
from flowport.runtime.clock import Pace
from flowport.runtime.failpoints import Failpoint, Trap, set_trap

REHEARSAL: Final = "FLOWPORT_TEST_REHEARSAL"
"""As `kill=after_starting:2 clock=-86400 rate=20 pace=0.1`; each part may be missing, `halt` may stand for `kill`."""

_SIGNALS: Final = {"kill": "SIGKILL", "halt": "SIGSTOP"}
"""By name, because Windows has neither."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How this process departs from a normal one."""

    point: Failpoint | None = None
    """Where the process is ended or halted; None for nowhere."""
    passes: int = 1
    """At which of its reachings."""
    signal_name: str = "SIGKILL"
    clock_shift_seconds: float = 0.0
    """How wrong the wall clock is."""
    rate: float = 1.0
    """How many times as fast as the real one time passes for this process: all that it plans, counts and records.

    The provider is to be as fast, since the seconds that it tells are taken for this clock's. What only bounds real work
    keeps real seconds: an answer from the network, a person's, the store's."""
    pace_seconds: float | None = None
    """Between two looks at a run; None for the usual pace."""

    @property
    def pace(self) -> Pace | None:
        """How often a run is looked at; None for as usual."""
        return None if self.pace_seconds is None else Pace(self.pace_seconds, self.pace_seconds)

    def begin(self) -> None:
        """Set the trap, if there is to be one."""
        if self.point is not None:
            set_trap(Trap(self.point, getattr(signal, self.signal_name), self.passes))


def parse_rehearsal(text: str) -> Rehearsal | None:
    """Return what the variable asks for; None when it is empty.

    Raises:
        ConfigurationError: It asks for something that there is not.
    """
    rehearsal = Rehearsal()
    for part in text.split():
        word, _, value = part.partition("=")
        try:
            rehearsal = _PARTS[word](rehearsal, word, value)
        except (KeyError, ValueError) as exc:
            raise ConfigurationError(REHEARSAL, f"holds {part!r}", "It is for the tests of Flowport alone.") from exc
    return rehearsal if text.strip() else None


def _parse_trap(rehearsal: Rehearsal, word: str, value: str) -> Rehearsal:
    point, _, passes = value.partition(":")
    return replace(rehearsal, point=Failpoint(point), passes=int(passes or 1), signal_name=_SIGNALS[word])


def _parse_clock(rehearsal: Rehearsal, _: str, value: str) -> Rehearsal:
    return replace(rehearsal, clock_shift_seconds=float(value))


def _parse_rate(rehearsal: Rehearsal, _: str, value: str) -> Rehearsal:
    rate = float(value)
    if not 0 < rate < math.inf:
        raise ValueError(value)
    return replace(rehearsal, rate=rate)


def _parse_pace(rehearsal: Rehearsal, _: str, value: str) -> Rehearsal:
    return replace(rehearsal, pace_seconds=float(value))


_PARTS: Final[Mapping[str, Callable[[Rehearsal, str, str], Rehearsal]]] = {
    "kill": _parse_trap,
    "halt": _parse_trap,
    "clock": _parse_clock,
    "rate": _parse_rate,
    "pace": _parse_pace,
}
