"""What Flowport requires of a provider, the capabilities that it may offer, and the records they exchange.

A provider is pure: it builds requests and parses answers, and never sends anything. So every quirk of a provider is
tested with a literal, and one API client serves them all.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from flowport.domain.errors import (
    Operation,
    ProviderError,
)
from flowport.domain.models import App, JsonValue, Output, RunState
from flowport.providers.lost_runs import ListedRun, RecentOutput


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
gets no answer raises `ProviderUnreachable` inside it. As pure as a parser: its caller sends the requests."""


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
    """A run may or may not have been started; the answer does not say."""

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
    """The status of a run, as its provider reports it."""

    state: RunState
    outputs: tuple[Output, ...] = ()
    detail: str = ""
    """The provider's account of what went wrong, cleaned; empty when it says nothing."""
    unknown_status: str = ""
    """A status that no documentation names, cleaned; it counts as running. Empty when the status is a known one."""
    unread: tuple[str, ...] = ()
    """The beginnings of the items of the result that could not be read, as they came."""
    cost_credits: float | None = None
    """What the provider says that the run has cost; None when it does not say, and then its price counts."""
    reported_run_id: str = field(default="", compare=False)
    """The run that the answer says it describes; empty when it does not say."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What a key has left, as its provider reports it."""

    available_credits: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file that the provider took inside the request for it."""

    asset_url: str = field(repr=False)
    """What a run is given in the place of the file."""
    asset_seconds: float
    """How long the file lives there."""
    provider_upload_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPlace(UploadedFile):
    """Where the provider takes one file, and what it is there."""

    put_url: str = field(repr=False)
    """Signed; good for `put_seconds`."""
    headers: Mapping[str, str]
    """To be sent with the file, letter by letter, and no key beside them."""
    put_seconds: float


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What files a capability takes."""

    types: frozenset[str]
    """MIME types."""
    max_bytes: int
    """Of one file."""


@dataclass(frozen=True, slots=True)
class PlacedUploads(FileLimits):
    """Capability: a file is put at an address that the provider names for it."""

    request_place: Callable[[str], Conversation[UploadPlace]]
    """Returns a place for one file of a MIME type."""


@dataclass(frozen=True, slots=True)
class WholeUploads(FileLimits):
    """Capability: a file goes up inside one request."""

    send: Callable[[str, bytes], Conversation[UploadedFile]]
    """Uploads a file of a MIME type."""


CancelRun: TypeAlias = Callable[[str], Conversation[None]]
"""Capability: cancels a run by its id. How the run ended is read by a poll."""

ReadBalance: TypeAlias = Callable[[], Conversation[Balance]]
"""Capability: reads what the key has left."""

EstimatePrice: TypeAlias = Callable[[App], Conversation[float | None]]
"""Capability: estimates what a run would cost now, in credits; None when it is unknown."""

FindLostRun: TypeAlias = Callable[[App, Mapping[str, JsonValue], float], Conversation[tuple[ListedRun, ...]]]
"""Capability: lists the runs of an app that began since a time, oldest first, with regard to these inputs. It may show the
run of a start whose reply was lost."""


ListRecentOutputs: TypeAlias = Callable[[float, float], Conversation[tuple[RecentOutput, ...]]]
"""Capability: lists the files that were made since a time, newest first; the second time is now, for links that do not say
how long they live. They name no run, so only a person can recognize what belongs to one."""


class BulkStatus(Protocol):
    """Capability: one request reads the status of several runs."""

    most: int
    """How many runs one request may name."""

    def build_request(self, provider_run_ids: Sequence[str]) -> ApiRequest:
        """Return the request for the status of these runs, at most `most`."""

    def parse(self, answer: ApiAnswer, provider_run_ids: Sequence[str], *, now: float) -> Mapping[str, RunStatus]:
        """Return the status of the runs by their ids, each as a poll of it alone would; one that is missing is polled alone.

        Args:
            provider_run_ids: The runs that were asked for; others are ignored.
            now: When the answer came, as for `Provider.parse_status`.

        Raises:
            ProviderError: The answer is a refusal, or describes none of them.
        """


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where the provider reports changes of one run."""

    url: str = field(repr=False)
    """It can be known only from the start request, so it must not be logged."""
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    """Repeated in each event by providers that repeat something."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What a webhook says: that a run has changed, so it is polled now. Its outcome is never believed from here."""

    provider_run_id: str
    name: str
    """Of the event, cleaned; empty when it has none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the start asked to have repeated in each event."""
    is_beginning: bool = False
    """Whether it says that the run goes on, so that nothing is to be read yet; false for an end and for unknown names."""


class Webhooks(Protocol):
    """Capability: the provider reports changes of a run to an address of ours."""

    def get_id(self, headers: Mapping[str, str]) -> str:
        """Return the id of a delivery, which is the same each time it is repeated; empty when it has none."""

    def is_authentic(self, headers: Mapping[str, str], body: bytes, secret: str, *, now: float) -> bool:
        """Check that the secret signed the body not long ago.

        Args:
            headers: Names in lower case.
            now: In seconds since 1970.
        """

    def parse(self, body: bytes) -> WebhookEvent:
        """Return what an event says.

        Raises:
            ValueError: It names no run.
        """


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider offers beside runs; None for what it does not offer."""

    inline: FileLimits | None = None
    """Of pictures inside the request of a run."""
    upload: PlacedUploads | WholeUploads | None = None
    is_output_id: Callable[[str], bool] | None = None
    """Checks whether a text is certainly the id of an earlier output, which a run takes in place of a file."""
    cancel: CancelRun | None = None
    balance: ReadBalance | None = None
    price: EstimatePrice | None = None
    """None where the lists name the price."""
    bulk_status: BulkStatus | None = None
    find_lost_run: FindLostRun | None = None
    list_recent_outputs: ListRecentOutputs | None = None
    webhooks: Webhooks | None = None


class Provider(Protocol):
    """The API of one provider."""

    name: str
    """In lower case, as the store and the settings write it."""
    title: str
    """As people write it."""
    requests_per_minute: int
    """The documented limit of one key."""
    requests_per_day: int
    """The documented limit of one key in 24 hours; 0 where none is known. An answer's headers overrule it."""
    reads_ahead: bool
    """Whether the definitions of apps without a tool are read before a caller asks for one."""
    refresh_seconds: float
    """Between two readings of the lists."""
    left_out_seconds: float
    """How long an app that had to be left out is not read again, except by a new process; 0 for until the lists are."""
    declared_ids: frozenset[str]
    """The apps of which a person has declared something; their definitions are read again at each start."""
    style: str
    """Which of its path families this object uses."""

    capabilities: Capabilities

    @property
    def alternatives(self) -> Sequence["Provider"]:
        """The same provider in its other path families, to be tried in order when the lists of this one do not exist."""

    def build_headers(self, api_key: str, host: str) -> Mapping[str, str]:
        """Return the headers that every request to this host carries."""

    def build_list_queries(self) -> Sequence[ListQuery]:
        """Return the requests that list apps: own ones first."""

    def parse_list(self, answer: ApiAnswer, *, is_own: bool) -> AppList:
        """Return the apps of a list, without definitions.

        Raises:
            ProviderError: The answer is a refusal, or no list.
        """

    def describe_app(self, app: App, *, read_at: float) -> Conversation[App]:
        """Return the app with its inputs.

        Raises:
            ProviderError: An answer is a refusal, or not this app's definition.
            AppUnsupported: The definition cannot become a tool.
        """

    def build_start_request(
        self, app: App, inputs: Mapping[str, JsonValue], webhook: WebhookTarget | None = None
    ) -> ApiRequest:
        """Return the request that starts a run. Each one that is sent may cost money.

        Args:
            webhook: Where changes of the run are reported; None for nowhere, and for providers without webhooks.
        """

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Return whether the run was started; never raises for an answer."""

    def build_status_request(self, provider_run_id: str) -> ApiRequest:
        """Return the request for the status of a run."""

    def parse_status(self, answer: ApiAnswer, *, now: float) -> RunStatus:
        """Return the status of a run.

        Args:
            now: When the answer came; links that do not say how long they live are counted from it.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
