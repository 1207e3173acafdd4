"""Decide what a run needs next. Pure: the record and the time are enough, so any process that holds the run can execute it.

`service.Runner.advance` executes a step: for a new run, for one that was claimed from a dead process, and for a row of a
batch alike.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from flowport.domain.models import FIRST_LEASE, Run, RunState

FIRST_POLL_SECONDS: Final = 2.5
"""From the start to the first poll that a provider documents."""


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
    """Ask the provider how it stands."""

    at: float
    """The earliest instant."""


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


def next_step(run: Run, now: float, *, should_save: bool = True) -> Step:
    """Return what the process that holds a run does next for it.

    Args:
        should_save: Whether outputs are saved, or only linked.
    """
    if run.is_batch:
        return Done() if run.state.is_final else Conduct(run)
    match run.state:
        case RunState.ACCEPTED:
            is_known = run.lease == FIRST_LEASE or run.reported_at is not None
            return Start() if is_known else Drop()
        case RunState.STARTING:
            return MarkUnknown()
        case RunState.QUEUED | RunState.RUNNING:
            first_at = (run.started_at or run.accepted_at) + FIRST_POLL_SECONDS
            return Poll(max(now, first_at)) if run.is_followed else Done()
        case RunState.SUCCEEDED | RunState.PARTIAL | RunState.FAILED | RunState.CANCELLED:
            return Download() if should_save and has_unsaved(run) else Done()
        case RunState.UNKNOWN:
            return Done()
        case _:
            assert_never(run.state)


def has_unsaved(run: Run) -> bool:
    """Return whether an output that has a link is not saved. The link may have expired: a clock may be wrong."""
    return any(output.url and not output.saved_path for output in run.outputs)
