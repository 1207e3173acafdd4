"""When a refused request may be sent again, by the headers of the refusal. Pure.

RFC 9110, section 10.2.3: seconds, or a date in any of the three forms of section 5.6.7, measured against the answer's own
`Date`, so that no clock of ours takes part.
"""

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from email.utils import parsedate_tz
from typing import Final

from flowport.providers.rate_limit_headers import parse_rate_limits

MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""The longest delay we believe; above it a mistaken header would stop an account for hours."""

_DATE: Final = re.compile(
    r"(?:[A-Za-z]{3,9},\s*)?\d{1,2}[ -][A-Za-z]{3}[ -](?:\d{4}|\d{2})\s+\d{2}:\d{2}:\d{2}(?:\s+(?:GMT|UTC|Z|[+-]\d{4}))?"
    r"|[A-Za-z]{3}\s+[A-Za-z]{3}\s+\d{1,2}\s+\d{2}:\d{2}:\d{2}\s+\d{4}",
    re.ASCII,
)
"""`Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`."""


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
    if limits is None or limits.remaining > 0 or (limits.reset_seconds is None and limits.told_at is None):
        return None
    return limits.get_reset_seconds(0.0)


def _parse_date(text: str) -> float | None:
    parsed = parsedate_tz(text.strip())
    if parsed is None:
        return None
    try:
        return float(timegm(parsed[:9])) - (parsed[9] or 0)
    except (ValueError, OverflowError):
        return None
