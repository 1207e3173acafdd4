"""What no schedule can beat by knowing more: one that is told of every end at once, with the same runs and requests.

It does not know how long a run will take. What it can choose is what a request goes to while there are both rows to be
started and rows whose end nobody has fetched yet.
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
"""As the provider counts; a client that has to be sure leaves it a little longer."""


@dataclass
class Batch:
    """A batch that goes on."""

    rows: int
    chance: random.Random
    ends: list[float] = field(default_factory=list)
    """When each live row ends or has ended, until a look has fetched that."""
    started: int = 0
    now: float = 0.0

    def count_over(self) -> int:
        """Return how many rows have ended that nobody has looked at."""
        return sum(end <= self.now for end in self.ends)

    def start(self) -> None:
        """Start a row."""
        self.started += 1
        self.ends.append(self.now + draw_seconds(self.chance))

    def look(self) -> None:
        """Fetch what ended first."""
        self.ends.remove(min(self.ends))


def find_best_finish(seeds: Iterable[int], *, rows: int, live_rows: int) -> tuple[float, int]:
    """Return the mean time to finish of the best policy, and how many ends it lets gather before it fetches one."""
    policies = [live_rows, live_rows // 2, live_rows // 4, 1]
    means = [
        (statistics.mean(play(seed, gathered, rows=rows, live_rows=live_rows) for seed in seeds), gathered)
        for gathered in policies
    ]
    return min(means, key=itemgetter(0))


def play(seed: int, gathered: int, *, rows: int, live_rows: int) -> float:
    """Return when the last result is here. 1 gathered end looks first; as many as may be live starts first.

    The seed gives the runs that the program is measured with: first its history, then the rows in the order of their starts.
    """
    batch, sent, answered_at = Batch(rows, random.Random(seed)), deque[float](), 0.0  # noqa: S311 - it is to repeat itself
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
