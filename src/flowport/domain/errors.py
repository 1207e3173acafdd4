"""Every error of this package, sorted by who must act.

    FlowportError                 str() is one or two sentences, safe to show to a model or a user
    ├─ ConfigurationError         operator: a variable, flag or file cannot be used
    ├─ ProviderError              provider, operation
    │  ├─ ProviderUnreachable     network or operator: no connection, or it broke
    │  ├─ ProviderRefused         operator: the key or the plan (401, 402, 403)
    │  ├─ ProviderBusy            wait: ask later (429, 503)
    │  ├─ DayUsedUp               wait: the key's requests of the day are used up
    │  ├─ ProviderRejected        model: the provider does not accept this request (other 4xx)
    │  └─ ProviderBroken          provider: 5xx, a redirect, or an answer that breaks its own contract
    ├─ AppUnsupported             no action: one app cannot become a tool; the others are unaffected
    ├─ AppNotFound                model: no such app, with the nearest names (`call_errors`)
    ├─ AppAmbiguous               model: several apps of this name (`call_errors`)
    ├─ DefinitionNotRead          wait: the definition of an app is still being read (`call_errors`)
    ├─ ArgumentsInvalid           model: which arguments, what was expected
    ├─ UploadError                network: a file could not be uploaded (`network.errors`)
    ├─ FetchError                 network: a file could not be fetched (`network.errors`)
    ├─ StoreError                operator: the store cannot be read or written
    ├─ RunNotFound                model: no such run
    ├─ UncertainStart             user: an equal run may have been started and paid for (`call_errors`)
    ├─ RunCapReached              user: the price exceeds the limit for one run (with the next five in `call_errors`)
    ├─ DayCapReached              user: too little is left of the daily limit; of the monthly one: MonthCapReached
    ├─ AccountCapReached          user: too little is left of what all people who use the account may spend
    ├─ PriceUnknown               user: the price is unknown, and no such run is allowed
    ├─ PriceUnconfirmed           user: has to agree to the price, and the client cannot ask
    ├─ ConfirmationNeeded         user: is asked before the call is repeated (`call_errors`)
    ├─ NotConfirmed               model: the user declined; FilesFull: files fill the quota (both in `call_errors`)
    ├─ RunNotOver                 user: cannot erase a run that goes on; TooManyCalls, ServerEnding: wait (`call_errors`)
    └─ ResourceNotFound           model: no such resource (`call_errors`)

Errors carry fields and format their sentence once, in `__str__`. A provider's text appears only in the field `detail`,
which its parser cleaned. This module imports nothing of Flowport.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

_MAX_ID_SHOWN: Final = 60
"""Characters of an id that are shown; ids of Flowport are shorter."""


class FlowportError(Exception):
    """The base of every error that Flowport raises on purpose."""


@dataclass(eq=False)
class ConfigurationError(FlowportError):
    """A setting cannot be used."""

    setting: str
    """The variable, flag or file as it was written."""
    problem: str
    """The problem, as the end of a sentence that begins with the setting. Never contains a key."""
    remedy: str
    """What to do, as a sentence."""
    others: tuple["ConfigurationError", ...] = ()
    """Further settings that cannot be used, so all are corrected at once."""

    @classmethod
    def unite(cls, problems: Iterable["ConfigurationError"]) -> "ConfigurationError":
        """Return the first problem with all others attached; needs at least one."""
        first, *others = (replace(each, others=()) for one in problems for each in (one, *one.others))
        return replace(first, others=tuple(others))

    def __str__(self) -> str:
        return "\n".join([f"{self.setting} {self.problem}. {self.remedy}", *map(str, self.others)])


class Operation(StrEnum):
    """A request to a provider; the value is used in error sentences."""

    LIST_APPS = "list its apps"
    DESCRIBE_APP = "describe the app"
    START_RUN = "start the run"
    READ_RUN = "report the state of the run"
    READ_RUNS = "report the state of several runs"
    REQUEST_UPLOAD = "accept the file"
    CANCEL_RUN = "cancel the run"
    READ_BALANCE = "report the balance"
    ESTIMATE_PRICE = "estimate the price"


@dataclass(eq=False)
class ProviderError(FlowportError):
    """A provider did not do what was asked."""

    provider: str
    """The provider's title."""
    operation: Operation

    @property
    def cause(self) -> str:
        """What happened, as a sentence without advice: for a run that goes on and needs no action."""
        return f"{self.provider} did not {self.operation}."

    @property
    def advice(self) -> str:
        """What to do, as a sentence; empty if the cause says it."""
        return ""

    @property
    def words(self) -> str:
        """The provider's own words, as a sentence; empty if it gave none."""
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
"""What to do where the network is not the only possible cause."""


@dataclass(eq=False)
class ProviderUnreachable(ProviderError):
    """The request did not get an answer."""

    breakage: Breakage
    reason: str = ""
    """The exact failure, as the end of the same sentence; empty if the breakage is specific enough."""
    remedy: str = ""
    """What to do about it, as a sentence; empty for the general advice."""

    @property
    def was_sent(self) -> bool:
        """Whether the provider may have received the request."""
        return self.breakage not in NEVER_CONNECTED

    @property
    def is_lasting(self) -> bool:
        """Whether every retry fails until the configuration changes."""
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
        """Check the network, or the setting that is wrong."""
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
        """Whether the key, the credits or the plan is the reason."""
        reasons = {401: "does not accept the API key.", 402: "says that the account does not have enough credits."}
        return f"{self.provider} {reasons.get(self.status, 'does not allow this key or plan to do that.')}"

    @property
    def advice(self) -> str:
        """What the operator can change."""
        advice = {401: "Check the key in the client's configuration.", 402: "Add credits there and try again."}
        return advice.get(self.status, "Check the plan and the rights of the key.")


@dataclass(eq=False)
class ProviderBusy(ProviderError):
    """The provider asks to retry later."""

    status: int
    """The HTTP status: 429 or 503."""
    retry_after_seconds: float | None = None
    """The delay that the provider requested; None if it named none."""

    @property
    def cause(self) -> str:
        """Whether the limit or the service is the reason."""
        reason = "allows no more requests just now" if self.status == 429 else "is not available just now"  # noqa: PLR2004
        return f"{self.provider} {reason} and did not {self.operation}."

    @property
    def advice(self) -> str:
        """When to retry."""
        if self.retry_after_seconds is None:
            return "Try again in about a minute."
        seconds = math.ceil(self.retry_after_seconds)
        return f"Try again in {seconds} second{'s' * (seconds != 1)}." if seconds else "Try again."


@dataclass(eq=False)
class DayUsedUp(ProviderError):
    """Nothing was sent, because no more requests of this key are allowed today."""

    resumes_seconds: float
    """Seconds until requests are allowed again."""
    is_reported: bool = True
    """Whether the provider reported it; otherwise Flowport's own count reached the limit."""

    @property
    def cause(self) -> str:
        """Whose limit it is."""
        if self.is_reported:
            return f"{self.provider} allows this key no more requests today and was not asked to {self.operation}."
        return f"The day's requests are used up, and {self.provider} was not asked to {self.operation}."

    @property
    def advice(self) -> str:
        """When to retry, as a duration, because the clock of this computer may be wrong."""
        minutes = max(1, math.ceil(self.resumes_seconds / 60))
        hours, rest = divmod(minutes, 60)
        parts = (f"{hours} h" * bool(hours), f"{rest} min" * bool(rest))
        return f"Requests are allowed again in about {' '.join(filter(None, parts))}."


@dataclass(frozen=True, slots=True)
class InputFlaw:
    """A provider's complaint about one input, in its own words, not cleaned."""

    place: str
    """The place of the input in the request; empty if not stated."""
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
"""The meaning of a 404, by operation; other operations use the general text."""
_SENDS_FILES: Final = frozenset({Operation.REQUEST_UPLOAD, Operation.START_RUN})


@dataclass(eq=False)
class ProviderRejected(ProviderError):
    """The provider understood the request and does not accept it."""

    status: int
    """The HTTP status, 400 to 499."""
    detail: str = ""
    """The provider's own words, cleaned; empty when it gave none."""
    problem: str = ""
    """The problem, in Flowport's words, as a sentence without full stop; empty if the status says it."""
    flaws: tuple[InputFlaw, ...] = ()
    """The parts of `detail` about single inputs."""
    opening: str = ""
    """The part of `detail` about the whole request, if there are flaws."""

    @property
    def cause(self) -> str:
        """What the provider does not accept."""
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
    """The provider failed, or its answer breaches its own documentation."""

    status: int
    """The HTTP status of the answer; 2xx if the body cannot be used."""
    problem: str
    """The problem of the answer, in Flowport's words."""

    @property
    def cause(self) -> str:
        """The problem of the answer."""
        return f"{self.provider} could not {self.operation}: {self.problem}."

    @property
    def advice(self) -> str:
        """No user action is possible."""
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
    """The problem, as the end of a sentence that begins with the name."""
    expected: str = ""
    """What is expected, as a sentence; empty if the problem says it."""

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}." + (f" {self.expected}" if self.expected else "")


@dataclass(eq=False)
class ArgumentsInvalid(FlowportError):
    """The arguments of a call do not fit the tool; nothing was started or spent."""

    problems: tuple[ArgumentProblem, ...]
    """At least one, in the order of the schema, unknown names last."""
    is_for_run: bool = True
    """Whether the call was to start a run; only then the message says that nothing was started."""

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
