"""The words that providers use for the state of a run, in one table. Pure.

The providers document five or six; services of this kind use many more for the same few states, and one that is not
recognised would keep a paid run alive forever. Pages and clients spell them in both ways, in any case.
"""

import re
from typing import Any, Final

from flowport.domain.models import RunState

_WORDS: Final = {
    RunState.QUEUED: (
        *("pending", "queued", "in_queue", "enqueued", "waiting", "scheduled", "submitted", "created", "accepted"),
        *("not_started", "new", "ready", "throttled"),
    ),
    RunState.RUNNING: (
        *("running", "in_progress", "inprogress", "processing", "in_process", "started", "starting", "active"),
        *("executing", "generating", "working", "rendering", "uploading", "finalizing", "finalising", "ongoing"),
        *("retrying", "resuming", "initializing", "initialising", "cancelling", "canceling", "cancel_requested"),
        *("aborting", "stopping"),
    ),
    RunState.SUCCEEDED: ("completed", "complete", "succeeded", "success", "successful", "done", "finished", "ok"),
    RunState.PARTIAL: (
        *("completed_with_errors", "complete_with_errors", "finished_with_errors", "succeeded_with_errors"),
        *("completed_with_warnings", "completed_with_failures", "partial", "partially_completed", "partial_success"),
        *("partially_succeeded", "partial_failure", "partially_failed"),
    ),
    RunState.FAILED: (
        *("failed", "failure", "fail", "error", "errored", "crashed", "timed_out", "timedout", "timeout", "expired"),
        *("rejected", "refused", "invalid", "moderated", "content_filtered", "nsfw", "dead", "unsuccessful"),
        *("interrupted", "blocked", "denied", "abandoned", "internal_error"),
    ),
    RunState.CANCELLED: (
        *("cancelled", "canceled", "cancelled_by_user", "canceled_by_user", "user_cancelled", "user_canceled"),
        *("aborted", "stopped", "terminated", "killed", "revoked", "halted", "deleted"),
    ),
}
_STATES: Final = {word.replace("_", ""): state for state, words in _WORDS.items() for word in words}
_BETWEEN: Final = re.compile(r"[\s_.-]+")
"""Separators inside a word; some providers use capitals instead."""

_ZERO_INSTANT: Final = re.compile(r"(0000|0001|1970-01-01)")
_MAX_WORD: Final = 200


def parse_state(word: Any) -> RunState | None:
    """Return the state that a provider's word means; None for an unknown word, or another type."""
    if not isinstance(word, str):
        return None
    return _STATES.get(_BETWEEN.sub("", word[:_MAX_WORD].lower()))


def guess_end(*, has_outputs: bool, is_completed: bool, has_error: bool) -> RunState:
    """Return the state of a run whose word is unknown, by what came with the word.

    Results, or an instant at which it was completed, are an end, whatever it is called; without either it goes on.
    """
    if not (has_outputs or is_completed):
        return RunState.RUNNING
    if has_error or not has_outputs:
        return RunState.PARTIAL if has_outputs else RunState.FAILED
    return RunState.SUCCEEDED


def is_instant(value: Any) -> bool:
    """Check whether a member such as `completed_at` names an instant, rather than a zero that means "not yet"."""
    if isinstance(value, str):
        return any(map(str.isdigit, value)) and _ZERO_INSTANT.match(value.strip()) is None
    return isinstance(value, int | float) and bool(value)
