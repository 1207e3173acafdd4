"""Every error of this package, sorted by who must act.

    FlowportError                 str() is one or two sentences, safe to show to a model or a person
    ├─ ConfigurationError         operator: a variable, flag or file says something we cannot use
    ├─ ProviderError              provider, operation
    │  ├─ ProviderUnreachable     nobody or the operator: no connection, or it broke
    │  ├─ ProviderRefused         operator: the key or the plan (401, 402, 403)
    │  ├─ ProviderBusy            nobody: ask later (429, 503)
    │  ├─ DayUsedUp               nobody: the key's requests of the day are used up; ask later
    │  ├─ ProviderRejected        model: the provider does not accept this request (other 4xx)
    │  └─ ProviderBroken          provider: 5xx, a redirect, or an answer that breaks its own contract
    ├─ AppUnsupported             nobody: one app cannot become a tool; the others are untouched
    ├─ AppNotFound                model: no such app, with the nearest names (`call_errors`)
    ├─ AppAmbiguous               model: several apps of this name (`call_errors`)
    ├─ DefinitionNotRead          nobody: the definition of an app is still being read (`call_errors`)
    ├─ ArgumentsInvalid           model: which arguments, what was expected
    ├─ UploadError                nobody: a file could not be put where the provider takes it (`network.errors`)
    ├─ FetchError                 url without its query: a file could not be fetched (`network.errors`)
    ├─ StoreError                operator: the store cannot be read or written
    ├─ RunNotFound                model: no such run
    ├─ UncertainStart               person: an equal run may have been started and paid for (`consent`)
    ├─ RunCapReached              person: a run costs more than one may (with the next three in `purse_errors`)
    ├─ DayCapReached              person: too little is left of the day's cap
    ├─ PriceUnknown               person: nobody knows what a run costs, and no such run is allowed
    ├─ PriceUnconfirmed           person: has to agree to the price, and the client cannot ask
    ├─ ConfirmationNeeded         person: to be asked before the call is made again (`consent`)
    ├─ NotConfirmed               model: the person does not want it (`consent`)
    ├─ RunNotOver                 person: a run that goes on cannot be erased (`call_errors`)
    └─ ResourceNotFound           model: no such resource (`call_errors`)

Errors carry fields and write their sentence once, in `__str__`. Text that came from a provider gets in only through
the `detail` field, which its parser cleaned. This module imports nothing of ours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

_MAX_ID_SHOWN: Final = 60
"""Characters of an id that a client made up; ours are shorter."""


class FlowportError(Exception):
    """The base of every error that Flowport raises on purpose."""


@dataclass(eq=False)
class ConfigurationError(FlowportError):
    """A setting cannot be used."""

    setting: str
    """The variable, flag or file as the person wrote it."""
    problem: str
    """What is wrong, as the end of a sentence that begins with the setting. Never the value of a key."""
    remedy: str
    """What to do, as a sentence."""
    others: tuple["ConfigurationError", ...] = ()
    """What else cannot be used, so that a person corrects all of it at once."""

    @classmethod
    def unite(cls, problems: Iterable["ConfigurationError"]) -> "ConfigurationError":
        """Return the first of at least one problem, with all others beside it."""
        first, *others = (replace(each, others=()) for one in problems for each in (one, *one.others))
        return replace(first, others=tuple(others))

    def __str__(self) -> str:
        return "\n".join([f"{self.setting} {self.problem}. {self.remedy}", *map(str, self.others)])


class Operation(StrEnum):
    """What was asked of a provider, in the words of an error sentence."""

    LIST_APPS = "list its apps"
    DESCRIBE_APP = "describe the app"
    START_RUN = "start the run"
    READ_RUN = "say how the run is doing"
    READ_RUNS = "say how several runs are doing"
    REQUEST_UPLOAD = "take the file"
    CANCEL_RUN = "cancel the run"
    READ_BALANCE = "tell the balance"
    ESTIMATE_PRICE = "estimate the price"


@dataclass(eq=False)
class ProviderError(FlowportError):
    """A provider did not do what was asked."""

    provider: str
    """The provider's name as people write it."""
    operation: Operation

    @property
    def cause(self) -> str:
        """What happened, as a sentence without advice: for a run that goes on and that nobody has to mend."""
        return f"{self.provider} did not {self.operation}."

    @property
    def advice(self) -> str:
        """What whoever asked can do, as a sentence; empty when the cause says it."""
        return ""

    @property
    def words(self) -> str:
        """The provider's own words, as a sentence; empty when it gave none."""
        detail = getattr(self, "detail", "")
        return f'{self.provider} says: "{detail}"' if detail else ""

    @property
    def explanation(self) -> str:
        """The cause with the provider's own words."""
        return f"{self.cause} {self.words}".strip()

    def __str__(self) -> str:
        return " ".join(part for part in (self.cause, self.advice, self.words) if part)


class Breakage(StrEnum):
    """How a connection failed; the value ends the sentence "could not ... because"."""

    NO_CONNECTION = "no connection could be made"
    CONNECT_TIMEOUT = "the connection took too long to make"
    NO_FREE_CONNECTION = "too many requests are under way here"
    UNUSABLE_ADDRESS = "the configured address cannot be used"
    UNUSABLE_SETTING = "a setting of the network cannot be used"
    UNKNOWN_HOST = "the name service does not know its host"
    PROXY_FAILED = "the proxy made no connection"
    UNTRUSTED = "its certificate could not be verified"
    BROKEN_OFF = "the connection broke off"
    NO_ANSWER = "no answer came in time"
    GARBLED = "the connection was closed without a proper answer"


NEVER_CONNECTED = frozenset(
    {
        Breakage.NO_CONNECTION,
        Breakage.CONNECT_TIMEOUT,
        Breakage.NO_FREE_CONNECTION,
        Breakage.UNUSABLE_ADDRESS,
        Breakage.UNUSABLE_SETTING,
        Breakage.UNKNOWN_HOST,
        Breakage.PROXY_FAILED,
        Breakage.UNTRUSTED,
    }
)
"""Breakages after which it is certain that the provider received nothing."""

_USUAL_REMEDIES: Final = {
    Breakage.NO_FREE_CONNECTION: "Try again in a moment.",
    Breakage.UNUSABLE_ADDRESS: "Correct the base URL in Flowport's configuration.",
    Breakage.UNUSABLE_SETTING: "Correct or remove it.",
    Breakage.PROXY_FAILED: "Check the proxy, or remove the variable that names it.",
    Breakage.UNTRUSTED: "Set SSL_CERT_FILE to the PEM file of your network's certificate authority.",
}
"""What to do where the network is not at fault, or not alone."""


@dataclass(eq=False)
class ProviderUnreachable(ProviderError):
    """The request did not get an answer."""

    breakage: Breakage
    reason: str = ""
    """What exactly failed, as the end of the same sentence; empty when the breakage says it all."""
    remedy: str = ""
    """What to do about it, as a sentence; empty for the general advice."""

    @property
    def was_sent(self) -> bool:
        """Whether the provider may have received the request."""
        return self.breakage not in NEVER_CONNECTED

    @property
    def is_lasting(self) -> bool:
        """Whether the next try fails alike, as long as the configuration is what it is."""
        return self.breakage is Breakage.UNUSABLE_SETTING

    @property
    def why(self) -> str:
        """How the connection failed, as the end of a sentence."""
        return self.reason or str(self.breakage)

    @property
    def cause(self) -> str:
        """How the connection failed."""
        return f"{self.provider} could not {self.operation}: {self.why}."

    @property
    def advice(self) -> str:
        """Look at the network, or at the setting that is wrong."""
        return self.remedy or _USUAL_REMEDIES.get(self.breakage, "Check the network and try again.")


@dataclass(eq=False)
class ProviderRefused(ProviderError):
    """The provider does not allow this key to do it."""

    status: int
    """The HTTP status: 401, 402 or 403."""
    detail: str = ""
    """The provider's own words, cleaned; empty when it gave none."""

    @property
    def cause(self) -> str:
        """Which of key, credits and plan it is."""
        reasons = {401: "does not accept the API key.", 402: "says that the account does not have enough credits."}
        return f"{self.provider} {reasons.get(self.status, 'does not allow this key or plan to do that.')}"

    @property
    def advice(self) -> str:
        """Where the operator mends it."""
        advice = {401: "Check the key in the client's configuration.", 402: "Add credits there and try again."}
        return advice.get(self.status, "Check the plan and the rights of the key.")


@dataclass(eq=False)
class ProviderBusy(ProviderError):
    """The provider asks to come back later."""

    status: int
    """The HTTP status: 429 or 503."""
    retry_after_seconds: float | None = None
    """The delay that the provider asked for; None when it named none."""

    @property
    def cause(self) -> str:
        """Whether it is the limit or the service."""
        reason = "allows no more requests just now" if self.status == 429 else "is not available just now"  # noqa: PLR2004
        return f"{self.provider} {reason} and did not {self.operation}."

    @property
    def advice(self) -> str:
        """When to come back."""
        if self.retry_after_seconds is None:
            return "Try again in about a minute."
        seconds = math.ceil(self.retry_after_seconds)
        return f"Try again in {seconds} second{'s' * (seconds != 1)}." if seconds else "Try again."


@dataclass(eq=False)
class DayUsedUp(ProviderError):
    """Nothing was sent, because no more requests of this key are allowed today."""

    resumes_seconds: float
    """When it goes on."""
    is_told: bool = True
    """Whether the provider says so; else it is our own count, of a limit that may be the person's own."""

    @property
    def cause(self) -> str:
        """Whose limit it is."""
        if self.is_told:
            return f"{self.provider} allows this key no more requests today and was not asked to {self.operation}."
        return f"The day's requests are used up, and {self.provider} was not asked to {self.operation}."

    @property
    def advice(self) -> str:
        """When to come back. As a duration, because the clock of this computer may be wrong."""
        minutes = max(1, math.ceil(self.resumes_seconds / 60))
        hours, rest = divmod(minutes, 60)
        parts = (f"{hours} h" * bool(hours), f"{rest} min" * bool(rest))
        return f"Requests are allowed again in about {' '.join(filter(None, parts))}."


@dataclass(frozen=True, slots=True)
class InputFlaw:
    """What a provider finds wrong with one input, in its own words, not yet cleaned."""

    place: str
    """Where in the request the input stands; empty when it does not say."""
    reason: str


_NOT_THERE: Final = {
    Operation.DESCRIBE_APP: "knows no such app",
    Operation.START_RUN: "knows no such app",
    Operation.ESTIMATE_PRICE: "knows no such app",
    Operation.READ_RUN: "knows no such run",
    Operation.READ_RUNS: "knows no such run",
    Operation.CANCEL_RUN: "knows no such run",
    Operation.REQUEST_UPLOAD: "has no place for uploads at the address that its clients use",
}
"""What a 404 means, by what was asked for; elsewhere it means nothing more than itself."""
_SENDS_FILES: Final = frozenset({Operation.REQUEST_UPLOAD, Operation.START_RUN})


@dataclass(eq=False)
class ProviderRejected(ProviderError):
    """The provider understood the request and does not accept it."""

    status: int
    """The HTTP status, 400 to 499."""
    detail: str = ""
    """The provider's own words, cleaned; empty when it gave none."""
    problem: str = ""
    """What it was, in our words, as a sentence without its full stop; empty when the status says it."""
    flaws: tuple[InputFlaw, ...] = ()
    """What of `detail` is about single inputs."""
    opening: str = ""
    """What of `detail` is about the whole, where there are flaws."""

    @property
    def cause(self) -> str:
        """What it does not accept."""
        reasons = {
            404: _NOT_THERE.get(self.operation, ""),
            413: "finds the request too large",
            415: "does not take this kind of file" if self.operation in _SENDS_FILES else "",
            422: "does not accept these inputs" if self.operation is Operation.START_RUN else "",
        }
        if self.operation is Operation.REQUEST_UPLOAD:
            reasons |= {405: reasons[404], 410: reasons[404]}
        reason = reasons.get(self.status) or f"rejected the request to {self.operation} (HTTP {self.status})"
        return f"{self.problem or f'{self.provider} {reason}'}."


@dataclass(eq=False)
class ProviderBroken(ProviderError):
    """The provider failed, or its answer breaks its own contract."""

    status: int
    """The HTTP status of the answer; 2xx when it is the body that cannot be used."""
    problem: str
    """What is wrong with the answer, in our words."""

    @property
    def cause(self) -> str:
        """What is wrong with the answer."""
        return f"{self.provider} could not {self.operation}: {self.problem}."

    @property
    def advice(self) -> str:
        """Nobody here can mend it."""
        return "The fault is on its side; try again later."


@dataclass(eq=False)
class AppUnsupported(FlowportError):
    """One app cannot become a tool; it is left out and named by `find_apps`."""

    app_id: str
    reason: str
    """Why, as the end of the sentence "left out because"."""

    def __str__(self) -> str:
        return f"The app {self.app_id} is left out because {self.reason}."


@dataclass(frozen=True, slots=True)
class ArgumentProblem:
    """One thing wrong with one argument."""

    argument: str
    """The argument's name as the tool's schema writes it, or as the client sent it when the schema has no such name."""
    problem: str
    """What is wrong, as the end of a sentence that begins with the name."""
    expected: str = ""
    """What would be right, as a sentence; empty when the problem says it."""

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}." + (f" {self.expected}" if self.expected else "")


@dataclass(eq=False)
class ArgumentsInvalid(FlowportError):
    """The arguments of a call do not fit the tool; nothing was started or spent."""

    problems: tuple[ArgumentProblem, ...]
    """At least one, in the order of the schema, unknown names last."""
    is_for_run: bool = True
    """Whether the call was to start a run; for a call that only asks, nothing being started is no news."""

    def __str__(self) -> str:
        opening = "Nothing was started. " if self.is_for_run else ""
        return opening + " ".join(str(problem) for problem in self.problems)


@dataclass(eq=False)
class StoreError(FlowportError):
    """The store cannot be used, so no paid run is started."""

    problem: str
    """What is wrong, as a clause."""
    remedy: str
    """What to do, as a sentence."""

    def __str__(self) -> str:
        return f"Flowport's record of runs cannot be used: {self.problem}. {self.remedy}"


@dataclass(eq=False)
class RunNotFound(FlowportError):
    """No run of this owner has this id."""

    run_id: str

    def __str__(self) -> str:
        return f"There is no run {self.run_id[:_MAX_ID_SHOWN]!r}. list_runs shows the runs that Flowport knows."
