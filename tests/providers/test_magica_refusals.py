"""Magica's words when it refuses, in the order in which they count, and what a 403 is about."""

import json
from typing import Any

import pytest

from flowport.domain.errors import Operation, ProviderBusy, ProviderRefused, ProviderRejected
from flowport.providers.answers import format_flaws
from flowport.providers.interface import ApiAnswer
from flowport.providers.magica.answers import READER, parse_words
from tests.support.scripted import build_answer


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "m", "error": {"message": "e"}, "code": "C"}, "m"),
        ({"error": {"message": "e", "code": "C"}, "code": "D"}, "e"),
        ({"error": "e", "code": "C"}, "e"),
        ({"code": "C"}, "C"),
        ({"error": {"code": "C"}}, "C"),
        ({"message": " ", "error": "e"}, "e"),
        ({"other": 1}, '{"other": 1}'.replace('"', "'")),
        ("only text", "only text"),
        ([1], ""),
        (b"plain words", "plain words"),
        (b"<html>gone</html>", ""),
        (b"", ""),
        ({"message": "m", "details": [{"path": "a.b", "message": "x"}, {"message": "y"}, "z", 5]}, "m; a.b: x; y; z"),
        ({"error": {"message": "m", "issues": [{"path": ["a", 0], "message": "x"}]}}, "m; a.0: x"),
    ],
)
def test_the_words_are_read_in_their_order(body: Any, message: str) -> None:
    """`message`, `error.message`, `error`, `code`, else the body."""
    assert format_flaws(*parse_words(build_answer(body, 400))) == message


def refuse(status: int, body: Any, operation: Operation = Operation.START_RUN) -> Any:
    """Return the error that an answer makes."""
    return READER.build_refusal(build_answer(body, status, retry_after="7"), operation)


@pytest.mark.parametrize(
    "body",
    [
        {"code": "INSUFFICIENT_CREDITS"},
        {"message": "Insufficient credits: 61520 needed"},
        {"error": "You do not have enough credits. Not enough credits left"},
        {"error": {"message": "Your credit balance is too low"}},
        {"message": "Out of credits"},
        {"message": "Credits exhausted"},
        {"message": "Payment required"},
        {"message": "insufficient balance"},
    ],
)
def test_too_few_credits_are_no_refused_key(body: Any) -> None:
    """Seen as 403 on the live service; others expect 402. Who reads it has to add credits, not a key."""
    for status in (402, 403):
        error = refuse(status, body)
        assert isinstance(error, ProviderRefused)
        assert error.status == 402
        assert "does not have enough credits" in str(error)


@pytest.mark.parametrize("body", [{"message": "Forbidden"}, {"message": "This key may not read the balance"}, {}, b""])
def test_a_key_without_the_right_is_not_a_lack_of_credits(body: Any) -> None:
    """The word alone says nothing."""
    assert refuse(403, body).status == 403


def test_a_validation_is_about_the_inputs_of_a_start_and_nothing_else() -> None:
    """Then the definition is read again."""
    start, other = refuse(400, {"message": "bad"}), refuse(400, {"message": "bad"}, Operation.READ_RUN)
    assert (type(start), start.status, type(other), other.status) == (ProviderRejected, 422, ProviderRejected, 400)


def test_a_busy_key_says_how_long() -> None:
    """`Retry-After` is in seconds (Authentication)."""
    error = refuse(429, {})
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_seconds == 7.0


def test_a_long_answer_is_cut() -> None:
    """It is untrusted."""
    assert len(format_flaws(*parse_words(ApiAnswer(400, {}, json.dumps({"message": "x" * 10**6}).encode())))) <= 300
