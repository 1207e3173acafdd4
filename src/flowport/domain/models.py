"""The records that all modules share.

All are frozen. Units and the meaning of None are stated below each field. Instants are seconds since the Unix epoch, by
this machine's clock, and their names end in `_at`; durations end in `_seconds`, sizes in `_bytes`, money in `_credits`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

MAX_INPUTS: Final = 64
"""Inputs of one tool; more would crowd out the other tools."""

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
"""A value as `json.loads` returns it."""

SANDBOX_HOST: Final = "sandbox"
"""The host of the sandbox's account, whose credits are not real money."""

BATCH_PREFIX: Final = "batch_"
"""The prefix of every batch id; no run id has it."""

FIRST_LEASE: Final = 1
"""The lease of the process that accepted a run."""

LOCAL_OWNER = "local"
"""The owner of every run that is requested over stdio."""


class InputKind(StrEnum):
    """What an app's input takes."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    AVMEDIA = "avmedia"
    """A video or a sound."""
    MEDIA = "media"
    """A file of a kind that the provider does not name."""
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    SELECT = "select"
    ANY = "any"
    """An unknown type: text or JSON, passed on unchanged."""

    @property
    def is_media(self) -> bool:
        """Whether the value is a file rather than a value of JSON."""
        return self in {InputKind.IMAGE, InputKind.VIDEO, InputKind.AUDIO, InputKind.AVMEDIA, InputKind.MEDIA}


Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select input."""

    value: Scalar
    """The value that is sent to the provider."""
    label: str
    """The text shown to users; equal to the value if the provider gives no label."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of an app, as its provider defines it."""

    id: str
    """The provider's id of the input; stable across renames of its label."""
    run_key: str
    """The key that a run request uses; never shown to a client."""
    kind: InputKind
    label: str
    """The builder's words, not cleaned; may be empty."""
    is_required: bool
    default: JsonValue = None
    """None when there is no default."""
    options: tuple[Option, ...] = ()
    """The choices of a select input; empty if the provider does not publish them, and then any text is accepted."""
    minimum: float | None = None
    maximum: float | None = None
    """Inclusive bounds of a number; None when the provider gives none."""
    is_list: bool = False
    """Whether the input takes several values."""
    name: str = ""
    """A readable key that the provider shows but does not accept, used for the argument's name; may be empty."""
    max_length: int | None = None
    """The most characters of a text; None if the provider states no limit."""
    max_items: int | None = None
    """The most values of a list; None if the provider states no limit."""
    is_open: bool = False
    """Whether a select also accepts values other than its options."""
    description: str = ""
    """The builder's description, not cleaned; may be empty."""
    placeholder: str = ""
    """The example in the builder's empty form field, not cleaned; may be empty."""


@dataclass(frozen=True, slots=True)
class App:
    """One runnable workflow of a provider."""

    provider: str
    """The provider's name, in lower case."""
    id: str
    name: str
    """The builder's name for it, not cleaned."""
    is_own: bool
    """Whether the app belongs to the account; otherwise it is a published app."""
    price_credits: float | None
    """The advertised price of one run; None when the provider does not say."""
    inputs: tuple[Input, ...] | None = None
    """In the provider's order; None while the definition has not been read."""
    read_at: float | None = None
    """When the definition was read; None while it has not been."""


class Source(StrEnum):
    """Whose apps are read and shown."""

    ALL = "all"
    OWN = "own"
    PUBLISHED = "published"

    def includes(self, *, is_own: bool) -> bool:
        """Return whether this source includes own or published apps."""
        return self is Source.ALL or is_own == (self is Source.OWN)


class OutputKind(StrEnum):
    """What a run made."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"
    FILE = "file"


DATA_SCHEME: Final = "data:"


@dataclass(frozen=True, slots=True)
class Output:
    """One result of a run."""

    n: int
    """Its place among the run's outputs, from 1."""
    kind: OutputKind
    url: str | None
    """The provider's URL, with a token that expires, or a data URI with the content until it is saved; None for text."""
    provider_output_id: str = ""
    """The provider's id of the file; empty when it has none."""
    mime_type: str = ""
    """From the bytes once saved, otherwise from the URL; empty if unknown."""
    size_bytes: int | None = None
    """None until it was fetched."""
    width: int | None = None
    height: int | None = None
    """In pixels; None for sound and text, and if unknown."""
    duration_seconds: float | None = None
    """None for pictures and text, and if unknown."""
    expires_at: float | None = None
    """When the URL stops working; None if the provider does not state it."""
    saved_path: str = ""
    """The path of the saved file; empty if it is not saved."""
    save_problem: str = ""
    """Why it is not saved, as a sentence; empty if it is saved or was not tried yet."""
    text: str = ""
    """The result itself if it is text, otherwise accompanying text: a caption, further links."""

    @property
    def link(self) -> str | None:
        """The provider's URL; None for text, and for a file that arrived inside an answer."""
        return None if self.url is not None and self.url.startswith(DATA_SCHEME) else self.url


def get_url_place(url: str) -> str:
    """Return a URL without its query and fragment, which may hold a token that expires."""
    return url.partition("#")[0].partition("?")[0]


class RunState(StrEnum):
    """Where a run is. See ARCHITECTURE.md for the transitions."""

    ACCEPTED = "accepted"
    """Recorded; nothing was sent to the provider."""
    STARTING = "starting"
    """The start request may be on its way. The only state that can become unknown."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    """Finished with errors and some outputs."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """The start request may have arrived, but no run id came back. It is never sent again automatically."""

    @property
    def is_final(self) -> bool:
        """Whether the run does not change any more on its own."""
        return self in FINAL_STATES

    @property
    def is_at_provider(self) -> bool:
        """Whether the provider has the run and is not done with it."""
        return self in {RunState.QUEUED, RunState.RUNNING}


FINAL_STATES = frozenset({RunState.SUCCEEDED, RunState.PARTIAL, RunState.FAILED, RunState.CANCELLED, RunState.UNKNOWN})


class Urgency(StrEnum):
    """How soon the result of a run is wanted."""

    WAITED = "waited"
    """A call of its own requested it, and waits or has just waited."""
    BATCH = "batch"
    """It is one of many that were requested together; only the whole matters."""


@dataclass(frozen=True, slots=True)
class Account:
    """One provider key. It has a request limit, a catalogue and the runs that were paid with it."""

    provider: str
    host: str
    """Host and port of the provider's address; `sandbox` for the built-in one, whose port changes at every start."""
    fingerprint: str
    """A short digest of the key, so the key itself is never stored."""

    @property
    def id(self) -> str:
        """The name under which the store and the cache keep this account."""
        return f"{self.provider}:{self.host}:{self.fingerprint}"

    @property
    def scope(self) -> str:
        """The part of the id that survives a change of key; tool names belong to it."""
        return f"{self.provider}:{self.host}"


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of an app, as the store knows it."""

    id: str
    """Flowport's own id, assigned when the run is accepted: `run_` and ten letters and digits."""
    account_id: str
    owner: str
    provider: str
    app_id: str
    app_name: str
    """Cleaned, one line."""
    tool_name: str
    arguments_json: str
    """The arguments in readable form; inlined files are replaced by a short note."""
    raw_digest: str
    """SHA-256 of the arguments as received."""
    canonical_digest: str
    """SHA-256 of the canonical arguments and the app's definition."""
    state: RunState
    accepted_at: float
    process_id: str
    """The Flowport process that follows the run."""
    lease: int = FIRST_LEASE
    """Counts the processes that followed the run: each claim raises it, and what an earlier holder records no longer counts."""
    price_credits: float | None = None
    """The advertised price when the run was accepted; None when unknown."""
    reserved_credits: float = 0.0
    """Held back for the run until it ends; 0 once it has ended or was not accepted by the provider."""
    spent_credits: float = 0.0
    """What is counted for the run; 0 also if no price is known, which `cost_credits` distinguishes. An unknown run keeps its
    reservation here."""
    is_cost_reported: bool = False
    """Whether the provider itself reported `spent_credits`, so that 0 means free."""
    provider_run_id: str = ""
    """Empty until the provider gave one."""
    starting_at: float | None = None
    started_at: float | None = None
    """When the provider's id was written."""
    finished_at: float | None = None
    failure: str = ""
    """Why the run failed or is unknown, or which parts failed, as a sentence safe to show; empty on success."""
    start_response: str = ""
    """The answer to a start request whose outcome was unknown, capped; for diagnosis."""
    reported_at: float | None = None
    """When an answer named this run to its caller; None when no answer did."""
    delivered_at: float | None = None
    """When an answer that holds the outputs was last written to a client; None while none was."""
    is_followed: bool = True
    """Whether the run is still polled; false after `cancel_run(stop_following: true)`."""
    running_at: float | None = None
    """When the provider first reported the run as running; None if it never did, as far as known."""
    delivered_to: str = ""
    """The client of that answer, as it calls itself, cleaned; empty when it has no name."""
    delivered_boot_id: str = ""
    delivered_boot_seconds: float | None = None
    """The same instant by the boot clock; like `boot_id` and `accepted_boot_seconds`."""
    is_delivery_cancelled: bool = False
    """Whether the request of that answer was cancelled after the answer was written."""
    boot_id: str = ""
    """The boot of the machine in which the run was accepted; empty if the system has no boot id."""
    accepted_boot_seconds: float | None = None
    """Seconds from that boot to the acceptance, sleep included, by a clock that cannot be set. None like `boot_id`."""
    reminder_count: int = 0
    """How many answers to other calls mentioned that this run is over and undelivered."""
    adoption_tried_by: str = ""
    """The account that last tried to read the run after its own key was removed; may be empty."""
    notes: str = ""
    """How its files were changed before they were sent, as sentences; empty if they were sent unchanged."""
    batch_id: str = ""
    """The batch of which this run is a row; empty for a run of its own."""
    row_count: int = 0
    """How many runs a batch requests. A batch is stored as a run of its own, which is never sent to the provider; 0 for a run."""
    start_request: str = ""
    """Method and path of the start request; empty while it was not sent."""
    unknown_at: float | None = None
    """When its outcome became unknown; it stays after a witness has settled it."""
    witness: str = ""
    """What settled an unknown start: "webhook", "run list" or "person"; empty for the reply itself."""
    witnessed_at: float | None = None
    outputs: tuple[Output, ...] = field(default=())

    @property
    def cost_credits(self) -> float | None:
        """The counted cost of the run; None while it is not over, and if a run was sent whose price is unknown."""
        is_sent = self.started_at is not None or self.state is RunState.UNKNOWN
        is_known = self.price_credits is not None or self.spent_credits > 0 or self.is_cost_reported
        if not self.state.is_final or (is_sent and not is_known):
            return None
        return self.spent_credits

    @property
    def urgency(self) -> Urgency:
        """How soon its result is wanted, from the record alone."""
        return Urgency.BATCH if self.batch_id else Urgency.WAITED

    @property
    def is_batch(self) -> bool:
        """Whether it stands for many runs, its rows."""
        return self.row_count > 0


ENDED_UNSENT: Final = "Flowport ended before this run was sent to the provider; nothing was charged."
ENDED_WHILE_STARTING: Final = (
    "Flowport ended while it was starting this run, so the provider may or may not have it. It may have been charged, and "
    "is not sent again by itself; the provider's website shows whether it is there."
)
ENDED_UNRESTORED: Final = (
    "Flowport ended before this run was sent to the provider, and its inputs are no longer exactly what they were. Nothing "
    "was charged; call the tool again."
)
ROW_CHANGED: Final = (
    "A file of this row, the app or its price has changed since the batch was accepted, so the row was not sent, and "
    "nothing was charged."
)
"""The failures of runs whose process ended before the provider had them or had acknowledged them."""


@dataclass(frozen=True, slots=True)
class BootTime:
    """An instant by a clock that cannot be set: it counts from the boot of the machine, during sleep too."""

    boot_id: str
    """The boot of the machine; instants of different boots cannot be compared."""
    seconds: float

    def subtract(self, seconds: float) -> "BootTime":
        """Return the instant this many seconds earlier."""
        return BootTime(self.boot_id, self.seconds - seconds)
