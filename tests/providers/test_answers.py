"""What all providers share: refusals, delays and types by ending."""

import pytest

from flowport.domain.errors import (
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from flowport.providers.answers import MAX_RETRY_AFTER_SECONDS, AnswerReader, is_not_taken, parse_retry_after
from flowport.providers.interface import ApiAnswer
from flowport.providers.parsing import guess_mime_type

READER = AnswerReader("P", lambda _: ("words", ()))
NOT_TAKEN = {400, 401, 402, 403, 404, 405, 413, 415, 422, 429, *range(300, 400)}


def test_a_status_proves_that_nothing_was_started_only_if_it_is_on_the_list() -> None:
    """A status too many would pay twice; one too few would leave people with an unknown run."""
    assert {status for status in range(100, 600) if is_not_taken(status)} == NOT_TAKEN


def test_every_status_that_is_not_a_success_has_its_error() -> None:
    """By who must act: the operator, the model, the provider, or no one."""
    special = {401: ProviderRefused, 402: ProviderRefused, 403: ProviderRefused, 429: ProviderBusy, 503: ProviderBusy}
    for status in (*range(100, 200), *range(300, 600)):
        usual = ProviderRejected if status // 100 == 4 else ProviderBroken
        error = READER.build_refusal(ApiAnswer(status, {}, b""), Operation.READ_RUN)
        assert (type(error), vars(error)["status"]) == (special.get(status, usual), status)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ProviderRefused("P", Operation.LIST_APPS, 401, "words")),
        (422, ProviderRejected("P", Operation.LIST_APPS, 422, "words")),
        (429, ProviderBusy("P", Operation.LIST_APPS, 429, 3.0)),
        (503, ProviderBusy("P", Operation.LIST_APPS, 503, 3.0)),
        (308, ProviderBroken("P", Operation.LIST_APPS, 308, "it answered with a redirect (HTTP 308)")),
        (500, ProviderBroken("P", Operation.LIST_APPS, 500, "it answered HTTP 500")),
    ],
)
def test_a_refusal_carries_what_its_reader_needs(status: int, error: ProviderError) -> None:
    """The provider's words go where they help, its delay where someone waits."""
    built = READER.build_refusal(ApiAnswer(status, {"retry-after": "3"}, b""), Operation.LIST_APPS)
    assert (type(built), vars(built)) == (type(error), vars(error))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("86400", MAX_RETRY_AFTER_SECONDS),
        ("inf", MAX_RETRY_AFTER_SECONDS),
        ("-1", None),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_a_delay_is_believed_within_reason(text: str, seconds: float | None) -> None:
    """A mistaken header must not stop an account for hours."""
    assert parse_retry_after({"retry-after": text}) == seconds


DATE = "Mon, 30 Nov 2026 10:00:00 GMT"
AHEAD = ["Mon, 30 Nov 2026 10:01:10 GMT", "Monday, 30-Nov-26 10:01:10 GMT", "Mon Nov 30 10:01:10 2026"]


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("date", [DATE, "Monday, 30-Nov-26 10:00:00 GMT", "Mon Nov 30 10:00:00 2026"])
def test_a_date_is_measured_against_that_of_the_answer(ahead: str, date: str) -> None:
    """In any of the three forms of RFC 9110; our own clock may be wrong by hours."""
    assert parse_retry_after({"retry-after": ahead, "date": date}) == 70.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Mon, 30 Nov 2026 09:59:00 GMT", 0.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
        ("Tue, 01 Dec 2026 10:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        ("3, 7", 7.0),
        ("7, 3", 7.0),
        (f"3, {AHEAD[0]}", 70.0),
        (f"{AHEAD[1]}, 99", 99.0),
        (f"{AHEAD[2]}, {AHEAD[0]}", 70.0),
        ("soon, 5", 5.0),
        ("-1, 4", 4.0),
        ("Mon, 99 Nov 2026 10:01:10 GMT", None),
        ("2026-11-30T10:01:10Z", None),
    ],
)
def test_the_longest_of_several_delays_holds(text: str, seconds: float | None) -> None:
    """And the past is not one."""
    found = parse_retry_after({"retry-after": text, "date": DATE})
    assert found == seconds or (seconds is None and found is not None and found <= MAX_RETRY_AFTER_SECONDS)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "40"}, 40.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796032840", "date": DATE}, 40.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796032840000", "date": DATE}, 40.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30000"}, MAX_RETRY_AFTER_SECONDS),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "40", "retry-after": "3"}, 3.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "40", "retry-after": "soon"}, 40.0),
        ({"x-ratelimit-remaining": "2", "x-ratelimit-reset": "40"}, None),
        ({"x-ratelimit-reset": "40"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
    ],
)
def test_without_a_delay_the_reset_of_a_used_up_limit_counts(headers: dict[str, str], seconds: float | None) -> None:
    """As a duration or as an instant."""
    assert parse_retry_after(headers) == seconds


def test_no_header_names_no_delay() -> None:
    """Most providers send none."""
    assert parse_retry_after({}) is None


@pytest.mark.parametrize(
    ("url", "mime_type"),
    [
        ("https://cdn.example/a.PNG?token=x.mp4", "image/png"),
        ("https://cdn.example/a.b.jpeg#x.gif", "image/jpeg"),
        ("https://cdn.example/clip.mp4", "video/mp4"),
        ("https://cdn.example/a", ""),
        ("https://cdn.example/a.exe", ""),
        ("", ""),
    ],
)
def test_a_link_promises_a_type_by_its_ending(url: str, mime_type: str) -> None:
    """Until the bytes are here, that is all there is to show."""
    assert guess_mime_type(url) == mime_type
