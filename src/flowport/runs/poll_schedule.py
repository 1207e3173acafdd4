"""Decide which live run is polled next, and when. Pure: no clock, no sleep; the poller supplies the time and obeys.

While the polls of all live runs fit into the request limit, each run is polled at the pace that its provider documents.
Beyond that a run is polled as often as the limit allows for all of them, or, where that is sooner, first at one part of the
usual duration of its app and then in gaps of another part of it. The run that is due for longest goes first. Polls of waited-for runs go before all starts. Polls of rows that
are due go before further rows are started, except for the last rows: what starts last ends last, so starts go first then.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from flowport.domain.backoff import Backoff
from flowport.runtime.clock import Pace

FAILED_POLL: Final = {True: Backoff(2.0, 2.0, 10.0), False: Backoff(2.0, 2.0, 60.0)}
"""Pauses after polls without a response: while a caller waits for the run, and while none does."""

LOST_AFTER_SECONDS: Final = 3600.0
"""How long a provider must answer that it does not know a run before the run counts as lost. A fresh run may not be
readable yet, and a gateway that is down may answer so for every run."""

UNKNOWN_SECONDS: Final = 55.0
"""The usual duration of an app of which nothing is known; one provider says that 10 seconds to 5 minutes are usual."""

PLANNED_SHARE: Final = 0.9
"""The part of the request limit that polls may plan with; catalogue requests and the unforeseen have the rest."""

POLLS_IN_ONE: Final = 4
"""How many polls of waited-for runs one bulk status request replaces. More would let such polls delay starts."""

LAST_STARTS_MINUTES: Final = 1.0
"""When the rows that are left can be started within so many minutes, their starts go before all polls of rows."""

LIVE_ROWS_MINUTES: Final = 4
"""As many rows of a batch are live as polls fit into so many minutes."""

LIVE_ROWS: Final = range(64, 1_000)
"""The fewest and the most live rows of a batch under a request limit. Each decision looks at every live row."""

LIVE_ROWS_UNLIMITED: Final = 200
"""Live rows of a batch where no request limit is known."""


class _Step(NamedTuple):
    """When a run is polled that does not fit into the pace."""

    first: float
    """The age at the first poll, as a part of the usual duration."""
    gap: float
    """From one poll to the next, as a part of the usual duration."""
    longest_seconds: float
    """The longest gap."""


WAITED: Final = _Step(0.4, 0.15, 20.0)
ROW: Final = _Step(1.35, 0.4, 120.0)


class PollReason(Enum):
    """Why a run is polled now."""

    WAITED = "waited"
    """A caller waits for it."""
    DUE_ROW = "due row"
    """A row that is due; it goes before the start of another row."""
    ROW = "row"
    """Any row; it takes the requests that starts leave."""


@dataclass(frozen=True, slots=True)
class PollState:
    """What decides when a run is polled. Instants are monotonic seconds."""

    started_at: float
    seen_at: float
    """When it was last seen running; the start before the first poll."""
    asked_at: float
    """When it was last asked for, with or without a response; the start before the first time."""
    polls: int = 0
    failures: int = 0
    """How many of the last polls in a row brought no response."""
    is_waited: bool = True
    usual_seconds: float = UNKNOWN_SECONDS

    @property
    def due_at(self) -> float:
        """When a poll is worth a request that others need as well."""
        step = WAITED if self.is_waited else ROW
        gap_seconds = min(self.usual_seconds * step.gap, step.longest_seconds)
        return max(self.started_at + self.usual_seconds * step.first, self.seen_at + gap_seconds)


def get_gap_seconds(runs: int, pace: Pace, *, limit: int, polls_in_one: int = 1) -> float:
    """Return the seconds between two polls of a run if all live runs share a limit of requests a minute; 0 for the pace."""
    gap_seconds = runs * 60.0 / (limit * PLANNED_SHARE * polls_in_one)
    return gap_seconds if gap_seconds > pace.every_seconds else 0.0


def get_live_rows(limit: int) -> int:
    """Return how many rows of one batch may be live: as many as the request limit can poll."""
    if not limit:
        return LIVE_ROWS_UNLIMITED
    return min(max(limit * LIVE_ROWS_MINUTES, LIVE_ROWS.start), LIVE_ROWS.stop)


def get_next_pause(
    pace: Pace, *, polls: int, failures: int, crowd: int = 1, chance: float = 0.0, is_waited: bool = True
) -> float:
    """Return the seconds from the last poll, or from the start, to the earliest next one.

    Args:
        polls: How often the run was polled.
        failures: How many of the last polls in a row brought no response.
        crowd: How many runs there are where no limit spreads their polls, this one included.
        chance: From 0 to 1, drawn for each poll; it spreads the polls of a crowd.
        is_waited: Whether a caller waits for the run.
    """
    pause = FAILED_POLL[is_waited].get_pause(failures) if failures else None
    if pause is None:
        pause = pace.first_seconds if polls == 0 else pace.every_seconds
    # Without a limit to queue for, hundreds would be due at the same instant and block everything else.
    return pause + chance * (crowd - 1) / pace.spread_per_second


def choose_run(runs: Sequence[PollState], reason: PollReason, gap_seconds: float, now: float) -> int | None:
    """Return the index of the run to poll for this reason, the one due for longest; None when no poll is due.

    Args:
        runs: Those whose pace allows a poll.
        gap_seconds: A run is also due so long after its last poll; infinity for no such rule.
    """
    is_waited = reason is PollReason.WAITED
    due = ((min(run.due_at, run.asked_at + gap_seconds), n) for n, run in enumerate(runs) if run.is_waited is is_waited)
    due_at, n = min(due, default=(math.inf, 0))
    return n if due_at <= now else None


def choose_companions(runs: Sequence[PollState], most: int) -> list[int]:
    """Return the indexes of the runs that a request for another run includes: waited-for runs, then those due for longest."""
    return heapq.nsmallest(most, range(len(runs)), key=lambda n: (not runs[n].is_waited, runs[n].due_at))


def note_poll(run: PollState, now: float) -> PollState:
    """Return the run after a poll that found it running."""
    return replace(run, polls=run.polls + 1, failures=0, seen_at=now, asked_at=now)


def note_failure(run: PollState, now: float) -> PollState:
    """Return the run after a poll without a response."""
    return replace(run, polls=run.polls + 1, failures=run.failures + 1, asked_at=now)
