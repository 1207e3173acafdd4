"""The port through which all other modules read the time and wait.

Instants that are stored or shown come from `now`, durations only from `monotonic`: a wall clock that jumps must not
lengthen a wait. Tests hand in a clock of their own, so none of them sleeps.
"""

import sys
import time
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import anyio

from flowport.domain.models import BootTime

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """The time functions that the program needs."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process; never goes back."""

    def boot_time(self) -> BootTime | None:
        """Return the instant by a clock that all processes share and that cannot be set; None if the system has none."""

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration counts as 0."""

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends after this many seconds of this clock."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process."""
        return time.monotonic()

    def boot_time(self) -> BootTime | None:
        """Return the instant by Linux's boot clock; None on other systems."""
        boot_id = _get_boot_id()
        if sys.platform == "win32" or _BOOT_CLOCK is None or not boot_id:
            return None
        return BootTime(boot_id, time.clock_gettime(_BOOT_CLOCK))

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration counts as 0."""
        await anyio.sleep(max(0.0, seconds))

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends after this many seconds."""
        return anyio.move_on_after(seconds)


@cache
def _get_boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
