"""Spending limits and the consent to exceed them. Pure."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from flowport.domain.call_errors import DayCapReached, PriceUnconfirmed, PriceUnknown, RunCapReached, SpendingError
from flowport.domain.models import BootTime, Run


class Consent(Enum):
    """The user's answer to a question."""

    GIVEN = "given"
    REFUSED = "refused"
    """Or did not answer in time."""
    CANNOT_ASK = "cannot ask"
    """The client has no way to ask."""


DAY_SECONDS: Final = 24 * 3600.0
"""The period of the daily limit: the last 24 hours, so that midnight does not double it."""

_TINY: Final = 1e-6
"""A tolerance below any price, for rounding errors of sums."""


class UnknownPrice(StrEnum):
    """What to do with an app that does not state its price."""

    ALLOW = "allow"
    CONFIRM = "confirm"
    """Ask the person first."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """The user's spending limits."""

    max_credits_per_run: float | None = None
    """None for no limit."""
    max_credits_per_day: float | None = None
    """For the last 24 hours, over all accounts of one provider; None for no limit."""
    confirm_above_credits: float | None = None
    """The price above which the user is asked; None for never."""
    unknown_price: UnknownPrice = UnknownPrice.ALLOW
    max_credits_per_month: float | None = None
    """For the last 30 days, over all accounts of one provider; None for no limit."""
    max_account_credits_per_day: float | None = None
    """For the last 24 hours, of one account and all its owners; None for no limit."""
    max_account_credits_per_month: float | None = None
    """For the last 30 days, of one account and all its owners; None for no limit."""


@dataclass(frozen=True, slots=True)
class Spending:
    """The costs and reservations of one owner's runs at one provider, within a period."""

    spent_credits: float
    """The counted costs of the runs that ended within the period, unknown runs included."""
    reserved_credits: float
    """Reserved for runs that have not ended, whenever they were accepted."""
    unknown_credits: float
    """The part of `spent_credits` that belongs to unknown runs, so may not have been charged."""
    runs: int
    """How many runs ended within the period or have not ended."""
    unpriced_runs: int = 0
    """How many of those that were sent have an unknown cost; they count as 0 in the sums."""


@dataclass(frozen=True, slots=True)
class SpendingCheck:
    """The limits that one run is checked against."""

    rules: SpendingLimits
    since: float
    """Where the last 24 hours began, by the wall clock."""
    boot_since: BootTime | None = None
    """The same by the boot clock, which decides for runs of this boot; None if the system has none."""
    is_agreed: bool = False
    """Whether the user was asked about this price and agreed. Limits hold nevertheless."""


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """The limits do not allow the run, or not yet; nothing was recorded."""

    reason: SpendingError


def find_obstacle(terms: SpendingCheck, run: Run, spending: Spending | None) -> SpendingError | None:
    """Return why a run may not be started; None if it may. A run above a limit is refused without a question.

    Args:
        spending: None if no daily limit is set.
    """
    rules, price, runs = terms.rules, run.price_credits, max(1, run.row_count)
    if price is None and rules.unknown_price is UnknownPrice.REFUSE:
        return PriceUnknown(run.app_name)
    # The limit for one run applies to each row of a batch, everything else to the whole batch.
    each = None if price is None else price / runs
    if each is not None and rules.max_credits_per_run is not None and _is_above(each, rules.max_credits_per_run):
        return RunCapReached(run.app_name, each, rules.max_credits_per_run)
    if spending is not None and rules.max_credits_per_day is not None:
        left = get_left_credits(rules.max_credits_per_day, spending)
        # When nothing is left, even an unknown price is refused; a free run needs nothing.
        if price != 0 and (left < _TINY or _is_above(price or 0.0, left)):
            return DayCapReached(
                run.app_name,
                price,
                cap_credits=rules.max_credits_per_day,
                spent_credits=spending.spent_credits,
                unknown_credits=spending.unknown_credits,
                reserved_credits=spending.reserved_credits,
                left_credits=left,
                runs=runs,
            )
    return None if terms.is_agreed else find_price_question(rules, run.app_name, price, runs=runs)


def find_price_question(
    rules: SpendingLimits, app_name: str, price_credits: float | None, *, runs: int = 1
) -> PriceUnconfirmed | None:
    """Return the question before runs of this price; None if none is needed. A price of None is unknown.

    Args:
        price_credits: Of all runs together.
    """
    if price_credits is None:
        is_asked = rules.unknown_price is UnknownPrice.CONFIRM
        return PriceUnconfirmed(app_name, None, None, runs) if is_asked else None
    threshold = rules.confirm_above_credits
    if threshold is None or not _is_above(price_credits, threshold):
        return None
    return PriceUnconfirmed(app_name, price_credits, threshold, runs)


def get_left_credits(cap_credits: float, spending: Spending) -> float:
    """Return how much of the daily limit is left, never below 0."""
    return max(0.0, cap_credits - spending.spent_credits - spending.reserved_credits)


def _is_above(price_credits: float, limit_credits: float) -> bool:
    return price_credits > limit_credits + _TINY
