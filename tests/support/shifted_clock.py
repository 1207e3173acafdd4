"""A real clock that is wrong or fast, for whole processes under test."""

import time

import anyio

from flowport.domain.models import BootTime
from flowport.runtime.clock import SystemClock


class ShiftedClock(SystemClock):
    """The machine's clock, set wrong by some seconds and running at another rate."""

    def __init__(self, *, shift_seconds: float = 0.0, rate: float = 1.0) -> None:
        """Make a clock.

        Args:
            shift_seconds: How wrong the wall clock is.
            rate: How many times as fast as the machine's it runs. The wall clock begins at the right time and runs
                ahead, so that instants of other clocks, as of a link's expiry, are not all past.
        """
        self._shift_seconds = shift_seconds
        self._rate = rate
        self._began_at = time.monotonic()

    def shift(self, seconds: float) -> None:
        """Set the wall clock forward."""
        self._shift_seconds += seconds

    def now(self) -> float:
        """Return seconds since the Unix epoch, by this clock."""
        return time.time() + self._shift_seconds + (time.monotonic() - self._began_at) * (self._rate - 1.0)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process."""
        return time.monotonic() * self._rate

    def boot_time(self) -> BootTime | None:
        """Return the instant by the boot clock. Processes of one rate agree; to others it is of a different boot."""
        boot = super().boot_time()
        if boot is None or self._rate == 1.0:
            return boot
        return BootTime(f"{boot.boot_id} at {self._rate:g}", boot.seconds * self._rate)

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration counts as 0."""
        await anyio.sleep(max(0.0, seconds) / self._rate)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends after this many seconds of the clock."""
        return anyio.move_on_after(seconds / self._rate)
