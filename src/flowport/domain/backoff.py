"""The pauses between failed attempts, as one value for every retry. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow with each failure up to a maximum, limited by a number of tries or an instant."""

    first_seconds: float
    factor: float = 2.0
    """The ratio of each pause to the one before it."""
    longest_seconds: float = math.inf
    tries: int | None = None
    """The number of tries, including the first; None for no limit."""
    until: float | None = None
    """The instant after which no try begins, by the clock of `get_pause`; None for no limit."""
    steps: tuple[float, ...] = ()
    """Pauses that come before the first one, where a formula does not fit."""

    def get_pause(self, failures: int, *, now: float = 0.0) -> float | None:
        """Return the seconds to wait after this many failures in a row (at least 1); None if there is no further try.

        Args:
            now: The present instant; used only with `until`.
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
