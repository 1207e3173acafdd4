"""Parse JSON bodies and values of providers leniently: types, links, texts and the states of runs. Pure."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, TypeGuard
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BeforeValidator

from flowport.domain.models import RunState
from flowport.domain.text import clean_line, redact
from flowport.providers.interface import ApiAnswer

MAX_INTEGER_DIGITS: Final = 18
"""What fits into the 64 bits of a database; no id or price here is longer."""


def parse_json(answer: ApiAnswer) -> Any:
    """Return the body as JSON that can be written again.

    What JSON or UTF-8 could not carry on (half a surrogate pair, an endless number) becomes a mark or None, so that one
    odd value in a list costs us no other.

    Raises:
        ValueError: The body is cut off or is not JSON in UTF-8.
    """
    if not answer.is_complete:
        raise ValueError("the body is cut off")
    try:
        # Decoded here, because the library lets halves of surrogate pairs pass as bytes too.
        text = answer.body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_parse_float, parse_int=_parse_integer)
        if "\\ud" in text.lower():
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as exc:
        raise ValueError("the body is nested too deeply") from exc
    return value


def _parse_float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _parse_integer(text: str) -> int | None:
    return int(text) if len(text) <= MAX_INTEGER_DIGITS else None


MAX_NUMBER: Final = 1e9
"""No price, size or duration reaches it."""


def is_number(value: Any) -> TypeGuard[float]:
    """Check whether this is a number that can be a price, a size or a duration."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def _drop_unless(*types: type) -> BeforeValidator:
    return BeforeValidator(lambda value: value if isinstance(value, types) and not isinstance(value, bool) else None)


LenientText: TypeAlias = Annotated[str | None, _drop_unless(str)]
LenientMapping: TypeAlias = Annotated[dict[str, Any] | None, _drop_unless(dict)]
LenientList: TypeAlias = Annotated[list[Any] | None, _drop_unless(list)]


def read_run_id(*values: object) -> str:
    """Return the first id that an answer names for its run, as text; empty when it names none.

    Any value counts, a malformed one too: it is not the id of the requested run.
    """
    texts = (str(value).strip() for value in values if value is not None)
    return next(filter(None, texts), "")


MAX_URL_LENGTH: Final = 4096

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HOST: Final = re.compile(r"[\w.\-:\[\]%]+", re.ASCII)
_NAME: Final = re.compile(r"[\w.\-:]+")


def is_usable_url(url: str) -> bool:
    """Check whether this is the whole address of a file, without anything that could be misread."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_LENGTH
    return is_plain and parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.username is None


def complete_url(text: str) -> str:
    """Return the address of a file as it can be fetched; empty for any other text.

    An address without scheme gets https. Spaces and letters beyond ASCII become their codes; what is encoded already stays.
    """
    url = f"https:{text}" if text.startswith("//") else text
    if is_usable_url(url):
        return url
    if _CONTROLS.search(url) or len(url) > MAX_URL_LENGTH:
        return ""
    try:
        parts = urlsplit(url)
        host = _encode_host(parts.netloc)
    except ValueError:
        return ""
    if not _HOST.fullmatch(host):
        return ""
    path, query, fragment = (_quote(part) for part in (parts.path, parts.query, parts.fragment))
    whole = urlunsplit((parts.scheme, host, path, query, fragment))
    return whole if is_usable_url(whole) else ""


def _encode_host(host: str) -> str:
    if host.isascii():
        return host
    # Of signs that are no letters IDNA would make dots and slashes.
    return host.encode("idna").decode() if _NAME.fullmatch(host) else quote(host, safe=".-:")


def _quote(part: str) -> str:
    # A percent sign that begins no code is a plain character.
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", part), safe="%/:?@!$&'()*+,;=~-._")


def quote_segment(text: str) -> str:
    """Return an id for a path; dots too, because the HTTP library would take `..` for the folder above."""
    return quote(text, safe="").replace(".", "%2E")


_MIME_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "flac": "audio/flac",
}


def guess_mime_type(url: str) -> str:
    """Return the type that a link's ending promises, empty when it promises none; the bytes decide once they are here."""
    path = url.partition("?")[0].partition("#")[0]
    return _MIME_TYPES.get(path.rpartition(".")[2].lower(), "")


MAX_DETAIL_LENGTH: Final = 300
MAX_ANSWER_KEPT: Final = 2000
"""Characters of an undecided start answer that the store keeps."""


def clean_detail(text: str) -> str:
    """Return a provider's message without secrets and without double quotes, so that it can be quoted."""
    # Secrets go before the quotes change, and before the line is cut: half a secret is not recognised.
    whole = clean_line(text[: 10 * MAX_DETAIL_LENGTH], limit=10 * MAX_DETAIL_LENGTH)
    return clean_line(redact(whole), limit=MAX_DETAIL_LENGTH).replace('"', "'")


def clean_word(text: str) -> str:
    """Return a single value of a provider, such as a status, short and without secrets."""
    return clean_line(redact(clean_line(text[:200], limit=200)), limit=40)


def clean_answer(answer: ApiAnswer) -> str:
    """Return the beginning of an answer as one line, for a person to look into."""
    # Cut before it is cleaned, which takes seconds for megabytes.
    whole = clean_line(answer.body[: 4 * MAX_ANSWER_KEPT].decode("utf-8", "replace"), limit=4 * MAX_ANSWER_KEPT)
    return clean_line(redact(whole), limit=MAX_ANSWER_KEPT)


def describe_body(answer: ApiAnswer) -> str:
    """Return what a start answer held in the place of a run id, as a clause."""
    if not answer.is_complete:
        return "its answer broke off"
    if not answer.body.strip():
        return "its answer was empty"
    if answer.body.lstrip()[:1] == b"<":
        return "its answer was HTML without a run id"
    return "its answer gave no run id"


_WORDS: Final = {
    RunState.QUEUED: (
        *("pending", "queued", "in_queue", "enqueued", "waiting", "scheduled", "submitted", "created", "accepted"),
        *("not_started", "new", "ready", "throttled"),
    ),
    RunState.RUNNING: (
        *("running", "in_progress", "inprogress", "processing", "in_process", "started", "starting", "active"),
        *("executing", "generating", "working", "rendering", "uploading", "finalizing", "finalising", "ongoing"),
        *("retrying", "resuming", "initializing", "initialising", "cancelling", "canceling", "cancel_requested"),
        *("aborting", "stopping"),
    ),
    RunState.SUCCEEDED: ("completed", "complete", "succeeded", "success", "successful", "done", "finished", "ok"),
    RunState.PARTIAL: (
        *("completed_with_errors", "complete_with_errors", "finished_with_errors", "succeeded_with_errors"),
        *("completed_with_warnings", "completed_with_failures", "partial", "partially_completed", "partial_success"),
        *("partially_succeeded", "partial_failure", "partially_failed"),
    ),
    RunState.FAILED: (
        *("failed", "failure", "fail", "error", "errored", "crashed", "timed_out", "timedout", "timeout", "expired"),
        *("rejected", "refused", "invalid", "moderated", "content_filtered", "nsfw", "dead", "unsuccessful"),
        *("interrupted", "blocked", "denied", "abandoned", "internal_error"),
    ),
    RunState.CANCELLED: (
        *("cancelled", "canceled", "cancelled_by_user", "canceled_by_user", "user_cancelled", "user_canceled"),
        *("aborted", "stopped", "terminated", "killed", "revoked", "halted", "deleted"),
    ),
}
_STATES: Final = {word.replace("_", ""): state for state, words in _WORDS.items() for word in words}
_BETWEEN: Final = re.compile(r"[\s_.-]+")
"""Separators inside a word; some providers use capitals instead."""

_ZERO_INSTANT: Final = re.compile(r"(0000|0001|1970-01-01)")
_MAX_WORD: Final = 200


def parse_state(word: Any) -> RunState | None:
    """Return the state that a provider's word means; None for an unknown word, or another type."""
    if not isinstance(word, str):
        return None
    return _STATES.get(_BETWEEN.sub("", word[:_MAX_WORD].lower()))


def guess_end(*, has_outputs: bool, is_completed: bool, has_error: bool) -> RunState:
    """Return the state of a run whose word is unknown, by what came with the word.

    Results, or an instant at which it was completed, are an end, whatever it is called; without either it goes on.
    """
    if not (has_outputs or is_completed):
        return RunState.RUNNING
    if has_error or not has_outputs:
        return RunState.PARTIAL if has_outputs else RunState.FAILED
    return RunState.SUCCEEDED


def is_instant(value: Any) -> bool:
    """Check whether a member such as `completed_at` names an instant, rather than a zero that means "not yet"."""
    if isinstance(value, str):
        return any(map(str.isdigit, value)) and _ZERO_INSTANT.match(value.strip()) is None
    return isinstance(value, int | float) and bool(value)


_MILLISECONDS_FROM: Final = 10_000_000_000
"""A number of seconds is below it until the year 2286, and a number of milliseconds above it since 1970."""


def parse_instant(value: Any) -> float | None:
    """Return an instant in seconds since 1970, from ISO 8601 or a number of seconds or milliseconds; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value >= _MILLISECONDS_FROM else value
        return float(seconds) if 0 < seconds < _MILLISECONDS_FROM else None
    if not isinstance(value, str) or not is_instant(value):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, OSError):
        return None
