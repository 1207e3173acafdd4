"""What a person's limits mean for one price."""

from dataclasses import replace

import pytest

from flowport.domain.call_errors import DayCapReached, PriceUnconfirmed, PriceUnknown, RunCapReached, SpendingError
from flowport.domain.spending import (
    Spending,
    SpendingCheck,
    SpendingLimits,
    UnknownPrice,
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
    return find_obstacle(SpendingCheck(rules, 0.0, is_agreed=is_agreed), replace(RUN, price_credits=price), spending)


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
