"""The port through which everything else learns the time and waits.

Instants that are stored or shown come from `now`, durations only from `monotonic`: a wall clock that jumps must not
lengthen a wait. Tests hand in a clock of their own, so none of them sleeps.
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import anyio

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


@dataclass(frozen=True, slots=True)
class BootTime:
    """An instant by a clock that nobody sets: it runs from the start of the machine, in its sleep too."""

    boot_id: str
    """Which start of the machine; instants of different ones cannot be compared."""
    seconds: float

    def subtract(self, seconds: float) -> "BootTime":
        """Return the instant so long before."""
        return BootTime(self.boot_id, self.seconds - seconds)


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


class SystemClock:
    """The machine's own clock."""

    def __init__(self, *, shift_seconds: float = 0.0) -> None:
        """Make a clock; `shift_seconds` is how wrong the wall clock is to be, for rehearsals."""
        self._shift_seconds = shift_seconds

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time() + self._shift_seconds

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process."""
        return time.monotonic()

    def boot_time(self) -> BootTime | None:
        """Return the instant by Linux's boot clock; None on other systems."""
        boot_id = _get_boot_id()
        if _BOOT_CLOCK is None or not boot_id:
            return None
        return BootTime(boot_id, time.clock_gettime(_BOOT_CLOCK))

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration is none."""
        await anyio.sleep(max(0.0, seconds))


@cache
def _get_boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
