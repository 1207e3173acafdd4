"""Decide what a run needs next, and when its next poll is due. Pure.

`next_step` goes by the record alone, so any process that holds the run can execute it: `service.Runner.advance` does, for a new
run, for one that was claimed from a dead process, and for a row of a batch.

The poll schedule is the rest. `Pace` bounds how often one run is polled. Within it, `choose_run` decides which run of an account
gets the next request, by the usual duration of its app, and `get_gap_seconds` spreads the polls of all runs over the request
limit. `poller.AccountPoller` executes the schedule.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, assert_never

from flowport.domain.backoff import Backoff
from flowport.domain.models import FIRST_LEASE, Run, RunState

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

MIN_LIVE_ROWS: Final = 64
"""Live rows of a batch under a low request limit."""

MAX_LIVE_ROWS: Final = 1_000
"""Live rows of a batch under a high one: each decision looks at every live row."""

LIVE_ROWS_UNLIMITED: Final = 200
"""Live rows of a batch where no request limit is known."""


@dataclass(frozen=True, slots=True)
class Start:
    """Send its inputs and its start request; nothing was sent yet."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Cancel it: its process ended before anything was sent, and no caller knows its id."""


@dataclass(frozen=True, slots=True)
class MarkUnknown:
    """Record that its outcome cannot be known: its process ended while the start request was sent."""


@dataclass(frozen=True, slots=True)
class Poll:
    """Poll it until it is over, as the schedule allows."""


@dataclass(frozen=True, slots=True)
class Download:
    """Save its outputs."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """Start the rows of a batch, so many at a time, and end it when all are over."""

    batch: Run


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""


Step: TypeAlias = Start | Drop | MarkUnknown | Poll | Download | Conduct | Done


def next_step(run: Run, *, should_save: bool = True, is_queued: bool = False) -> Step:
    """Return what the process that holds a run does next for it.

    Args:
        should_save: Whether outputs are saved, or only linked.
        is_queued: Whether workers carry it out: the process that accepted it was never to start it.
    """
    if run.is_batch:
        return Done() if run.state.is_final else Conduct(run)
    match run.state:
        case RunState.ACCEPTED:
            is_known = is_queued or run.lease == FIRST_LEASE or run.reported_at is not None
            return Start() if is_known else Drop()
        case RunState.STARTING:
            return MarkUnknown()
        case RunState.QUEUED | RunState.RUNNING:
            return Poll() if run.is_followed else Done()
        case RunState.SUCCEEDED | RunState.PARTIAL | RunState.FAILED | RunState.CANCELLED:
            return Download() if should_save and has_unsaved(run) else Done()
        case RunState.UNKNOWN:
            return Done()
        case _:
            assert_never(run.state)


def has_unsaved(run: Run) -> bool:
    """Return whether an output that has a link is not saved. The link may have expired: a clock may be wrong."""
    return any(output.url and not output.saved_path for output in run.outputs)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often one run is polled."""

    first_seconds: float = 2.5
    """From the start to the first poll (get-run: "wait 2-3 s")."""
    every_seconds: float = 4.0
    """Between two polls (get-run: "then every 3-5 s")."""
    spread_per_second: int = 200
    """About how many polls a second are made when many runs started together and no limit spreads them."""


class _Schedule(NamedTuple):
    """When a poll is worth a request, by the usual duration of the app."""

    first: float
    """The age at the first poll, as a part of the usual duration."""
    gap: float
    """From one poll to the next, as a part of the usual duration."""
    longest_seconds: float
    """The longest gap."""


WAITED: Final = _Schedule(0.4, 0.15, 20.0)
ROW: Final = _Schedule(1.35, 0.4, 120.0)
REPORTED_WAITED: Final = _Schedule(2.0, 0.5, 30.0)
REPORTED_ROW: Final = _Schedule(2.5, 1.0, 300.0)
"""Of runs whose end a webhook is expected to announce; most are over before."""

REPORTED_MARGIN_SECONDS: Final = 10.0
"""Added to the first, so that an event of a short run is not overtaken by a poll."""

GATHER_SECONDS: Final = 20.0
"""How long the announced end of a row waits for others where one request reads several runs."""

MISSED_IN_ROW: Final = 2
"""After so many ends in a row that no webhook announced, runs are polled as without webhooks."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """How well the webhooks of an account arrive."""

    has_arrived: bool = False
    """Whether any has ever arrived."""
    missed: int = 0
    """Ends in a row that a poll found and no webhook had announced."""

    @property
    def is_reliable(self) -> bool:
        """Whether an end is expected to be announced."""
        return self.has_arrived and self.missed < MISSED_IN_ROW

    def note_beginning(self) -> "Reporting":
        """Return this after an event of a run that goes on; it does not show that ends are announced."""
        return replace(self, has_arrived=True)

    def note_end(self) -> "Reporting":
        """Return this after an event that announced an end."""
        return Reporting(has_arrived=True)

    def note_missed(self) -> "Reporting":
        """Return this after an end that was not announced."""
        return replace(self, missed=self.missed + 1)


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
    is_reported: bool = False
    """Whether a webhook is expected to announce its end."""
    announced_at: float | None = None
    """When one did; None when none has, and once a poll has followed."""
    was_misled: bool = False
    """Whether a poll failed, or found it running after an announcement; then the usual pace finds its end."""
    gather_seconds: float = 0.0
    """How long an announced row waits for others that are read with it."""

    @property
    def due_at(self) -> float:
        """When a poll is worth a request that others need as well."""
        if self.announced_at is not None:
            return self.announced_at + (0.0 if self.is_waited else self.gather_seconds)
        if self.is_reported:
            schedule, margin_seconds = REPORTED_WAITED if self.is_waited else REPORTED_ROW, REPORTED_MARGIN_SECONDS
        else:
            schedule, margin_seconds = WAITED if self.is_waited else ROW, 0.0
        gap_seconds = min(self.usual_seconds * schedule.gap, schedule.longest_seconds)
        first_at = self.started_at + self.usual_seconds * schedule.first + margin_seconds
        return max(first_at, self.seen_at + gap_seconds)


def get_gap_seconds(runs: int, pace: Pace, *, limit: int, polls_in_one: int = 1) -> float:
    """Return the seconds between two polls of a run if all live runs share a limit of requests a minute; 0 for the pace."""
    gap_seconds = runs * 60.0 / (limit * PLANNED_SHARE * polls_in_one)
    return gap_seconds if gap_seconds > pace.every_seconds else 0.0


def get_max_live_rows(limit: int) -> int:
    """Return how many rows of one batch may be live: as many as the request limit can poll."""
    if not limit:
        return LIVE_ROWS_UNLIMITED
    return min(max(limit * LIVE_ROWS_MINUTES, MIN_LIVE_ROWS), MAX_LIVE_ROWS)


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


def get_ripe_at(run: PollState, pause_seconds: float) -> float:
    """Return when a run may be polled next.

    Args:
        pause_seconds: What `get_next_pause` returned. A run whose end is announced is polled at once, and one whose end will be
            announced not before a poll is worth a request.
    """
    if run.announced_at is not None:
        return run.announced_at
    paced_at = run.asked_at + pause_seconds
    return max(paced_at, run.due_at) if run.is_reported else paced_at


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


def note_poll(run: PollState, now: float, sent_at: float | None = None) -> PollState:
    """Return the run after a poll that found it running.

    Args:
        sent_at: When the request left, if an announcement may have come since; such a one stands.
    """
    noted = replace(run, polls=run.polls + 1, failures=0, seen_at=now, asked_at=now)
    if run.announced_at is None or (sent_at is not None and run.announced_at > sent_at):
        return noted
    return replace(noted, announced_at=None, was_misled=True, is_reported=False)


def note_failure(run: PollState, now: float) -> PollState:
    """Return the run after a poll without a response."""
    noted = replace(run, polls=run.polls + 1, failures=run.failures + 1, asked_at=now)
    return replace(noted, announced_at=None, was_misled=True, is_reported=False)
