"""Spending limits and the consent to exceed them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Final

from flowport.domain.call_errors import (
    AccountCapReached,
    CapPeriod,
    DayCapReached,
    MonthCapReached,
    PriceUnconfirmed,
    PriceUnknown,
    RunCapReached,
    SpendingError,
)
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

PERIOD_SECONDS: Final = {CapPeriod.DAY: DAY_SECONDS, CapPeriod.MONTH: 30 * DAY_SECONDS}

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


class Cap(Enum):
    """A limit for what runs cost together: whose runs, and how long ago."""

    PERSON_DAY = "max_credits_per_day"
    """All runs of one owner at one provider."""
    PERSON_MONTH = "max_credits_per_month"
    ACCOUNT_DAY = "max_account_credits_per_day"
    """All runs of one account, of all owners."""
    ACCOUNT_MONTH = "max_account_credits_per_month"

    @property
    def is_account(self) -> bool:
        """Whether the runs of all owners of the account count, rather than those of one owner."""
        return self in {Cap.ACCOUNT_DAY, Cap.ACCOUNT_MONTH}

    @property
    def period(self) -> CapPeriod:
        """How long ago a run may have ended to count."""
        return CapPeriod.DAY if self in {Cap.PERSON_DAY, Cap.ACCOUNT_DAY} else CapPeriod.MONTH


def get_caps(rules: SpendingLimits) -> dict[Cap, float]:
    """Return the caps that are set, in the order in which they are checked."""
    caps = {cap: getattr(rules, cap.value) for cap in Cap}
    return {cap: credits_ for cap, credits_ in caps.items() if credits_ is not None}


_OWN: Final = ("max_credits_per_run", "max_credits_per_day", "max_credits_per_month", "confirm_above_credits")
"""The limits that a person may have instead of the settings'."""


def combine_limits(rules: SpendingLimits, own: SpendingLimits | None) -> SpendingLimits:
    """Return the limits of a person: their own, for the rest those of the settings, whose caps of an account always hold.

    Of the rules for an unknown price the stricter one holds. Where the settings limit nothing else, a person with a limit
    is asked about an unknown price, which may be above it.
    """
    if own is None:
        return rules
    given = {name: getattr(own, name) for name in _OWN if getattr(own, name) is not None}
    is_asked = bool(given) and replace(rules, unknown_price=UnknownPrice.ALLOW) == SpendingLimits()
    strictness = list(UnknownPrice)
    unknown_price = max(
        rules.unknown_price,
        own.unknown_price,
        UnknownPrice.CONFIRM if is_asked else UnknownPrice.ALLOW,
        key=strictness.index,
    )
    return replace(rules, **given, unknown_price=unknown_price)


@dataclass(frozen=True, slots=True)
class Spending:
    """The costs and reservations of the runs that a cap counts, within a period."""

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
    own: SpendingLimits | None = None
    """The person's own limits, which `rules` contains; None for those of the settings alone."""
    max_file_bytes: int | None = None
    """What the uploads and saved results of the owner may occupy before no new run is accepted; None for any size."""

    def get_since(self, period: CapPeriod) -> tuple[float, BootTime | None]:
        """Return where a period began, by both clocks."""
        earlier = PERIOD_SECONDS[period] - DAY_SECONDS
        return self.since - earlier, None if self.boot_since is None else self.boot_since.subtract(earlier)

    def is_own(self, limit: str) -> bool:
        """Return whether a limit is the person's own rather than the setting's."""
        return self.own is not None and getattr(self.own, limit) is not None


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """The limits do not allow the run, or not yet; nothing was recorded."""

    reason: SpendingError


def find_obstacle(terms: SpendingCheck, run: Run, spending: Mapping[Cap, Spending]) -> SpendingError | None:
    """Return why a run may not be started; None if it may. A run above a limit is refused without a question.

    Args:
        spending: What each cap that is set counts.
    """
    rules, price, runs = terms.rules, run.price_credits, max(1, run.row_count)
    if price is None and rules.unknown_price is UnknownPrice.REFUSE:
        return PriceUnknown(run.app_name)
    # The limit for one run applies to each row of a batch, everything else to the whole batch.
    each = None if price is None else price / runs
    if each is not None and rules.max_credits_per_run is not None and _is_above(each, rules.max_credits_per_run):
        return RunCapReached(run.app_name, each, rules.max_credits_per_run, terms.is_own("max_credits_per_run"))
    for cap, cap_credits in get_caps(rules).items():
        left = get_left_credits(cap_credits, spending[cap])
        # When nothing is left, even an unknown price is refused; a free run needs nothing.
        if price != 0 and (left < _TINY or _is_above(price or 0.0, left)):
            return _build_cap_error(terms, run, cap, spending[cap])
    own = terms.is_own("confirm_above_credits")
    return None if terms.is_agreed else find_price_question(rules, run.app_name, price, runs=runs, is_own=own)


def _build_cap_error(terms: SpendingCheck, run: Run, cap: Cap, spending: Spending) -> SpendingError:
    cap_credits, runs = get_caps(terms.rules)[cap], max(1, run.row_count)
    left = get_left_credits(cap_credits, spending)
    if cap.is_account:
        return AccountCapReached(run.app_name, run.price_credits, cap_credits, left, cap.period, runs)
    kind = DayCapReached if cap is Cap.PERSON_DAY else MonthCapReached
    return kind(
        run.app_name,
        run.price_credits,
        cap_credits=cap_credits,
        spent_credits=spending.spent_credits,
        unknown_credits=spending.unknown_credits,
        reserved_credits=spending.reserved_credits,
        left_credits=left,
        runs=runs,
        is_own=terms.is_own(cap.value),
    )


def find_price_question(
    rules: SpendingLimits, app_name: str, price_credits: float | None, *, runs: int = 1, is_own: bool = False
) -> PriceUnconfirmed | None:
    """Return the question before runs of this price; None if none is needed. A price of None is unknown.

    Args:
        price_credits: Of all runs together.
        is_own: Whether the threshold is the person's own.
    """
    if price_credits is None:
        is_asked = rules.unknown_price is UnknownPrice.CONFIRM
        return PriceUnconfirmed(app_name, None, None, runs) if is_asked else None
    threshold = rules.confirm_above_credits
    if threshold is None or not _is_above(price_credits, threshold):
        return None
    return PriceUnconfirmed(app_name, price_credits, threshold, runs, is_own)


def get_left_credits(cap_credits: float, spending: Spending) -> float:
    """Return how much of a cap is left, never below 0."""
    return max(0.0, cap_credits - spending.spent_credits - spending.reserved_credits)


def _is_above(price_credits: float, limit_credits: float) -> bool:
    return price_credits > limit_credits + _TINY
