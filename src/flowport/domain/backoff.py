"""The pauses between tries that fail: one value for every retry. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow from one failure to the next, up to a longest, for so many tries or until an instant."""

    first_seconds: float
    factor: float = 2.0
    """Each pause is so many times the one before it."""
    longest_seconds: float = math.inf
    tries: int | None = None
    """How many tries there are in all, the first included; None for no limit."""
    until: float | None = None
    """The instant after which no try begins, on the clock of `get_pause`; None for none."""
    steps: tuple[float, ...] = ()
    """Pauses that come before the first one, where a formula does not fit."""

    def get_pause(self, failures: int, *, now: float = 0.0) -> float | None:
        """Return the seconds to wait after so many failures in a row, at least one; None when there is no other try.

        Args:
            now: The time; counts only where there is an instant to stop at.
        """
        if self.tries is not None and failures >= self.tries:
            return None
        pause = self._get_pause(failures)
        return None if self.until is not None and now + pause > self.until else pause

    def _get_pause(self, failures: int) -> float:
        if failures <= len(self.steps):
            return self.steps[failures - 1]
        doublings = failures - len(self.steps) - 1
        try:
            return min(self.first_seconds * self.factor**doublings, self.longest_seconds)
        except OverflowError:
            return self.longest_seconds
