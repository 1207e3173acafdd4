"""The port through which everything else learns the time and waits.

Instants that are stored or shown come from `now`, durations only from `monotonic`: a wall clock that jumps must not
lengthen a wait. Tests hand in a clock of their own, so none of them sleeps.
"""

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the program needs of time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process; never goes back."""
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

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration is none."""
        await anyio.sleep(max(0.0, seconds))
