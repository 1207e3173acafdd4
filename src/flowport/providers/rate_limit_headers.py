"""What the headers of an answer say of the limits of its key. Pure; every number is a stranger's and is doubted.

One provider sends `X-RateLimit-Remaining`, and `X-RateLimit-Reset` in milliseconds since 1970. Elsewhere the same name
holds seconds since 1970, or seconds from now, so the size of the number decides. No documentation says whether it speaks of
the minute or of the day: that is told by how far away the reset is.
"""

import re
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MAX_RESET_SECONDS: Final = 86_400.0
"""The furthest reset that is believed: no limit here is longer than a day."""

MAX_UNSURE_SECONDS: Final = 60.0
"""The same for an instant that only our own clock can place, which may be wrong by hours: a minute is soon over."""

_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_FRACTION: Final = re.compile(r"([0-9]{1,15})(?:\.[0-9]{0,9})?")
_DATE: Final = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT", re.ASCII
)
# https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

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
    """The same as a duration from the answer on, where that is how it was told."""
    told_at: float | None = None
    """When the answer was made, by the provider's clock: the two instants need no clock of ours."""

    def get_reset_seconds(self, now: float) -> float | None:
        """Return how long after the answer the reset is: not before it, and not later than can be believed.

        Args:
            now: Our own wall clock's time, for an answer that does not tell its own.
        """
        if self.reset_seconds is not None:
            return min(self.reset_seconds, MAX_RESET_SECONDS)
        if self.reset_at is None:
            return None
        if self.told_at is None:
            return min(max(self.reset_at - now, 0.0), MAX_UNSURE_SECONDS)
        return min(max(self.reset_at - self.told_at, 0.0), MAX_RESET_SECONDS)


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


def _parse_date(text: str) -> float | None:
    found = _DATE.fullmatch(text.strip())
    if not found or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[n]) for n in (1, 3, 4, 5, 6))
    try:
        return float(timegm((year, _MONTHS.index(found[2]) + 1, day, hour, minute, second)))
    except (ValueError, OverflowError):
        return None
