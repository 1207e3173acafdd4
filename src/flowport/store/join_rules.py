"""Which earlier run a call joins, whatever the record is kept in. Pure.

Theory of operation: clients give up after a minute and call again, processes are killed, models repeat themselves. An
equal call therefore joins an earlier run that was not delivered, or whose delivery the client cancelled a moment ago.
Runs without a connected caller come first, so that as many retries join as many runs. When all have one, an equal call
right after another over the same connection is taken at its word (people ask for four variations side by side); at any
other time it joins.

Who is connected and which processes live is found out before the transaction and comes in as data. Where the liveness of
a process matters and is not known, nothing is changed and the outcome is `LivenessNeeded`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flowport.domain.models import ENDED_UNSENT, ENDED_WHILE_STARTING, Run, RunState
from flowport.domain.run_events import Cancelled, StartUnknown
from flowport.store.records import CANCELLED_DELIVERY_SECONDS, AttachRules, Uncertain


@dataclass(frozen=True, slots=True)
class EqualRun:
    """An earlier run that asked for the same."""

    run: Run
    caller_process_id: str
    """The process of the last call that waits for it; empty when no connected caller does, as far as is known."""
    is_queued: bool = False
    """Whether any worker starts it, so that it outlives every process. If its worker dies while it is being started, the worker
    that gets its job next decides what became of it: the queue knows whether a paused worker is back, and a replica may not."""

    @property
    def is_unsent(self) -> bool:
        """Whether nothing was sent and no caller knows its id, so that it ends with its process."""
        return self.run.state is RunState.ACCEPTED and self.run.reported_at is None and not self.is_queued

    @property
    def is_being_started(self) -> bool:
        """Whether its process alone knows what became of its start request."""
        return self.run.state is RunState.STARTING and not self.is_queued

    @property
    def lasted_seconds(self) -> float:
        """Of a batch the time from acceptance to end, which may be longer than the window; 0 for a run."""
        if not self.run.is_batch:
            return 0.0
        return math.inf if self.run.finished_at is None else max(0.0, self.run.finished_at - self.run.accepted_at)

    def get_relevant_processes(self) -> Iterator[str]:
        """Return the processes whose liveness decides what becomes of a call."""
        if (self.is_unsent or self.is_being_started) and self.run.process_id:
            yield self.run.process_id
        if self.caller_process_id:
            yield self.caller_process_id


def select_recent(equal: Iterable[EqualRun], rules: AttachRules) -> list[EqualRun]:
    """Return the runs within the window of a call."""
    return [one for one in equal if _get_age_seconds(one.run, rules) - one.lasted_seconds < rules.window_seconds]


def find_unasked(equal: Iterable[EqualRun], rules: AttachRules) -> frozenset[str]:
    """Return the processes whose liveness matters and was not asked before."""
    needed = {process_id for one in equal for process_id in one.get_relevant_processes()}
    return frozenset(one for one in needed if one != rules.call.process_id and one not in rules.processes)


def build_settlement(equal: EqualRun, rules: AttachRules) -> Cancelled | StartUnknown | None:
    """Return what became of a run whose process has died before the provider had it; None for every other run."""
    if not (equal.is_unsent or equal.is_being_started) or equal.run.process_id not in rules.processes.dead:
        return None
    if equal.is_being_started:
        return StartUnknown(ENDED_WHILE_STARTING, rules.at)
    return Cancelled(ENDED_UNSENT, rules.at)


def choose_run(settled: Sequence[EqualRun], rules: AttachRules) -> Run | None:
    """Return the run that a call joins: those without a connected caller come first, of each kind the oldest.

    Args:
        settled: Oldest first, as they are after their settlement.
    """
    candidates = [one for one in settled if is_joinable(one.run, rules)]
    return min(candidates, key=lambda one: bool(one.caller_process_id)).run if candidates else None


def is_joinable(run: Run, rules: AttachRules) -> bool:
    """Return whether an equal run answers a call."""
    ended = {RunState.UNKNOWN, RunState.CANCELLED, RunState.FAILED}
    return run.state not in ended and not _is_delivered(run, rules)


def find_uncertain(settled: Sequence[EqualRun]) -> Uncertain | None:
    """Return the newest equal run that may have been started; None if nothing was found."""
    uncertain = [one.run for one in settled if one.run.state is RunState.UNKNOWN]
    return Uncertain(uncertain[-1]) if uncertain else None


def find_recent_uncertain(unknown: Iterable[Run], rules: AttachRules) -> Uncertain | None:
    """Return the first of some unknown runs that is within the window of a call."""
    recent = (one for one in unknown if _get_age_seconds(one, rules) < rules.window_seconds)
    return next((Uncertain(one) for one in recent), None)


def _is_delivered(run: Run, rules: AttachRules) -> bool:
    """Return whether a run was delivered, and the request of its answer was not cancelled a moment ago."""
    if run.delivered_at is None or not run.is_delivery_cancelled:
        return run.delivered_at is not None
    # A client that cancels a request after its answer was written may not have used it.
    since = _get_seconds_since(run.delivered_at, run.delivered_boot_id, run.delivered_boot_seconds, rules)
    return since >= CANCELLED_DELIVERY_SECONDS


def _get_age_seconds(run: Run, rules: AttachRules) -> float:
    """Return how long ago the run was accepted."""
    return _get_seconds_since(run.accepted_at, run.boot_id, run.accepted_boot_seconds, rules)


def _get_seconds_since(at: float, boot_id: str, boot_seconds: float | None, rules: AttachRules) -> float:
    """Return how long ago something was; by the boot clock, which cannot be set, where both instants are known."""
    if rules.boot_id and boot_id == rules.boot_id and boot_seconds is not None:
        return rules.boot_seconds - boot_seconds
    # A clock that was set back makes it less than nothing, which is inside of every window too.
    return rules.at - at
