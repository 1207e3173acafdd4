"""What all providers share: refusals, delays and types by ending."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.errors import Operation, ProviderBroken, ProviderBusy, ProviderError, ProviderRefused, ProviderRejected
from flowport.providers.interface import (
    MAX_RETRY_AFTER_SECONDS,
    Refusal,
    build_inline_media,
    build_refusal,
    is_not_taken,
    parse_retry_after,
)
from flowport.providers.links import guess_mime_type

NOT_TAKEN = {400, 401, 402, 403, 404, 405, 413, 415, 422, 429, *range(300, 400)}


def test_a_status_proves_that_nothing_was_started_only_if_it_is_on_the_list() -> None:
    """A status too many would pay twice; one too few would leave people with an unknown run."""
    assert {status for status in range(100, 600) if is_not_taken(status)} == NOT_TAKEN


def test_every_status_that_is_no_success_has_its_error() -> None:
    """By who must act: the operator, the model, the provider, or nobody."""
    special = {401: ProviderRefused, 402: ProviderRefused, 403: ProviderRefused, 429: ProviderBusy, 503: ProviderBusy}
    for status in (*range(100, 200), *range(300, 600)):
        usual = ProviderRejected if status // 100 == 4 else ProviderBroken
        error = build_refusal(status, Refusal("Magnific", Operation.READ_RUN))
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
    """The provider's words go where they help, its delay where somebody waits."""
    built = build_refusal(status, Refusal("P", Operation.LIST_APPS, "words", {"retry-after": "3"}))
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


@given(st.binary())
@settings(deadline=None, max_examples=50)
def test_a_file_inside_a_request_is_plain_base64(data: bytes) -> None:
    """Some endpoints reject data URIs (Magnific API 1.0.0, run-flow)."""
    assert base64.b64decode(build_inline_media(data), validate=True) == data
