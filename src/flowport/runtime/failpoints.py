"""Named points at which a test can have this process killed, to see that nothing is paid twice and nothing is lost.

They do nothing until a trap is set, which only a rehearsal does: a variable that settings accept for a provider on this
machine alone. Between two neighbours among them a crash leaves something else behind.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Failpoint(StrEnum):
    """A moment in the life of a call."""

    BEFORE_ACCEPTED = "before_accepted"
    """The call is checked; the store knows nothing of it."""
    AFTER_ACCEPTED = "after_accepted"
    """The store has the run; nobody was told."""
    DURING_UPLOAD = "during_upload"
    """A part of a file of the run has been sent to where the provider takes uploads."""
    AFTER_STARTING = "after_starting"
    """`starting` is on disk; the request has not left."""
    AFTER_REQUEST_LEFT = "after_request_left"
    """The request is written to its connection; no reply was read."""
    AFTER_PROVIDER_ACCEPTED = "after_provider_accepted"
    """The head of the reply is here, or the connection has ended without one; the run's id was not read."""
    AFTER_REPLY = "after_reply"
    """What became of the request is known here and nowhere on disk."""
    WHILE_FOLLOWING = "while_following"
    """The provider's id is on disk; the run is about to be looked at."""
    WHILE_DOWNLOADING = "while_downloading"
    """A part of an output is written under its hidden name."""
    AFTER_WRITTEN = "after_written"
    """The answer is written to the client; that it was is known here and nowhere on disk."""
    BEFORE_ANSWER = "before_answer"
    """The answer is made and all that goes before it is noted; not a byte of it has left."""


@dataclass(slots=True)
class Trap:
    """What happens when a point is reached so many times."""

    point: Failpoint
    signal_number: int
    """What the process sends itself."""
    passes: int = 1
    """How often the point is still to be reached; at 0 the trap is spent."""
    send: Callable[[int, int], None] = field(default=os.kill)


_traps: Final[list[Trap]] = []


def set_trap(trap: Trap) -> None:
    """Have a trap wait at its point from now on."""
    _traps.append(trap)


def clear_traps() -> None:
    """Remove every trap."""
    _traps.clear()


def trigger(point: Failpoint) -> None:
    """Pass a point, which costs nothing, or fall into its trap."""
    for trap in _traps:
        if trap.point is point:
            trap.passes -= 1
            if trap.passes == 0:
                trap.send(os.getpid(), trap.signal_number)
