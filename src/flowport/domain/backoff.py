"""The pauses between failed attempts, as one value for every retry. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow with each failure up to a maximum, limited by a number of tries."""

    first_seconds: float
    factor: float = 2.0
    """The ratio of each pause to the one before it."""
    longest_seconds: float = math.inf
    tries: int | None = None
    """The number of tries, including the first; None for no limit."""
    steps: tuple[float, ...] = ()
    """Pauses that come before the first one, where a formula does not fit."""

    def get_pause(self, failures: int) -> float | None:
        """Return the seconds to wait after this many failures in a row (at least 1); None if there is no further try."""
        if self.tries is not None and failures >= self.tries:
            return None
        if failures <= len(self.steps):
            return self.steps[failures - 1]
        doublings = failures - len(self.steps) - 1
        try:
            return min(self.first_seconds * self.factor**doublings, self.longest_seconds)
        except OverflowError:
            return self.longest_seconds
