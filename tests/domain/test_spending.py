"""What a person's limits mean for one price."""

from dataclasses import replace
from typing import Any

import pytest

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
from flowport.domain.models import BootTime
from flowport.domain.spending import (
    Cap,
    Spending,
    SpendingCheck,
    SpendingLimits,
    UnknownPrice,
    combine_limits,
    find_obstacle,
    find_price_question,
    get_left_credits,
)
from tests.store.samples import RUN

NOTHING = Spending(0.0, 0.0, 0.0, 0)
SOME = Spending(spent_credits=12.0, reserved_credits=6.0, unknown_credits=5.0, runs=3)
ALLOW, CONFIRM, REFUSE = UnknownPrice


def find(
    price: float | None, rules: SpendingLimits, spending: Spending | None = NOTHING, *, is_agreed: bool = False
) -> SpendingError | None:
    """Return what keeps a run of this price from being paid."""
    terms = SpendingCheck(rules, 0.0, is_agreed=is_agreed)
    counted = {} if spending is None else dict.fromkeys(Cap, spending)
    return find_obstacle(terms, replace(RUN, price_credits=price), counted)


@pytest.mark.parametrize("price", [None, 0.0, 5.0, 1e9])
def test_without_limits_everything_is_paid(price: float | None) -> None:
    """Without limits everything is allowed."""
    assert find(price, SpendingLimits(), None) is None


@pytest.mark.parametrize(("price", "is_over"), [(0.0, False), (20.0, False), (20.5, True), (21.0, True)])
def test_no_run_above_the_price_of_one(price: float, is_over: bool) -> None:
    """The cap itself is allowed."""
    found = find(price, SpendingLimits(max_credits_per_run=20.0))
    assert isinstance(found, RunCapReached) is is_over
    if isinstance(found, RunCapReached):
        assert (found.app_name, found.price_credits, found.cap_credits) == (RUN.app_name, price, 20.0)


@pytest.mark.parametrize(
    ("cap", "price", "is_over"),
    [
        (20.0, 2.0, False),
        (20.0, 2.5, True),
        (18.0, 0.0, False),
        (18.0, 0.01, True),
        (5.0, 0.0, False),
        (5.0, 1.0, True),
        (20.0, None, False),
        (18.0, None, True),
        (0.0, 0.0, False),
    ],
)
def test_what_is_spent_and_reserved_counts_against_the_day(cap: float, price: float | None, is_over: bool) -> None:
    """A free run takes nothing; one of an unknown price would take something of a cap that is used up."""
    found = find(price, SpendingLimits(max_credits_per_day=cap), SOME)
    assert isinstance(found, DayCapReached) is is_over
    if isinstance(found, DayCapReached):
        fields = (found.price_credits, found.spent_credits, found.unknown_credits, found.reserved_credits)
        assert fields == (price, 12.0, 5.0, 6.0)
        assert (found.cap_credits, found.left_credits) == (cap, max(0.0, cap - 18.0))


def test_fractions_come_out_as_they_are() -> None:
    """Three tenths are not above 0.3, whatever binary numbers make of them, and nothing is left of them."""
    spending = Spending(0.1 + 0.1, 0.0, 0.0, 2)
    rules = SpendingLimits(max_credits_per_day=0.3)
    assert find(0.1, rules, spending) is None
    assert isinstance(find(0.1, rules, replace(spending, spent_credits=0.1 + 0.2)), DayCapReached)
    assert isinstance(find(None, rules, replace(spending, spent_credits=0.1 + 0.1 + 0.1)), DayCapReached)


@pytest.mark.parametrize(("price", "is_asked"), [(0.0, False), (5.0, False), (5.5, True)])
def test_the_person_is_asked_above_their_threshold(price: float, is_asked: bool) -> None:
    """And once they have agreed, no more."""
    rules = SpendingLimits(confirm_above_credits=5.0)
    found = find(price, rules)
    assert isinstance(found, PriceUnconfirmed) is is_asked
    if isinstance(found, PriceUnconfirmed):
        assert (found.app_name, found.price_credits, found.threshold_credits) == (RUN.app_name, price, 5.0)
    assert find(price, rules, is_agreed=True) is None


@pytest.mark.parametrize(
    ("unknown_price", "kind"), [(ALLOW, type(None)), (CONFIRM, PriceUnconfirmed), (REFUSE, PriceUnknown)]
)
def test_an_unknown_price_has_a_rule_of_its_own(unknown_price: UnknownPrice, kind: type) -> None:
    """It is above no threshold and within none."""
    rules = SpendingLimits(max_credits_per_run=1.0, confirm_above_credits=1.0, unknown_price=unknown_price)
    assert isinstance(find(None, rules), kind)
    assert find(0.5, rules) is None


@pytest.mark.parametrize(
    ("rules", "price"),
    [
        (SpendingLimits(max_credits_per_run=4.0, confirm_above_credits=0.0), 5.0),
        (SpendingLimits(max_credits_per_day=20.0, confirm_above_credits=0.0), 5.0),
        (SpendingLimits(unknown_price=REFUSE), None),
    ],
)
@pytest.mark.parametrize("is_agreed", [True, False])
def test_no_agreement_opens_a_cap(rules: SpendingLimits, price: float | None, is_agreed: bool) -> None:
    """A user is not asked about what a cap forbids, and a yes that was given meanwhile changes nothing."""
    found = find(price, rules, SOME, is_agreed=is_agreed)
    assert isinstance(found, RunCapReached | DayCapReached | PriceUnknown)


def test_the_question_names_the_price() -> None:
    """The person agrees to that price and no other."""
    asked = find_price_question(SpendingLimits(confirm_above_credits=5.0), "Sketch", 30.0)
    assert asked is not None
    assert asked.question == 'Run "Sketch" for 30 credits?'
    unknown = find_price_question(SpendingLimits(unknown_price=CONFIRM), 'A" costs 0', None)
    assert unknown is not None
    assert unknown.question == 'Run "A\' costs 0" without knowing the price?'


@pytest.mark.parametrize(("cap", "left"), [(20.0, 2.0), (18.0, 0.0), (1.0, 0.0)])
def test_what_is_left_is_never_less_than_nothing(cap: float, left: float) -> None:
    """A person may lower the cap below what is spent."""
    assert get_left_credits(cap, SOME) == left


@pytest.mark.parametrize(
    ("cap", "kind", "period"),
    [
        (Cap.PERSON_DAY, DayCapReached, CapPeriod.DAY),
        (Cap.PERSON_MONTH, MonthCapReached, CapPeriod.MONTH),
        (Cap.ACCOUNT_DAY, AccountCapReached, CapPeriod.DAY),
        (Cap.ACCOUNT_MONTH, AccountCapReached, CapPeriod.MONTH),
    ],
)
@pytest.mark.parametrize(("price", "is_over"), [(2.0, False), (2.01, True), (0.0, False)])
def test_each_cap_counts_its_own_runs(cap: Cap, kind: type, period: CapPeriod, price: float, is_over: bool) -> None:
    """What another cap counts does not matter to it."""
    limits: dict[str, Any] = {cap.value: 20.0}
    rules = SpendingLimits(**limits)
    run = replace(RUN, price_credits=price)
    found = find_obstacle(SpendingCheck(rules, 0.0), run, {**dict.fromkeys(Cap, FULL), cap: SOME})
    assert cap.period is period
    assert isinstance(found, kind) is is_over


FULL = Spending(spent_credits=1e9, reserved_credits=0.0, unknown_credits=0.0, runs=1)


def test_the_refusal_of_an_account_does_not_say_who_spent_what() -> None:
    """Its error has no field for it, so no text and no JSON can show it."""
    found = find_obstacle(
        SpendingCheck(SpendingLimits(max_account_credits_per_day=20.0), 0.0),
        replace(RUN, price_credits=5.0),
        {Cap.ACCOUNT_DAY: SOME},
    )
    assert isinstance(found, AccountCapReached)
    assert (found.cap_credits, found.left_credits) == (20.0, 2.0)
    assert "12" not in str(found)
    assert not hasattr(found, "spent_credits")


def test_a_batch_is_held_to_each_cap_as_a_whole() -> None:
    """Its rows begin later, when no cap is checked any more."""
    batch = replace(RUN, price_credits=3.0, row_count=3)
    rules = SpendingLimits(max_credits_per_run=1.0, max_account_credits_per_month=20.0)
    found = find_obstacle(SpendingCheck(rules, 0.0), batch, {Cap.ACCOUNT_MONTH: SOME})
    assert isinstance(found, AccountCapReached)
    assert found.runs == 3


SETTINGS = SpendingLimits(10.0, 100.0, 5.0, ALLOW, 1000.0, 500.0, 5000.0)


def test_a_persons_own_limits_replace_the_settings_and_not_those_of_the_account() -> None:
    """What the person has no limit of their own for is limited by the settings."""
    own = SpendingLimits(max_credits_per_day=400.0, confirm_above_credits=0.0)
    assert combine_limits(SETTINGS, None) == SETTINGS
    assert combine_limits(SETTINGS, own) == SpendingLimits(10.0, 400.0, 0.0, ALLOW, 1000.0, 500.0, 5000.0)
    greedy = SpendingLimits(max_account_credits_per_day=1e9, max_account_credits_per_month=1e9)
    assert combine_limits(SETTINGS, greedy) == SETTINGS
    assert combine_limits(SETTINGS, SpendingLimits(max_credits_per_run=0.0)).max_credits_per_run == 0.0


@pytest.mark.parametrize(
    ("rules", "own", "expected"),
    [
        (SpendingLimits(), SpendingLimits(), ALLOW),
        (SpendingLimits(), SpendingLimits(max_credits_per_day=1.0), CONFIRM),
        (SpendingLimits(unknown_price=REFUSE), SpendingLimits(max_credits_per_day=1.0), REFUSE),
        (SpendingLimits(unknown_price=CONFIRM), SpendingLimits(unknown_price=REFUSE), REFUSE),
        # It was allowed beside a limit, so on purpose.
        (SpendingLimits(max_credits_per_run=1.0), SpendingLimits(max_credits_per_day=1.0), ALLOW),
    ],
)
def test_the_stricter_rule_for_an_unknown_price_holds(
    rules: SpendingLimits, own: SpendingLimits, expected: UnknownPrice
) -> None:
    """A token opens nothing that the settings close, and a limit of its own is not passed by a price that is not stated."""
    assert combine_limits(rules, own).unknown_price is expected


@pytest.mark.parametrize("name", ["max_credits_per_run", "max_credits_per_day", "max_credits_per_month"])
def test_a_refusal_says_whose_limit_it_is(name: str) -> None:
    """A setting and a token are raised by different people at different places."""
    limits: dict[str, Any] = {name: 1.0}
    own = SpendingLimits(**limits)
    for rules, mine in ((combine_limits(SETTINGS, own), own), (own, None)):
        found = find_obstacle(
            SpendingCheck(rules, 0.0, own=mine), replace(RUN, price_credits=2.0), dict.fromkeys(Cap, NOTHING)
        )
        assert isinstance(found, RunCapReached | DayCapReached | MonthCapReached)
        assert found.is_own is (mine is not None)
        assert ("your own token" in str(found)) is (mine is not None)
        assert (f"FLOWPORT_{name.upper()}" in str(found)) is (mine is None)


def test_a_month_begins_thirty_days_ago_by_both_clocks() -> None:
    """The boot clock may be younger than that; then it begins before the boot."""
    terms = SpendingCheck(SpendingLimits(), 86_400.0 * 40, BootTime("b1", 10.0))
    assert terms.get_since(CapPeriod.DAY) == (86_400.0 * 40, BootTime("b1", 10.0))
    assert terms.get_since(CapPeriod.MONTH) == (86_400.0 * 11, BootTime("b1", 10.0 - 86_400.0 * 29))
    assert SpendingCheck(SpendingLimits(), 0.0).get_since(CapPeriod.MONTH)[1] is None
