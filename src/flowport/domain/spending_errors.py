"""The errors of the user's spending limits. See the tree in `errors`.

Each names the variable of the limit, because only the user can change it, not the model that reads the message.
"""

from dataclasses import dataclass
from typing import TypeAlias

from flowport.domain.errors import FlowportError
from flowport.domain.text import format_quoted


@dataclass(eq=False)
class RunCapReached(FlowportError):
    """The price of a run exceeds the limit for one run."""

    app_name: str
    price_credits: float
    cap_credits: float

    def __str__(self) -> str:
        cap = format_credits(self.cap_credits)
        return (
            f"Nothing was started: {format_quoted(self.app_name)} costs {count_credits(self.price_credits)}, and "
            f"FLOWPORT_MAX_CREDITS_PER_RUN allows {cap} for one run. Only the person can raise it, in Flowport's "
            f"configuration; find_apps with max_credits {cap} shows what is within it."
        )


@dataclass(eq=False)
class DayCapReached(FlowportError):
    """The runs of the last 24 hours leave too little for this one."""

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

    def __str__(self) -> str:
        unknown = f" (of which {format_credits(self.unknown_credits)} by unknown runs)" * bool(self.unknown_credits)
        return (
            f"Nothing was started: {_describe_price(self.app_name, self.price_credits, self.runs)}, and of the "
            f"{format_credits(self.cap_credits)} that FLOWPORT_MAX_CREDITS_PER_DAY allows in 24 hours "
            f"{format_credits(self.spent_credits)} are spent{unknown}, {format_credits(self.reserved_credits)} reserved "
            f"for runs that go on, and {format_credits(self.left_credits)} left. Wait until earlier runs are a day old; "
            "only the person can raise the cap, in Flowport's configuration. get_balance shows what is left."
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

    @property
    def question(self) -> str:
        """The question to the user."""
        name = format_quoted(self.app_name)
        verb, them = ("Run", name) if self.runs == 1 else ("Start", f"{self.runs} runs of {name}")
        if self.price_credits is None:
            return f"{verb} {them} without knowing the price?"
        return f"{verb} {them} for {count_credits(self.price_credits)}{' together' * (self.runs > 1)}?"

    def __str__(self) -> str:
        if self.price_credits is None or self.threshold_credits is None:
            remedy = "set FLOWPORT_UNKNOWN_PRICE to allow"
            rule = "of an unknown price"
        else:
            remedy = f"raise FLOWPORT_CONFIRM_ABOVE_CREDITS to {format_credits(self.price_credits)} or more"
            rule = f"above {count_credits(self.threshold_credits)}"
        return (
            f"Nothing was started: {_describe_price(self.app_name, self.price_credits, self.runs)}. The person is to be asked about "
            f"every {'run' if self.runs == 1 else 'batch'} {rule}, and this client cannot ask. The person can {remedy} in Flowport's configuration, or call from a "
            "client that can ask."
        )


SpendingError: TypeAlias = RunCapReached | DayCapReached | PriceUnknown | PriceUnconfirmed


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
