"""An upper bound for any schedule: one that knows every end at once, with the same runs and requests.

It does not know how long a run will take. Its choice is what a request is used for while there are both rows to be
started and ended rows that were not polled yet.
"""

import random
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from schedule_world import HISTORY, LATENCY_SECONDS, LIMIT, draw_seconds

WINDOW_SECONDS: Final = 60.0
"""The provider's window; a client that must be sure leaves it a little longer."""


@dataclass
class Batch:
    """A live batch."""

    rows: int
    chance: random.Random
    ends: list[float] = field(default_factory=list)
    """When each live row ends or has ended, until a poll has fetched the end."""
    started: int = 0
    now: float = 0.0

    def count_over(self) -> int:
        """Return the number of ended rows that were not polled."""
        return sum(end <= self.now for end in self.ends)

    def start(self) -> None:
        """Start a row."""
        self.started += 1
        self.ends.append(self.now + draw_seconds(self.chance))

    def look(self) -> None:
        """Fetch the earliest end."""
        self.ends.remove(min(self.ends))


def find_best_finish(seeds: Iterable[int], *, rows: int, live_rows: int) -> tuple[float, int]:
    """Return the mean time to finish of the best policy, and how many ends it collects before it fetches one."""
    policies = [live_rows, live_rows // 2, live_rows // 4, 1]
    means = [
        (statistics.mean(play(seed, gathered, rows=rows, live_rows=live_rows) for seed in seeds), gathered)
        for gathered in policies
    ]
    return min(means, key=itemgetter(0))


def play(seed: int, gathered: int, *, rows: int, live_rows: int) -> float:
    """Return when the last result is fetched. With 1 collected end polls go first; with as many as may be live, starts.

    The seed gives the runs that the program is measured with: first its history, then the rows in the order of their starts.
    """
    batch, sent, answered_at = Batch(rows, random.Random(seed)), deque[float](), 0.0  # noqa: S311 - reproducible on purpose
    for _ in range(HISTORY):
        draw_seconds(batch.chance)
    while batch.ends or batch.started < rows:
        if len(sent) == LIMIT:
            batch.now = max(batch.now, sent.popleft() + WINDOW_SECONDS)
        can_start = batch.started < rows and len(batch.ends) < live_rows
        if not can_start:
            batch.now = max(batch.now, min(batch.ends))
        if can_start and batch.count_over() < gathered:
            batch.start()
        else:
            batch.look()
        sent.append(batch.now)
        answered_at = batch.now + LATENCY_SECONDS
    return answered_at
