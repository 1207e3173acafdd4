"""The limits that an answer's headers report: milliseconds or seconds, a wrong clock of ours, and nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.providers.answers import MAX_RESET_SECONDS, RateLimits, parse_rate_limits

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
REPORTED_AT = 1_800_000_000.0
NOW = REPORTED_AT


def build_headers(reset: str, **others: str) -> dict[str, str]:
    """Return the headers of an answer with 12 requests left."""
    return {"x-ratelimit-remaining": "12", "x-ratelimit-reset": reset, **others}


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1800000037500", 37.5),
        ("1800000037", 37.0),
        ("1800000037.25", 37.0),
        ("37", 37.0),
        ("0", 0.0),
        ("1799999990000", 0.0),
        ("999999999999999", MAX_RESET_SECONDS),
        ("1800000600", 600.0),
        ("Fri, 15 Jan 2027 08:00:37 GMT", 37.0),
        ("2027-01-15T08:00:37Z", 37.0),
        ("2027-01-15T10:00:37.500+02:00", 37.5),
        ("2027-01-15T08:00:37", None),
        ("2027-01-15", None),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_the_reset_is_read_in_every_unit_and_believed_within_a_day(reset: str, seconds: float | None) -> None:
    """Magica documents milliseconds ("Authentication": X-RateLimit-Reset); other services send seconds."""
    limits = parse_rate_limits(build_headers(reset, date=DATE))
    assert limits is not None
    assert (limits.remaining, limits.get_reset_seconds(NOW)) == (12, seconds)


@pytest.mark.parametrize("wrong", [-86_400.0, 0.0, 86_400.0 * 365])
def test_a_wrong_clock_of_ours_moves_no_reset(wrong: float) -> None:
    """The answer reports the provider's own time beside the reset."""
    limits = parse_rate_limits(build_headers("1800000037500", date=DATE))
    assert limits is not None
    assert limits.get_reset_seconds(NOW + wrong) == 37.5


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Fri, 15 Xyz 2027 08:00:00 GMT", "Fri, 15 Jan 0000 08:00:00 GMT", DATE.replace("08", "٠٨")],
)
def test_without_a_usable_date_our_own_clock_decides(date: str) -> None:
    """It is all there is, and may be hours behind: then a minute's limit must not pass for the day's."""
    limits = parse_rate_limits(build_headers("1800000037500", date=date))
    assert limits is not None
    assert limits.get_reset_seconds(NOW) == 37.5
    assert limits.get_reset_seconds(NOW + 100.0) == 0.0
    assert limits.get_reset_seconds(NOW - 7200.0) == 60.0


@pytest.mark.parametrize("headers", [{}, {"x-ratelimit-reset": "37"}, {"x-ratelimit-remaining": "many"}])
def test_no_count_is_not_a_word_on_limits(headers: dict[str, str]) -> None:
    """A reset by itself says nothing."""
    assert parse_rate_limits(headers) is None


def test_a_rest_without_a_reset_is_kept_without_one() -> None:
    """What to make of it is for the budget."""
    assert parse_rate_limits({"x-ratelimit-remaining": " 7 "}) == RateLimits(remaining=7)


@given(st.dictionaries(st.sampled_from(["x-ratelimit-remaining", "x-ratelimit-reset", "date"]), st.text()))
def test_no_header_breaks_the_parser(headers: dict[str, str]) -> None:
    """They are written by others; an answer must not be lost over them."""
    limits = parse_rate_limits(headers)
    seconds = limits.get_reset_seconds(NOW) if limits else None
    assert seconds is None or 0.0 <= seconds <= MAX_RESET_SECONDS
