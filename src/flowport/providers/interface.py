"""What Flowport asks of a provider's module, and the records they exchange.

A provider is pure: it builds requests and parses answers, and never sends anything. So every quirk of a provider can
be tested with a literal, and one transport serves them all.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from flowport.errors import Operation, ProviderBroken, ProviderBusy, ProviderError, ProviderRefused, ProviderRejected
from flowport.model import App, JsonValue, Output, RunState

NOT_TAKEN_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""Answers to a start request that prove that no run was started. So does every 3xx."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request to a provider's API."""

    operation: Operation
    method: str
    path: str
    """Below the base URL, percent-encoded."""
    body: Mapping[str, JsonValue] | None = None
    """Sent as JSON; None for no body."""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """As far as it arrived."""
    is_complete: bool = True
    """Whether the body arrived whole; the status is certain either way."""


@dataclass(frozen=True, slots=True)
class Started:
    """The provider took the run."""

    provider_run_id: str
    state: RunState


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The answer proves that no run was started."""

    error: ProviderError


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A run may or may not have been started; nobody can tell from here."""

    error: ProviderError
    answer: str
    """What came back, as text, for a person to look into; may be empty."""


StartOutcome: TypeAlias = Started | NotTaken | Uncertain


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An app that cannot be offered, with the reason."""

    app_id: str
    app_name: str
    reason: str
    """The end of the sentence "left out because"."""


@dataclass(frozen=True, slots=True)
class AppList:
    """One of a provider's lists, in its order."""

    apps: tuple[App, ...]
    """Without definitions."""
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One request that lists apps."""

    request: ApiRequest
    is_own: bool
    """Whether it lists the account's own apps."""


@dataclass(frozen=True, slots=True)
class RunLook:
    """How a run is doing, by its provider's word."""

    state: RunState
    outputs: tuple[Output, ...] = ()
    detail: str = ""
    """The provider's account of what went wrong, cleaned; empty when it says nothing."""
    unheard_status: str = ""
    """A status that no documentation names, cleaned; it counts as running. Empty when the status is a known one."""


@dataclass(frozen=True, slots=True)
class UploadPlace:
    """Where the provider takes one file."""

    put_url: str = field(repr=False)
    """Signed; good for `put_seconds`."""
    headers: Mapping[str, str]
    """To be sent with the file, letter by letter, and no key beside them."""
    put_seconds: float
    asset_url: str = field(repr=False)
    """What a run is given in the place of the file."""
    asset_seconds: float
    """How long the file lives there."""
    provider_upload_id: str


class Provider(Protocol):
    """The words of one provider."""

    name: str
    """In lower case, as the ledger and the settings write it."""
    title: str
    """As people write it."""
    requests_per_minute: int
    """The documented limit of one key."""
    requests_per_day: int
    """The documented limit of one key in 24 hours; 0 where none is known. An answer's headers overrule it."""
    max_inline_bytes: int
    """The largest file that may be sent inside a request."""
    inline_types: frozenset[str]
    """The MIME types of pictures that may be sent inside a request."""
    upload_types: frozenset[str]
    """The MIME types that may be uploaded; none when there is no endpoint for it."""
    max_upload_bytes: int
    takes_output_ids: bool
    """Whether a run takes the id of an earlier output of the same account in the place of a file."""
    can_cancel: bool
    style: str
    """Which of its path families it speaks."""
    styles: Sequence[str]
    """Every family that may be spoken, this one first. The next is tried when the lists of this one do not exist."""

    def speak(self, style: str) -> "Provider":
        """Return the same provider speaking another of `styles`."""
        ...

    def build_headers(self, api_key: str, host: str) -> Mapping[str, str]:
        """Return the headers that every request to this host carries."""
        ...

    def build_list_queries(self) -> Sequence[ListQuery]:
        """Return the requests that list apps: own ones first."""
        ...

    def parse_list(self, answer: ApiAnswer, *, is_own: bool) -> AppList:
        """Return the apps of a list, without definitions.

        Raises:
            ProviderError: The answer is a refusal, or no list.
        """
        ...

    def build_app_request(self, app_id: str) -> ApiRequest:
        """Return the request for an app's definition."""
        ...

    def parse_app(self, answer: ApiAnswer, app: App, *, read_at: float) -> App:
        """Return the app with its inputs.

        Raises:
            ProviderError: The answer is a refusal, or not this app's definition.
            AppUnsupported: The definition cannot become a tool.
        """
        ...

    def build_start_request(self, app: App, inputs: Mapping[str, JsonValue]) -> ApiRequest:
        """Return the request that starts a run. Each one that is sent may cost money."""
        ...

    def is_creation_id(self, text: str) -> bool:
        """Tell whether a media argument looks like the provider's own id of a file, and like nothing else."""
        ...

    def build_upload_request(self, mime_type: str) -> ApiRequest:
        """Return the request for a place to put one file of a type among `upload_types`."""
        ...

    def parse_upload(self, answer: ApiAnswer) -> UploadPlace:
        """Return the place.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
        ...

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Return whether the run was started; never raises for an answer."""
        ...

    def build_look_request(self, provider_run_id: str) -> ApiRequest:
        """Return the request that tells how a run is doing."""
        ...

    def parse_look(self, answer: ApiAnswer, *, now: float) -> RunLook:
        """Return how the run is doing.

        Args:
            now: When the answer came; links that do not say how long they live are counted from it.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """The parts of an answer that a refusal is made of."""

    provider: str
    operation: Operation
    detail: str = ""
    """The provider's words, cleaned."""
    headers: Mapping[str, str] = field(default_factory=dict)


def build_refusal(status: int, refusal: Refusal) -> ProviderError:
    """Return the error for an HTTP status that is not a success."""
    provider, operation, detail = refusal.provider, refusal.operation, refusal.detail
    if status in {401, 402, 403}:
        return ProviderRefused(provider, operation, status, detail)
    if status in {429, 503}:
        return ProviderBusy(provider, operation, status, parse_retry_after(refusal.headers))
    if 400 <= status < 500:  # noqa: PLR2004
        return ProviderRejected(provider, operation, status, detail)
    if 300 <= status < 400:  # noqa: PLR2004
        return ProviderBroken(provider, operation, status, f"it answered with a redirect (HTTP {status})")
    return ProviderBroken(provider, operation, status, f"it answered HTTP {status}")


def is_not_taken(status: int) -> bool:
    """Tell whether this status, answered to a start request, proves that no run was started."""
    return status in NOT_TAKEN_STATUSES or 300 <= status < 400  # noqa: PLR2004


MAX_INTEGER_DIGITS = 18
"""What fits into the 64 bits of a database; no id or price here is longer."""

MAX_RETRY_AFTER_SECONDS = 300.0
"""The longest delay we believe; above it a mistaken header would stop an account for hours."""


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the delay that the provider asked for, or None; dates are not read, because no provider here sends them."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None


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


def build_inline_media(data: bytes) -> str:
    """Return a file as the base64 text that goes into a request."""
    return base64.b64encode(data).decode("ascii")
