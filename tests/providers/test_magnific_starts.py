"""Answers to a start: taken, not taken, or uncertain, and what is kept of one that cannot be read."""

import json
from dataclasses import replace

import pytest

from flowport.domain.errors import Operation, ProviderBroken, ProviderRejected
from flowport.domain.models import RunState
from flowport.providers.interface import ApiAnswer, NotTaken, Started, Uncertain
from flowport.providers.parsing import MAX_ANSWER_KEPT
from tests.providers import magnific_examples as examples
from tests.providers.magnific_samples import MAGNIFIC, answer

NOT_TAKEN = {400, 401, 402, 403, 404, 405, 413, 415, 422, 429, *range(300, 400)}


def test_a_start_is_taken_as_the_example_shows_it() -> None:
    """run-flow: the 202 is not wrapped in `data`."""
    assert MAGNIFIC.parse_start(answer(examples.RUN_ACCEPTED, 202)) == Started("vCrK3Aa47y", RunState.RUNNING)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("pending", RunState.QUEUED),
        ("Running", RunState.RUNNING),
        ("completed", RunState.RUNNING),
        ("failed", RunState.RUNNING),
        ("dreaming", RunState.RUNNING),
        (None, RunState.RUNNING),
        (7, RunState.RUNNING),
    ],
)
def test_a_started_run_is_under_way_whatever_its_first_word(status: object, state: RunState) -> None:
    """An end is believed only from `get-run`, which has the outputs."""
    body = {"workflow_run_identifier": "vCrK3Aa47y", "status": status}
    assert MAGNIFIC.parse_start(answer(body, 202)) == Started("vCrK3Aa47y", state)


def test_a_wrapped_start_answer_is_read_as_well() -> None:
    """Every other answer is wrapped; a run must not be called lost over it."""
    assert MAGNIFIC.parse_start(answer({"data": examples.RUN_ACCEPTED}, 202)) == Started("vCrK3Aa47y", RunState.RUNNING)


def test_every_status_of_a_start_is_taken_not_taken_or_uncertain() -> None:
    """What is not on the list may have started a run, and is never sent again."""
    outcomes = {s: type(MAGNIFIC.parse_start(answer(examples.RUN_ACCEPTED, s))) for s in range(100, 600)}
    assert {status for status, kind in outcomes.items() if kind is Started} == set(range(200, 300))
    assert {status for status, kind in outcomes.items() if kind is NotTaken} == NOT_TAKEN
    assert {status for status, kind in outcomes.items() if kind is Uncertain} == (
        set(range(100, 600)) - set(range(200, 300)) - NOT_TAKEN
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"workflow_run_identifier": "vCrK',
        b"<html>ok</html>",
        b"[]",
        b"7",
        b"null",
        b'{"status": "running"}',
        b'{"workflow_run_identifier": null}',
        b'{"workflow_run_identifier": ""}',
        b'{"workflow_run_identifier": " "}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_success_without_a_run_id_is_uncertain(body: bytes) -> None:
    """The run is probably under way and paid for; what came back is kept for a person to look into."""
    outcome = MAGNIFIC.parse_start(answer(body, 202))
    assert isinstance(outcome, Uncertain)
    assert isinstance(outcome.error, ProviderBroken)
    assert len(outcome.answer) <= MAX_ANSWER_KEPT
    assert bool(outcome.answer) is bool(body)


def test_a_number_is_a_run_id_too() -> None:
    """A run that was paid for must not be lost over a pair of quotation marks."""
    found = MAGNIFIC.parse_start(answer({"workflow_run_identifier": 4711, "status": "running"}, 202))
    assert found == Started("4711", RunState.RUNNING)


@pytest.mark.parametrize(
    ("body", "is_complete", "words"),
    [
        (b"", True, "its answer was empty"),
        (b" \n<html>ok</html>", True, "its answer was HTML without a run id"),
        (b'{"workflow_run', False, "its answer broke off"),
        (b'{"workflow_run_identifier": true}', True, "its answer gave no run id"),
    ],
)
def test_a_success_without_a_run_id_says_what_came(body: bytes, is_complete: bool, words: str) -> None:
    """A person who asks the provider about the run needs to know."""
    outcome = MAGNIFIC.parse_start(ApiAnswer(202, {}, body, is_complete=is_complete))
    assert isinstance(outcome, Uncertain)
    assert words in str(outcome.error)


def test_a_success_that_broke_off_is_uncertain_even_if_it_looks_whole() -> None:
    """The id may have been longer."""
    outcome = MAGNIFIC.parse_start(replace(answer(examples.RUN_ACCEPTED, 202), is_complete=False))
    assert isinstance(outcome, Uncertain)
    assert json.loads(outcome.answer) == examples.RUN_ACCEPTED


def test_a_refusal_that_broke_off_is_a_refusal() -> None:
    """The status says it; only the reason is lost."""
    outcome = MAGNIFIC.parse_start(ApiAnswer(422, {}, b'{"mess', is_complete=False))
    assert isinstance(outcome, NotTaken)
    assert vars(outcome.error) == vars(ProviderRejected("Magnific", Operation.START_RUN, 422))


def test_an_endless_answer_is_kept_in_part() -> None:
    """The store is not a dump."""
    outcome = MAGNIFIC.parse_start(answer("x" * 10**6, 500))
    assert isinstance(outcome, Uncertain)
    assert len(outcome.answer) == MAX_ANSWER_KEPT


@pytest.mark.parametrize(
    ("body", "status"), [("", 404), ("", 422), ('{"message": "Flow not found"}', 404), ("{}", 422)]
)
def test_a_refusal_needs_no_body(body: str, status: int) -> None:
    """run-flow publishes no schema for 404 and 422."""
    outcome = MAGNIFIC.parse_start(answer(body, status))
    detail = "Flow not found" if "Flow" in body else ""
    assert isinstance(outcome, NotTaken)
    assert vars(outcome.error) == vars(ProviderRejected("Magnific", Operation.START_RUN, status, detail))
