"""Named points in the life of a call at which a test can stop the process. In production they do nothing.

A crash between two neighbouring points leaves a different state behind.
"""

from collections.abc import Callable
from enum import StrEnum


class Failpoint(StrEnum):
    """A point, named for what has happened; the comment says what is on disk."""

    BEFORE_ACCEPTED = "before_accepted"  # nothing; the call is checked
    AFTER_ACCEPTED = "after_accepted"  # the run; the client knows nothing of it
    DURING_UPLOAD = "during_upload"  # the run; a part of its file is at the provider
    AFTER_STARTING = "after_starting"  # `starting`; the request has not left
    AFTER_REQUEST_LEFT = "after_request_left"  # `starting`; the request is written to its connection
    AFTER_PROVIDER_ACCEPTED = (
        "after_provider_accepted"  # `starting`; the head of the reply is here, or the connection ended
    )
    AFTER_REPLY = "after_reply"  # `starting`; the outcome of the request is known in memory
    WHILE_FOLLOWING = "while_following"  # the provider's id; the run is about to be polled
    WHILE_DOWNLOADING = "while_downloading"  # a part of an output under its hidden name
    BEFORE_ANSWER = "before_answer"  # the result; not a byte of the answer has left
    AFTER_WRITTEN = "after_written"  # the result; the answer is written, which is known in memory


_hooks: list[Callable[[Failpoint], None]] = []


def install_hook(hook: Callable[[Failpoint], None] | None) -> None:
    """Call `hook` at every point from now on; None removes it. Only tests install one."""
    _hooks[:] = [] if hook is None else [hook]


def trigger(point: Failpoint) -> None:
    """Report that a point is reached."""
    for hook in _hooks:
        hook(point)
