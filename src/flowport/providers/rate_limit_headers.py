"""What the headers of an answer say of its key's limits, and when a refused request may be sent again. Pure.

Every number is untrusted and is bounded. `Retry-After` is RFC 9110, section 10.2.3: seconds, or a date in any of the three
forms of section 5.6.7, measured against the answer's own `Date`, so that no clock of ours takes part.

One provider sends `X-RateLimit-Remaining`, and `X-RateLimit-Reset` in milliseconds since 1970. Elsewhere the same name
holds seconds since 1970, or seconds from now, so the size of the number decides. No documentation says whether it speaks of
the minute or of the day: the distance of the reset decides.
"""

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Final

MAX_RESET_SECONDS: Final = 86_400.0
"""The furthest reset that is believed: no limit here is longer than a day."""

MAX_UNSURE_SECONDS: Final = 60.0
"""The same for an instant that only our own clock can place, which may be wrong by hours: a minute is soon over."""

_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_FRACTION: Final = re.compile(r"([0-9]{1,15})(?:\.[0-9]{0,9})?")
MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""The longest delay we believe; above it a mistaken header would stop an account for hours."""

_DATE: Final = re.compile(
    r"(?:[A-Za-z]{3,9},\s*)?\d{1,2}[ -][A-Za-z]{3}[ -](?:[1-9]\d{3}|\d{2})\s+\d{2}:\d{2}:\d{2}(?:\s+(?:GMT|UTC|Z|[+-]\d{4}))?"
    r"|[A-Za-z]{3}\s+[A-Za-z]{3}\s+\d{1,2}\s+\d{2}:\d{2}:\d{2}\s+\d{4}",
    re.ASCII,
)
"""`Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_FIRST_MILLISECONDS: Final = 100_000_000_000
"""From here on a number is an instant in milliseconds (since 1973); as seconds it would be the year 5138."""
_FIRST_INSTANT: Final = 1_000_000_000
"""From here on it is an instant in seconds (since 2001); as a duration it would be thirty years."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one answer says of its key's requests."""

    remaining: int
    """Requests left until the reset."""
    reset_at: float | None = None
    """When they are given back, in seconds since 1970 by the provider's clock."""
    reset_seconds: float | None = None
    """The same as a duration from the answer on, where the provider sends a duration."""
    reported_at: float | None = None
    """When the answer was made, by the provider's clock: the two instants need no clock of ours."""

    def get_reset_seconds(self, now: float) -> float | None:
        """Return how long after the answer the reset is: not before it, and not later than can be believed.

        Args:
            now: Our own wall clock's time, for an answer without a date.
        """
        if self.reset_seconds is not None:
            return min(self.reset_seconds, MAX_RESET_SECONDS)
        if self.reset_at is None:
            return None
        if self.reported_at is None:
            return min(max(self.reset_at - now, 0.0), MAX_UNSURE_SECONDS)
        return min(max(self.reset_at - self.reported_at, 0.0), MAX_RESET_SECONDS)


def parse_rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """Return what the headers, named in lower case, say of the limits; None when they say nothing."""
    remaining = _parse_count(headers.get("x-ratelimit-remaining", ""))
    if remaining is None:
        return None
    reset_at, reset_seconds = _parse_reset(headers.get("x-ratelimit-reset", ""))
    return RateLimits(remaining, reset_at, reset_seconds, _parse_date(headers.get("date", "")))


def _parse_count(text: str) -> int | None:
    return int(text) if _DIGITS.fullmatch(text.strip()) else None


def _parse_reset(text: str) -> tuple[float | None, float | None]:
    """Return an instant or a duration, in seconds; neither for anything else."""
    found = _FRACTION.fullmatch(text.strip())
    if not found:
        at = _parse_date(text)
        return (_parse_iso_instant(text) if at is None else at), None
    number = int(found[1])
    if number >= _FIRST_MILLISECONDS:
        return number / 1000, None
    return (float(number), None) if number >= _FIRST_INSTANT else (None, float(number))


def _parse_iso_instant(text: str) -> float | None:
    """Return an instant of ISO 8601 in seconds since 1970; None where it names no zone, and for anything else."""
    try:
        at = datetime.fromisoformat(text.strip()[:40])
    except ValueError:
        return None
    return None if at.tzinfo is None else (at - _EPOCH).total_seconds()


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the delay that the provider asked for, or None.

    Of several values the longest holds, and what has passed is no delay. Without any, the reset of a limit of which nothing
    remains counts.

    Args:
        headers: Named in lower case.
    """
    text = headers.get("retry-after", "")[:1000]
    answered_at = _parse_date(headers.get("date", ""))
    delays = [*_iterate_seconds(_DATE.sub(",", text)), *_iterate_dates(text, answered_at)]
    delay = max(delays, default=None)
    if delay is None:
        delay = _find_reset(headers)
    return None if delay is None else min(delay, MAX_RETRY_AFTER_SECONDS)


def _iterate_seconds(text: str) -> Iterator[float]:
    for part in text.split(","):
        try:
            seconds = float(part)
        except ValueError:
            continue
        if seconds >= 0:
            yield seconds


def _iterate_dates(text: str, answered_at: float | None) -> Iterator[float]:
    for found in _DATE.finditer(text):
        at = _parse_date(found[0])
        if at is not None and answered_at is not None:
            yield max(at - answered_at, 0.0)


def _find_reset(headers: Mapping[str, str]) -> float | None:
    limits = parse_rate_limits(headers)
    if limits is None or limits.remaining > 0 or (limits.reset_seconds is None and limits.reported_at is None):
        return None
    return limits.get_reset_seconds(0.0)


def _parse_date(text: str) -> float | None:
    """Return an HTTP date in seconds since 1970, None for anything else."""
    parsed = parsedate_tz(text.strip()) if _DATE.fullmatch(text.strip()) else None
    if parsed is None:
        return None
    try:
        return float(timegm(parsed[:9])) - (parsed[9] or 0)
    except (ValueError, OverflowError):
        return None
