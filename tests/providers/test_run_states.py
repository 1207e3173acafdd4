"""One table of the words for a run's state: both providers', their spellings, and the usual others."""

import re
from typing import Any

import pytest

from flowport.domain.models import RunState
from flowport.providers.magica.runs import parse_run
from flowport.providers.parsing import parse_state
from tests.providers.magnific_samples import MAGNIFIC, NOW, answer

WORDS = {
    RunState.QUEUED: [
        "pending",
        "queued",
        "QUEUED",
        "in_queue",
        "IN_QUEUE",
        "waiting",
        "scheduled",
        "created",
        "submitted",
    ],
    RunState.RUNNING: [
        "running",
        "RUNNING",
        "in_progress",
        "IN_PROGRESS",
        "in progress",
        "processing",
        "started",
        "canceling",
    ],
    RunState.SUCCEEDED: [
        "completed",
        "COMPLETED",
        "complete",
        "succeeded",
        "success",
        "SUCCESS",
        "successful",
        "done",
        "finished",
    ],
    RunState.PARTIAL: [
        "completed_with_errors",
        "completed-with-errors",
        "Completed with errors",
        "partial",
        "partially_completed",
    ],
    RunState.FAILED: [
        "failed",
        "FAILED",
        "failure",
        "error",
        "ERROR",
        "errored",
        "timed_out",
        "timed-out",
        "timeout",
        "expired",
        "unsuccessful",
        "interrupted",
        "blocked",
        "denied",
        "abandoned",
        "internal_error",
    ],
    RunState.CANCELLED: [
        "cancelled",
        "canceled",
        "CANCELED",
        "Cancelled",
        "aborted",
        "stopped",
        "terminated",
        "canceled_by_user",
        "halted",
        "deleted",
    ],
}
PAIRS = [(word, state) for state, words in WORDS.items() for word in words]
OUTPUT = "https://cdn.example/a.png"


@pytest.mark.parametrize(("word", "state"), PAIRS)
@pytest.mark.parametrize(
    "spell",
    [
        str,
        str.upper,
        str.title,
        lambda word: f"  {word}\n",
        lambda word: re.sub(r"[\s_-]+", "", word.title()),
        lambda word: f"{word}.",
    ],
)
def test_a_word_means_the_same_however_it_is_spelt(word: str, state: RunState, spell: Any) -> None:
    """One letter more or less must not keep a paid run alive for good (replicate/replicate-python#460)."""
    assert parse_state(spell(word)) is state


@pytest.mark.parametrize(
    "word", ["", " ", "paused", "archived", "cancel", "not completed", "incomplete", "x" * 10**6, None, 5, []]
)
def test_other_words_are_in_no_table(word: Any) -> None:
    """A guess could give a run up that goes on."""
    assert parse_state(word) is None


@pytest.mark.parametrize("at", ["2026-11-30T10:00:00Z", 1796032800])
def test_an_unknown_word_with_an_end_is_one(at: Any) -> None:
    """The run was completed then, whatever that is called."""
    body = {"data": {"run_id": "r", "status": "archived", "completed_at": at}}
    assert MAGNIFIC.parse_status(answer(body), now=NOW).state is RunState.FAILED


@pytest.mark.parametrize(
    "at", [None, "", " ", 0, False, "0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", "null", "none", "-"]
)
def test_an_instant_that_stands_for_none_is_not_an_end(at: Any) -> None:
    """Some services write their zero there; the run would be given up while it goes on."""
    body = {"data": {"run_id": "r", "status": "upscaling", "completed_at": at}}
    magnific = MAGNIFIC.parse_status(answer(body), now=NOW)
    magica = parse_run({"status": "upscaling", "completedAt": at}, now=NOW)
    assert magica is not None
    assert (magnific.state, magica.state) == (RunState.RUNNING, RunState.RUNNING)
    assert magnific.unknown_status == magica.unknown_status == "upscaling"


@pytest.mark.parametrize(("word", "state"), PAIRS)
def test_both_providers_read_the_same_table_and_keep_what_was_made(word: str, state: RunState) -> None:
    """The results of an end are never thrown away."""
    body = {"data": {"run_id": "r", "status": word, "result": {"images": [{"url": OUTPUT}]}}}
    magnific = MAGNIFIC.parse_status(answer(body), now=NOW)
    magica = parse_run({"status": word, "response": {"result": OUTPUT}}, now=NOW)
    assert magica is not None
    assert magnific.state is state
    # Magica's failed runs that hand something over were always reported as partial.
    assert magica.state is (RunState.PARTIAL if state is RunState.FAILED else state)
    assert bool(magnific.outputs) is bool(magica.outputs) is state.is_final
    assert magnific.unknown_status == magica.unknown_status == ""
