"""Read answers: as JSON, as the outcome of a start, as the error that they are, and what their headers say of limits. Pure.

Limits: every number is untrusted and is bounded. `Retry-After` is RFC 9110, section 10.2.3: seconds, or a date in any of the
three forms of section 5.6.7, measured against the answer's own `Date`, so that no clock of ours takes part.

One provider sends `X-RateLimit-Remaining`, and `X-RateLimit-Reset` in milliseconds since 1970. Elsewhere the same name
holds seconds since 1970, or seconds from now, so the size of the number decides. No documentation says whether it speaks of
the minute or of the day: the distance of the reset decides.

Complaints about single inputs: `invalid_params` of "problem+json", with the input in `name`; a live client reads it in
`field`. Others come with a path of segments. A table of reasons by input is the default of web frameworks; seen at no
provider. All write where in the request the input stands: `inputs.image`, `values.NODE.FIELD`.
"""

import re
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_tz
from itertools import islice
from typing import Any, Final, TypeAlias

from flowport.domain.errors import (
    InputFlaw,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from flowport.domain.text import clean_line
from flowport.providers.interface import ApiAnswer, NotTaken, Started, StartOutcome, Uncertain
from flowport.providers.parsing import clean_answer, clean_detail, describe_body, parse_json

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
    remaining = headers.get("x-ratelimit-remaining", "").strip()
    if not _DIGITS.fullmatch(remaining):
        return None
    reset_at, reset_seconds = _parse_reset(headers.get("x-ratelimit-reset", ""))
    return RateLimits(int(remaining), reset_at, reset_seconds, _parse_date(headers.get("date", "")))


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

    Of several values the longest holds, and a past instant is no delay. Without any, the reset of a limit of which nothing
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


_MAX_FLAWS: Final = 10
_MAX_PLACE: Final = 60
_NAME_KEYS: Final = ("name", "field", "path", "param", "parameter", "property", "loc")
_REASON_KEYS: Final = ("reason", "message", "detail", "msg", "error")
_LIST_KEYS: Final = ("invalid_params", "errors", "details", "issues", "violations")
_PARTS: Final = re.compile(r"[./\[\]\"'\s:]+")
_ROOTS: Final = frozenset({"inputs", "input", "body", "data", "request", "$", "#"})
_PREDICATE: Final = re.compile(
    r"(?:is|are|was|has|have|must|should|may|can|cannot|needs?|takes?|does|exceeds?|not|required)\b"
)


def find_flaws(body: Mapping[str, Any]) -> tuple[InputFlaw, ...]:
    """Return the flaws in a body, under any of the usual members."""
    return next(filter(None, (parse_flaws(body.get(key)) for key in _LIST_KEYS)), ())


def parse_flaws(items: Any) -> tuple[InputFlaw, ...]:
    """Return what a list of flaws says, or a table of reasons by input; what in it cannot be read is left out."""
    listed = [_parse_flaw(item) for item in items[:_MAX_FLAWS]] if isinstance(items, list) else []
    tabled = _iterate_table(items) if isinstance(items, Mapping) else ()
    return tuple(flaw for flaw in (*listed, *islice(tabled, _MAX_FLAWS)) if flaw is not None)


def _iterate_table(table: Mapping[str, Any]) -> Iterator[InputFlaw]:
    """Yield the flaws of a table, as many frameworks write it: one reason or several by the input's name."""
    is_flaw = not table.keys().isdisjoint((*_NAME_KEYS, *_REASON_KEYS))
    for name, found in table.items():
        reasons = found if isinstance(found, list) else [] if is_flaw else [found]
        for reason in reasons:
            if isinstance(reason, str) and reason.strip():
                yield InputFlaw(_read_place(name), reason[:1000])


def _parse_flaw(item: Any) -> InputFlaw | None:
    if not isinstance(item, Mapping):
        return None
    reason = next((item[key] for key in _REASON_KEYS if isinstance(item.get(key), str) and item[key].strip()), "")
    places = (_read_place(item.get(key)) for key in _NAME_KEYS)
    return InputFlaw(next(filter(None, places), ""), reason[:1000]) if reason else None


def _read_place(value: Any) -> str:
    if isinstance(value, list):
        return ".".join(str(part)[:100] for part in value[:10] if isinstance(part, str | int))
    return value[:500] if isinstance(value, str) else ""


def format_flaws(opening: str, flaws: Sequence[InputFlaw], names: Mapping[str, str] | None = None) -> str:
    """Return the provider's words about a request and its inputs, safe to quote.

    Args:
        opening: What it says of the whole.
        flaws: What it says of each input.
        names: Our name of each input by any of the provider's; None where nothing is known of ours.
    """
    texts = "; ".join(dict.fromkeys(_format_flaw(flaw, names or {}) for flaw in flaws))
    # Some frameworks open with the first of the reasons.
    opening = "" if any(flaw.reason.strip() == opening.strip() for flaw in flaws) else opening.strip()
    sign = "" if not (opening and texts) else " " if opening.endswith((".", ":", "!", "?", ";")) else "; "
    return clean_detail(f"{opening}{sign}{texts}")


def _format_flaw(flaw: InputFlaw, names: Mapping[str, str]) -> str:
    name = find_name(flaw.place, names)
    shown = name or _show_place(flaw.place)
    reason = flaw.reason.strip()
    if name and flaw.place in reason:
        return reason.replace(flaw.place, name)
    if not shown or re.search(rf"(?<![\w-]){re.escape(shown)}(?![\w-])", reason):
        return reason
    return f"{shown} {reason}" if _PREDICATE.match(reason) else f"{shown}: {reason}"


def find_name(place: str, names: Mapping[str, str]) -> str:
    """Return our name of the input that a place in the request is; empty for an unknown one."""
    segments = _split(place)
    for key, name in names.items():
        parts = _split(key)
        lengths = range(len(segments) - len(parts) + 1)
        if parts and any(segments[start : start + len(parts)] == parts for start in lengths):
            return name
    return ""


def _split(place: str) -> list[str]:
    return [part for part in _PARTS.split(place) if part]


def _show_place(place: str) -> str:
    segments = _split(place)
    while len(segments) > 1 and segments[0].lower() in _ROOTS:
        segments.pop(0)
    return clean_line(".".join(segments), limit=_MAX_PLACE)


def name_inputs(error: ProviderRejected, names: Mapping[str, str]) -> ProviderRejected:
    """Return the refusal with our names in the place of the provider's."""
    if not error.flaws:
        return error
    return replace(error, detail=format_flaws(error.opening, error.flaws, names))


NOT_TAKEN_STATUSES: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""Answers to a start request that prove that no run was started. So does every 3xx."""

Words: TypeAlias = tuple[str, tuple[InputFlaw, ...]]
"""What a refusal says of the whole request, and of single inputs."""


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads the answers of one provider."""

    title: str
    parse_words: Callable[[ApiAnswer], Words]
    """Finds the provider's words in a refusal."""
    choose_status: Callable[[ApiAnswer, Operation], int] = lambda answer, _: answer.status
    """Returns the status by which other providers refuse for the same reason."""

    def build_refusal(self, answer: ApiAnswer, operation: Operation) -> ProviderError:
        """Return the error for an answer whose status is not a success."""
        status = self.choose_status(answer, operation)
        opening, flaws = self.parse_words(answer)
        detail = format_flaws(opening, flaws)
        if status in {401, 402, 403}:
            return ProviderRefused(self.title, operation, status, detail)
        if status in {429, 503}:
            return ProviderBusy(self.title, operation, status, parse_retry_after(answer.headers))
        if 400 <= status < 500:  # noqa: PLR2004
            opening = opening if flaws else ""
            return ProviderRejected(self.title, operation, status, detail, flaws=flaws, opening=opening)
        kind = "with a redirect (HTTP {})" if 300 <= status < 400 else "HTTP {}"  # noqa: PLR2004
        return self.build_broken(answer, operation, f"it answered {kind.format(status)}")

    def build_broken(self, answer: ApiAnswer, operation: Operation, problem: str) -> ProviderBroken:
        """Return the error for an answer that breaks the contract."""
        return ProviderBroken(self.title, operation, answer.status, problem)

    def parse_body(self, answer: ApiAnswer, operation: Operation) -> Any:
        """Return the JSON of a success.

        Raises:
            ProviderError: The answer is a refusal, or not JSON.
        """
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            raise self.build_refusal(answer, operation)
        try:
            return parse_json(answer)
        except ValueError as exc:
            raise self.build_broken(answer, operation, "its answer is not the JSON that it promises") from exc

    def parse_start(self, answer: ApiAnswer, parse_run: Callable[[Any], Started | None]) -> StartOutcome:
        """Return what the answer to a start request proves.

        Args:
            parse_run: Returns the run that the JSON of a success names; None, or ValueError, when it names none.
        """
        operation = Operation.START_RUN
        if is_not_taken(answer.status):
            return NotTaken(self.build_refusal(answer, operation))
        try:
            body = self.parse_body(answer, operation)
            started = parse_run(body)
        except (ValueError, ProviderError) as exc:
            if isinstance(exc, ProviderError) and not 200 <= answer.status < 300:  # noqa: PLR2004
                return Uncertain(exc, clean_answer(answer))
            started = None
        if started is not None:
            return started
        problem = f"it answered that the run was started, but {describe_body(answer)}"
        return Uncertain(self.build_broken(answer, operation, problem), clean_answer(answer))


def is_not_taken(status: int) -> bool:
    """Check whether this status, answered to a start request, proves that no run was started."""
    return status in NOT_TAKEN_STATUSES or 300 <= status < 400  # noqa: PLR2004
