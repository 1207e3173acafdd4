"""What Flowport asks of a provider's module, and the records they exchange.

A provider is pure: it builds requests and parses answers, and never sends anything. So every quirk of a provider can
be tested with a literal, and one transport serves them all.
"""

import base64
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

from flowport.domain.errors import (
    InputFlaw,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from flowport.domain.models import App, JsonValue, Output, RunState
from flowport.providers.retry_after import parse_retry_after

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
class ToolOffer:
    """One tool of a provider's own MCP server, as that server describes it."""

    name: str
    description: str
    arguments: frozenset[str]
    """The names of its arguments."""


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One call of a tool of a provider's own MCP server, for what its API does not document.

    It is answered like a request: with status 200 and what the tool returned as JSON, 400 for a tool that failed, 404 for
    one that is not there, and 405 for one that must not be called as its server describes it.
    """

    operation: Operation
    tool: str
    build_arguments: Callable[[ToolOffer], Mapping[str, JsonValue] | None]
    """Returns the arguments for the tool as it is described just before the call; None when it must not be called."""
    path: str = "/mcp"
    """Of the server, below the base URL."""


ProviderRequest: TypeAlias = ApiRequest | ToolRequest


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


T = TypeVar("T")

Conversation: TypeAlias = Generator[ProviderRequest, ApiAnswer, T]
"""Something that takes several requests: it yields each, is sent the answer, and returns what came of it. A request that
gets no answer raises `ProviderUnreachable` inside it. As pure as a parser, since whoever drives it does the sending."""


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
    next_page: ApiRequest | None = None
    """The request for what follows; None when this is all."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One request that lists apps."""

    request: ApiRequest
    is_own: bool
    """Whether it lists the account's own apps."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run is doing, by its provider's word."""

    state: RunState
    outputs: tuple[Output, ...] = ()
    detail: str = ""
    """The provider's account of what went wrong, cleaned; empty when it says nothing."""
    unheard_status: str = ""
    """A status that no documentation names, cleaned; it counts as running. Empty when the status is a known one."""
    unread: tuple[str, ...] = ()
    """The beginnings of the items of the result that could not be read, as they came."""
    cost_credits: float | None = None
    """What the provider says that the run has cost; None when it does not say, and then its price counts."""
    told_run_id: str = field(default="", compare=False)
    """The run that the answer says it describes; empty when it does not say."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What a key has left, by its provider's word."""

    available_credits: float


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


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that the provider took inside the request for it."""

    asset_url: str = field(repr=False)
    """What a run is given in the place of the file."""
    asset_seconds: float
    """How long the file lives there."""
    provider_upload_id: str = ""


class BulkStatus(Protocol):
    """How one request tells of several runs."""

    most: int
    """How many runs one request may name."""

    def build_request(self, provider_run_ids: Sequence[str]) -> ApiRequest:
        """Return the request that tells how these runs are doing, at most `most`."""
        ...

    def parse(self, answer: ApiAnswer, provider_run_ids: Sequence[str], *, now: float) -> Mapping[str, RunStatus]:
        """Return how the runs are doing, by their ids, each as its own look would tell it; one that is missing is read by itself.

        Args:
            provider_run_ids: What was asked for; nothing else is told.
            now: When the answer came, as for `Provider.parse_status`.

        Raises:
            ProviderError: The answer is a refusal, or tells of none of them.
        """
        ...


class Provider(Protocol):
    """The words of one provider. What it cannot do it answers with None, or with False."""

    name: str
    """In lower case, as the store and the settings write it."""
    title: str
    """As people write it."""
    requests_per_minute: int
    """The documented limit of one key."""
    requests_per_day: int
    """The documented limit of one key in 24 hours; 0 where none is known. An answer's headers overrule it."""
    takes_inline_files: bool
    """Whether a run takes a file inside its request."""
    max_inline_bytes: int
    """The largest file that may be sent inside a request, be it a run's or an upload's."""
    inline_types: frozenset[str]
    """The MIME types of pictures that may be sent inside a request."""
    upload_types: frozenset[str]
    """The MIME types that may be uploaded; none when there is no endpoint for it."""
    max_upload_bytes: int
    takes_output_ids: bool
    """Whether a run takes the id of an earlier output of the same account in the place of a file."""
    can_cancel: bool
    """Whether a run that was started can be cancelled."""
    reads_ahead: bool
    """Whether the definitions of apps without a tool are read before somebody asks for one."""
    refresh_seconds: float
    """Between two readings of the lists."""
    left_out_seconds: float
    """How long an app that had to be left out is not read again, but by a new process; 0 for until the lists are."""
    bulk_status: BulkStatus | None
    """How one request tells of several runs; None where each has to be read by itself."""
    declared_ids: frozenset[str]
    """The apps of which a person has declared something; their definitions are read anew at each start."""
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

    def describe_app(self, app: App, *, read_at: float) -> Conversation[App]:
        """Return the app with its inputs.

        Raises:
            ProviderError: An answer is a refusal, or not this app's definition.
            AppUnsupported: The definition cannot become a tool.
        """
        ...

    def estimate_price(self, app: App) -> Conversation[float | None] | None:
        """Return the credits that a run would cost now, which are None when nobody knows; None when it tells no price by itself.

        Raises:
            ProviderError: An answer is a refusal, or breaks the contract.
        """
        ...

    def cancel_run(self, provider_run_id: str) -> Conversation[None] | None:
        """Have a run cancelled; None when that cannot be done. How the run ended is for a look to tell.

        Raises:
            ProviderError: It is not cancelled, or nobody knows.
        """
        ...

    def read_balance(self) -> Conversation[Balance] | None:
        """Return what the key has left; None when nobody tells.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
        ...

    def request_place(self, mime_type: str) -> Conversation[UploadPlace] | None:
        """Return a place to put one file of a type among `upload_types`; None when files go up whole.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
        ...

    def upload_whole(self, mime_type: str, data: bytes) -> Conversation[UploadedFile] | None:
        """Upload a file inside the request for it; None when a place has to be asked for.

        Raises:
            ProviderError: The answer is a refusal, or names no address.
        """
        ...

    def build_start_request(self, app: App, inputs: Mapping[str, JsonValue]) -> ApiRequest:
        """Return the request that starts a run. Each one that is sent may cost money."""
        ...

    def is_creation_id(self, text: str) -> bool:
        """Tell whether a media argument looks like the provider's own id of a file, and like nothing else."""
        ...

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Return whether the run was started; never raises for an answer."""
        ...

    def build_status_request(self, provider_run_id: str) -> ApiRequest:
        """Return the request that tells how a run is doing."""
        ...

    def parse_status(self, answer: ApiAnswer, *, now: float) -> RunStatus:
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
    flaws: tuple[InputFlaw, ...] = ()
    """What they say of single inputs."""
    opening: str = ""
    """What they say of the whole, where there are flaws."""


def build_refusal(status: int, refusal: Refusal) -> ProviderError:
    """Return the error for an HTTP status that is not a success."""
    provider, operation, detail = refusal.provider, refusal.operation, refusal.detail
    if status in {401, 402, 403}:
        return ProviderRefused(provider, operation, status, detail)
    if status in {429, 503}:
        return ProviderBusy(provider, operation, status, parse_retry_after(refusal.headers))
    if 400 <= status < 500:  # noqa: PLR2004
        return ProviderRejected(
            provider, operation, status, detail, flaws=refusal.flaws, opening=refusal.opening if refusal.flaws else ""
        )
    if 300 <= status < 400:  # noqa: PLR2004
        return ProviderBroken(provider, operation, status, f"it answered with a redirect (HTTP {status})")
    return ProviderBroken(provider, operation, status, f"it answered HTTP {status}")


def is_not_taken(status: int) -> bool:
    """Tell whether this status, answered to a start request, proves that no run was started."""
    return status in NOT_TAKEN_STATUSES or 300 <= status < 400  # noqa: PLR2004


def build_inline_media(data: bytes) -> str:
    """Return a file as the base64 text that goes into a request."""
    return base64.b64encode(data).decode("ascii")
