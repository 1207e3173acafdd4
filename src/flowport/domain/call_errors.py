"""Errors of calls that name something that does not exist, or that start nothing. See the tree in `errors`.

The errors of spending limits name the variable of the limit, because only the user can change it, not the model that reads
the message.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid, FlowportError
from flowport.domain.text import format_quoted

_MAX_ID_SHOWN: Final = 60
_MAX_NAMESAKES: Final = 5


@dataclass(frozen=True, slots=True)
class Namesake:
    """One of several apps with the same name."""

    tool_name: str
    app_id: str
    provider: str

    def __str__(self) -> str:
        return f"{self.tool_name} (id {format_quoted(self.app_id, limit=_MAX_ID_SHOWN)}, {self.provider})"


@dataclass(eq=False)
class AppAmbiguous(FlowportError):
    """Several apps have this name, so none is run."""

    wanted: str
    namesakes: tuple[Namesake, ...]
    """At least two, in the order of the catalogues."""

    def __str__(self) -> str:
        shown, rest = self.namesakes[:_MAX_NAMESAKES], len(self.namesakes[_MAX_NAMESAKES:])
        *most, last = [*map(str, shown), *([f"{rest} more, which find_apps lists"] if rest else [])]
        return (
            f"Several apps are called {format_quoted(self.wanted)}: {', '.join(most)} and {last}. "
            "Nothing was started; name one by its tool name."
        )


@dataclass(eq=False)
class DefinitionNotRead(FlowportError):
    """The call's wait budget ended before the app's definition was read; reading continues in the background."""

    app_name: str
    provider: str
    """As people write it."""
    wait_seconds: int | None
    """How long a request still waits for the rate limit; None if the provider has not answered yet."""

    def __str__(self) -> str:
        why, when = f"{self.provider} has not answered yet", "in a moment"
        if self.wait_seconds is not None:
            why = "the requests of this minute are used up"
            when = f"in about {self.wait_seconds} second{'s' * (self.wait_seconds != 1)}"
        return (
            f"Nothing was started and nothing is charged: the definition of {format_quoted(self.app_name)} could not be read "
            f"in time, because {why}. The reading goes on; call again {when}."
        )


@dataclass(eq=False)
class AppNotFound(FlowportError):
    """No app has this name."""

    wanted: str
    nearest: tuple[str, ...]
    """Similar tool names, nearest first; may be empty."""
    catalogue_problem: str = ""
    """Why the app may exist nevertheless, as a sentence: a catalogue could not be read. Empty if all were read."""
    is_tool: bool = False
    """Whether a tool of this name was called, rather than an app named in an argument."""

    def __str__(self) -> str:
        hint = f" Did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        if self.catalogue_problem:
            return f"{self.catalogue_problem} There is no app {self.wanted!r} among those that could be read.{hint}"
        return f"There is no app {self.wanted!r}.{hint} find_apps lists what there is."


@dataclass(eq=False)
class RunNotOver(FlowportError):
    """A run that is not over cannot be erased."""

    run_id: str

    def __str__(self) -> str:
        return (
            f"The run {self.run_id[:_MAX_ID_SHOWN]!r} is not over, and its result may still come: only what is over can "
            "be erased. Wait for its end, or cancel it if it was not sent yet."
        )


@dataclass(eq=False)
class ResourceNotFound(FlowportError):
    """No resource of this owner has this URI."""

    uri: str

    def __str__(self) -> str:
        return "There is no such resource. list_runs shows the runs; each answer names the resources of its run."


def build_refusal(argument: str, problem: str, expected: str = "", *, is_for_run: bool = True) -> ArgumentsInvalid:
    """Return the error for one argument; the texts are those of `ArgumentProblem`."""
    return ArgumentsInvalid((ArgumentProblem(argument, problem, expected),), is_for_run=is_for_run)


@dataclass(eq=False)
class UncertainStart(FlowportError):
    """An equal run was sent to the provider and its outcome is unknown; nothing new was started."""

    provider: str
    """The provider's title."""
    run_id: str
    sent_at: float
    failure: str
    """Why its outcome is unknown, as sentences."""
    is_for_batch: bool = False
    """Whether the call requests a batch, one of whose rows is uncertain."""

    @property
    def question(self) -> str:
        """The question before another run is started."""
        another = "Start the whole batch" if self.is_for_batch else "Start another one"
        return f"{self._explanation} {another} all the same? It is charged by itself."

    @property
    def _explanation(self) -> str:
        sent = datetime.fromtimestamp(self.sent_at, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self.run_id}, sent to {self.provider} at {sent}, asked for the same. {self.failure}"

    def __str__(self) -> str:
        return (
            f"Nothing new was started: {self._explanation} If it is not there, "
            f"{'the same call' if self.is_for_batch else 'run_app'} with new_run true starts another one, which is charged by "
            "itself."
        )


@dataclass(eq=False)
class ConfirmationNeeded(FlowportError):
    """The user must be asked first; the client asks when the call is answered with the question."""

    question: str

    def __str__(self) -> str:
        return f"Nothing was started yet: the person is asked first {_quote(self.question)}."


@dataclass(eq=False)
class NotConfirmed(FlowportError):
    """The user was asked and did not agree; nothing was started."""

    question: str

    def __str__(self) -> str:
        return (
            f"Nothing was started and nothing is charged: the person did not agree when asked {_quote(self.question)}."
        )


def _quote(question: str) -> str:
    """Return a question in double quotes, with single quotes inside."""
    inner = question.replace('"', "'")
    return f'"{inner}"'


@dataclass(eq=False)
class FilesFull(FlowportError):
    """The files of an owner occupy all that they may on this server; nothing was started or uploaded."""

    used_bytes: int
    max_bytes: int

    def __str__(self) -> str:
        return (
            f"Your uploads and saved results fill {self.used_bytes / 1e6:,.0f} MB of the {self.max_bytes / 1e6:,.0f} MB that they "
            "may occupy on this server, so nothing was started and nothing is charged. Results that you have are kept. Uploads "
            "leave after a week; ask the operator of the server to erase old runs with their files, or to raise "
            "FLOWPORT_PERSON_MAX_MEGABYTES."
        )


@dataclass(eq=False)
class RunCapReached(FlowportError):
    """The price of a run exceeds the limit for one run."""

    app_name: str
    price_credits: float
    cap_credits: float
    is_own: bool = False
    """Whether it is the person's own limit, from a token, rather than the setting's."""

    def __str__(self) -> str:
        cap = format_credits(self.cap_credits)
        return (
            f"Nothing was started: {format_quoted(self.app_name)} costs {count_credits(self.price_credits)}, and "
            f"{_name_limit('FLOWPORT_MAX_CREDITS_PER_RUN', is_own=self.is_own)} allows {cap} for one run. "
            f"{_format_remedy('Only', 'it', is_own=self.is_own)}; find_apps with max_credits {cap} shows what is within it."
        )


class CapPeriod(StrEnum):
    """The time over which a cap adds up; it ends now."""

    DAY = "24 hours"
    MONTH = "30 days"


@dataclass(eq=False)
class _PersonCap:
    """What both errors about a person's caps say."""

    app_name: str
    price_credits: float | None
    """None if unknown."""
    cap_credits: float
    spent_credits: float
    unknown_credits: float
    """The part of `spent_credits` that belongs to unknown runs."""
    reserved_credits: float
    left_credits: float
    runs: int = 1
    """How many runs have this price together."""
    is_own: bool = False
    """Whether it is the person's own limit, from a token, rather than the setting's."""

    def _format(self, variable: str, period: CapPeriod, age: str) -> str:
        unknown = f" (of which {format_credits(self.unknown_credits)} by unknown runs)" * bool(self.unknown_credits)
        return (
            f"Nothing was started: {_describe_price(self.app_name, self.price_credits, self.runs)}, and of the "
            f"{format_credits(self.cap_credits)} that {_name_limit(variable, is_own=self.is_own)} allows in {period} "
            f"{format_credits(self.spent_credits)} are spent{unknown}, {format_credits(self.reserved_credits)} reserved "
            f"for runs that go on, and {format_credits(self.left_credits)} left. Wait until earlier runs are {age} old; "
            f"{_format_remedy('only', 'the cap', is_own=self.is_own)}. get_balance shows what is left."
        )


@dataclass(eq=False)
class DayCapReached(_PersonCap, FlowportError):
    """The person's runs of the last 24 hours leave too little for this one."""

    def __str__(self) -> str:
        return self._format("FLOWPORT_MAX_CREDITS_PER_DAY", CapPeriod.DAY, "a day")


@dataclass(eq=False)
class MonthCapReached(_PersonCap, FlowportError):
    """The person's runs of the last 30 days leave too little for this one."""

    def __str__(self) -> str:
        return self._format("FLOWPORT_MAX_CREDITS_PER_MONTH", CapPeriod.MONTH, "30 days")


@dataclass(eq=False)
class AccountCapReached(FlowportError):
    """The runs of all people who use the account leave too little for this one. What each spent is not said."""

    app_name: str
    price_credits: float | None
    """None if unknown."""
    cap_credits: float
    left_credits: float
    period: CapPeriod
    runs: int = 1
    """How many runs have this price together."""

    def __str__(self) -> str:
        variable = f"FLOWPORT_ACCOUNT_MAX_CREDITS_PER_{self.period.name}"
        return (
            f"Nothing was started: {_describe_price(self.app_name, self.price_credits, self.runs)}, and of the "
            f"{format_credits(self.cap_credits)} that {variable} allows in {self.period} for all who use this account "
            f"together {format_credits(self.left_credits)} are left. Wait until earlier runs no longer count; "
            f"{_format_remedy('only', 'the cap')}. get_balance shows what is left."
        )


@dataclass(eq=False)
class PriceUnknown(FlowportError):
    """The price is unknown, and the user allows no such run."""

    app_name: str

    def __str__(self) -> str:
        return (
            f"Nothing was started: {_describe_price(self.app_name, None)}, and FLOWPORT_UNKNOWN_PRICE is refuse. Only the "
            "person can set it to confirm or allow, in Flowport's configuration."
        )


@dataclass(eq=False)
class PriceUnconfirmed(FlowportError):
    """The user has to agree to the price first, and the client cannot ask."""

    app_name: str
    price_credits: float | None
    """None if unknown."""
    threshold_credits: float | None
    """The price above which the user is asked; None like the price."""
    runs: int = 1
    """How many runs have this price together."""
    is_own: bool = False
    """Whether the threshold is the person's own, from a token, rather than the setting's."""

    @property
    def question(self) -> str:
        """The question to the user."""
        name = format_quoted(self.app_name)
        verb, them = ("Run", name) if self.runs == 1 else ("Start", f"{self.runs} runs of {name}")
        if self.price_credits is None:
            return f"{verb} {them} without knowing the price?"
        return f"{verb} {them} for {count_credits(self.price_credits)}{' together' * (self.runs > 1)}?"

    def __str__(self) -> str:
        configure, rule = "{} in Flowport's configuration", f"above {count_credits(self.threshold_credits or 0.0)}"
        if self.price_credits is None or self.threshold_credits is None:
            remedy = configure.format("set FLOWPORT_UNKNOWN_PRICE to allow")
            rule = "of an unknown price"
        elif self.is_own:
            remedy = "have an administrator give them a token with a higher threshold"
        else:
            price = format_credits(self.price_credits)
            remedy = configure.format(f"raise FLOWPORT_CONFIRM_ABOVE_CREDITS to {price} or more")
        return (
            f"Nothing was started: {_describe_price(self.app_name, self.price_credits, self.runs)}. The person is to be asked about "
            f"every {'run' if self.runs == 1 else 'batch'} {rule}, and this client cannot ask. The person can {remedy}, or call from a client that can ask."
        )


SpendingError: TypeAlias = (
    RunCapReached | DayCapReached | MonthCapReached | AccountCapReached | PriceUnknown | PriceUnconfirmed | FilesFull
)


def _name_limit(variable: str, *, is_own: bool) -> str:
    return "the limit of your own token" if is_own else variable


def _format_remedy(only: str, what: str, *, is_own: bool = False) -> str:
    """Return who can raise a limit."""
    if is_own:
        return f"{only} an administrator can raise {what}, by another token"
    return f"{only} the person who runs Flowport can raise {what}, in its configuration"


def format_credits(number: float) -> str:
    """Return a number of credits without trailing zeros: `20`, `0.5`."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def count_credits(number: float) -> str:
    """Return a number of credits with its noun: `1 credit`, `20 credits`."""
    return f"{format_credits(number)} credit{'s' * (number != 1)}"


def _describe_price(app_name: str, price_credits: float | None, runs: int = 1) -> str:
    name = format_quoted(app_name)
    if price_credits is None:
        return f"{name} does not state its price" + f", and this asks for {runs} runs of it" * (runs > 1)
    if runs == 1:
        return f"{name} costs {count_credits(price_credits)}"
    return f"{runs} runs of {name} cost {count_credits(price_credits)} together"


@dataclass(eq=False)
class TooManyCalls(FlowportError):
    """The person has as many calls waiting side by side as one person may have."""

    most: int

    def __str__(self) -> str:
        return (
            f"Nothing was started: {self.most} of your calls are waiting already, which is the limit of this server. "
            "Wait for one of them, or use run_batch for many runs of one app."
        )


@dataclass(eq=False)
class ServerEnding(FlowportError):
    """The server shuts down before the call came to its run."""

    def __str__(self) -> str:
        return (
            "Flowport is shutting down, and this call was not finished. Call again in a moment with the same arguments: "
            "a run that was started meanwhile is joined and not started again."
        )
