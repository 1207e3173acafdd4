"""The port through which everything else learns the time and waits.

Instants that are stored or shown come from `now`, durations only from `monotonic`: a wall clock that jumps must not
lengthen a wait. Tests hand in a clock of their own, so none of them sleeps.
"""

import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import anyio

from flowport.domain.models import BootTime

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """What the program needs of time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process; never goes back."""
        ...

    def boot_time(self) -> BootTime | None:
        """Return the instant by a clock that all processes share and nobody sets; None where the system has none."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration is none."""
        ...

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends so long after now; for waits whose seconds were told by this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def __init__(self, *, shift_seconds: float = 0.0, rate: float = 1.0) -> None:
        """Make a clock.

        Args:
            shift_seconds: How wrong the wall clock is to be, for rehearsals.
            rate: How many times as fast as the machine's it is to run, for rehearsals. The wall clock begins at the
                right time and runs ahead, so that instants of other clocks, as of a link's expiry, are not all past.
        """
        self._shift_seconds = shift_seconds
        self._rate = rate
        self._began_at = time.monotonic()

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time() + self._shift_seconds + (time.monotonic() - self._began_at) * (self._rate - 1.0)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process."""
        return time.monotonic() * self._rate

    def boot_time(self) -> BootTime | None:
        """Return the instant by Linux's boot clock; None on other systems."""
        boot_id = _get_boot_id()
        if sys.platform == "win32" or _BOOT_CLOCK is None or not boot_id:
            return None
        # Processes of one rate agree; to those of another, what this one writes is of a different start of the machine.
        named = boot_id if self._rate == 1.0 else f"{boot_id} at {self._rate:g}"
        return BootTime(named, time.clock_gettime(_BOOT_CLOCK) * self._rate)

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration is none."""
        await anyio.sleep(max(0.0, seconds) / self._rate)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends so long after now."""
        return anyio.move_on_after(seconds / self._rate)


@cache
def _get_boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often one run is looked at."""

    first_seconds: float = 2.5
    """From the start to the first look (get-run: "wait 2-3 s")."""
    every_seconds: float = 4.0
    """Between two looks (get-run: "then every 3-5 s")."""
    spread_per_second: int = 200
    """About how many looks a second there are when many runs were started together and no budget spreads them."""
