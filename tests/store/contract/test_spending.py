"""What counts as spent and reserved, and that no cap is passed."""

from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.call_errors import (
    DayCapReached,
    PriceUnconfirmed,
    RunCapReached,
)
from flowport.domain.models import BootTime, Run, RunState
from flowport.domain.run_events import Cancelled, StartUnknown
from flowport.domain.spending import LimitExceeded, Spending, SpendingCheck, SpendingLimits, UnknownPrice
from flowport.store.interface import Store
from flowport.store.records import Accepted, Joined, Uncertain
from tests.store.samples import ACCOUNT, OWNER, build_run

from .test_accept import build_equal, build_rules

S = RunState
DAY = 86_400.0
NOW = 100 * DAY
BOOT_NOW = 10 * DAY
SINCE, BOOT_SINCE = NOW - DAY, BootTime("b1", BOOT_NOW - DAY)
ENDED: dict[str, Any] = {"reserved_credits": 0.0, "spent_credits": 7.0}
NO_BOOT: dict[str, Any] = {"boot_id": "", "accepted_boot_seconds": None}


def build_ended(run_id: str, state: S = S.SUCCEEDED, *, age: float = 60.0, **changes: Any) -> Run:
    """Return a run of seven credits that ended so many seconds ago by both clocks, a minute after it was accepted."""
    values = {
        "accepted_at": NOW - age - 60,
        "finished_at": NOW - age,
        "accepted_boot_seconds": BOOT_NOW - age - 60,
        **ENDED,
        **changes,
    }
    return build_run(run_id, state, **values)


async def read(store: Store, account_id: str = ACCOUNT) -> Spending:
    """Return the spending of the last day."""
    return await store.get_spending(account_id=account_id, owner=OWNER, since=SINCE, boot_since=BOOT_SINCE)


async def test_spending_is_what_ended_in_the_span_and_what_goes_on(store: Store) -> None:
    """The caps must hold however old a run is that still goes on."""
    runs = (
        build_ended("early", age=DAY + 1),
        build_ended("on time", age=DAY),
        build_ended("late", S.UNKNOWN, spent_credits=2.0),
        build_ended("failed", S.FAILED, spent_credits=0.0),
        build_run("live", S.RUNNING, accepted_at=1.0, accepted_boot_seconds=1.0),
        build_run("theirs", S.RUNNING, owner="other"),
        build_ended("theirs too", owner="other"),
    )
    for run in runs:
        await store.accept(run)
    assert await read(store) == Spending(spent_credits=9.0, reserved_credits=5.0, unknown_credits=2.0, runs=4)


async def test_nothing_was_spent_on_a_new_account(store: Store) -> None:
    """A sum over no rows is nothing, not NULL; and a missing boot clock is not an error."""
    spending = await store.get_spending(account_id=ACCOUNT, owner=OWNER, since=0.0)
    assert spending == Spending(spent_credits=0.0, reserved_credits=0.0, unknown_credits=0.0, runs=0)


async def test_a_new_key_or_host_is_the_same_persons_money(store: Store) -> None:
    """Changing the key does not reset a cap; another provider's credits are other money, and so is play money."""
    for n, account_id in enumerate(
        (ACCOUNT, "magnific:api.example:f2", "magnific:other.example:f3", "magnific:sandbox:builtin")
    ):
        await store.accept(build_ended(f"ended {n}", account_id=account_id))
        await store.accept(build_run(f"live {n}", S.RUNNING, account_id=account_id))
    await store.accept(build_ended("elsewhere", account_id="magica:api.example:f1", provider="magica"))
    found = [await read(store, one) for one in (ACCOUNT, "magnific:sandbox:builtin", "magica:api.example:f1")]
    assert [(one.spent_credits, one.reserved_credits) for one in found] == [(21.0, 15.0), (7.0, 5.0), (7.0, 0.0)]


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        # Set forward by a year after the run, or while it went on.
        ({"accepted_at": NOW - 365 * DAY, "finished_at": NOW - 365 * DAY + 60}, True),
        ({"accepted_at": NOW - 365 * DAY, "accepted_boot_seconds": BOOT_NOW - 2 * DAY + 60}, True),
        # Set back by a year after the run, which is two days old.
        (
            {
                "accepted_at": NOW + 365 * DAY,
                "finished_at": NOW + 365 * DAY,
                "accepted_boot_seconds": BOOT_NOW - 2 * DAY,
            },
            False,
        ),
        # Set back while it went on: it took less than no time.
        ({"accepted_at": NOW + DAY, "accepted_boot_seconds": BOOT_NOW - DAY + 1}, True),
        # Of another boot, or where there is no boot clock: the wall clock is all there is.
        ({"boot_id": "b0", "accepted_boot_seconds": 5.0}, True),
        ({"boot_id": "b0", "finished_at": SINCE - 1, "accepted_boot_seconds": BOOT_NOW}, False),
        ({"boot_id": "b0", "finished_at": NOW + 365 * DAY, "accepted_boot_seconds": 5.0}, True),
        (NO_BOOT, True),
        ({**NO_BOOT, "finished_at": SINCE - 1}, False),
        # It took most of the day.
        ({"accepted_at": SINCE - 100, "accepted_boot_seconds": BOOT_NOW - DAY - 100}, True),
    ],
)
async def test_a_clock_that_was_set_opens_no_way_past_the_cap(
    store: Store, changes: dict[str, Any], counts: bool
) -> None:
    """Within one boot a clock decides that cannot be set."""
    await store.accept(build_ended("run_1", **changes))
    assert (await read(store)).spent_credits == (7.0 if counts else 0.0)
    for cap in ("max_credits_per_day", "max_account_credits_per_day"):
        limits: dict[str, Any] = {cap: 7.0}
        found = await store.accept(build_run(f"under {cap}", reserved_credits=0.0), None, build_terms(**limits))
        assert isinstance(found, LimitExceeded) is counts


@pytest.mark.parametrize("is_set_forward", [True, False])
async def test_pruning_forgets_nothing_that_the_boot_clock_calls_young(store: Store, is_set_forward: bool) -> None:
    """Else setting the wall clock forward would empty the record of what was spent."""
    run = build_ended(
        "run_1", delivered_at=NOW - 60, accepted_boot_seconds=BOOT_NOW - (60 if is_set_forward else 2 * DAY)
    )
    await store.accept(run)
    assert (await store.prune(before=NOW + DAY, boot_before=BOOT_SINCE)).runs == (0 if is_set_forward else 1)


MONTH = 30 * DAY


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"age": 29 * DAY}, True),
        ({"age": MONTH}, True),
        ({"age": MONTH + 1}, False),
        # Set forward by a year after the run; the boot clock still says that it is young.
        ({"accepted_at": NOW - 365 * DAY, "finished_at": NOW - 365 * DAY + 60}, True),
        ({"boot_id": "b0", "age": MONTH - 1}, True),
        ({"boot_id": "b0", "age": MONTH + 1}, False),
        ({**NO_BOOT, "age": MONTH + 1}, False),
    ],
)
@pytest.mark.parametrize("owner", [OWNER, None])
async def test_a_month_is_thirty_days_by_both_clocks(
    store: Store, changes: dict[str, Any], counts: bool, owner: str | None
) -> None:
    """The same clocks decide for each period, for a person and for an account."""
    await store.accept(build_ended("run_1", **changes))
    since, boot_since = NOW - MONTH, BootTime("b1", BOOT_NOW - MONTH)
    found = await store.get_spending(account_id=ACCOUNT, owner=owner, since=since, boot_since=boot_since)
    assert found.spent_credits == (7.0 if counts else 0.0)
    limits: dict[str, Any] = {"max_credits_per_month" if owner else "max_account_credits_per_month": 7.0}
    outcome = await store.accept(build_run("run_2"), None, build_terms(**limits))
    assert isinstance(outcome, LimitExceeded) is counts


async def test_an_account_counts_all_owners_and_no_other_account(store: Store) -> None:
    """Fifty people spend on one key; their own keys are other accounts."""
    runs = (
        build_ended("mine"),
        build_ended("theirs", owner="other"),
        build_run("live", S.RUNNING, owner="third"),
        build_ended("long ago", owner="other", age=DAY + 1),
        build_ended("own key", account_id="magnific:api.example:f2", owner="other"),
        build_run("own key live", S.RUNNING, account_id="magnific:api.example:f2"),
    )
    for run in runs:
        await store.accept(run)
    found = await store.get_spending(account_id=ACCOUNT, owner=None, since=SINCE, boot_since=BOOT_SINCE)
    assert found == Spending(spent_credits=14.0, reserved_credits=5.0, unknown_credits=0.0, runs=3)


OLD: dict[str, Any] = {"accepted_at": SINCE - 1, "accepted_boot_seconds": BOOT_SINCE.seconds - 1}


@pytest.mark.parametrize(
    ("run", "is_held"),
    [
        (build_run("followed", S.RUNNING, **OLD), True),
        (build_run("given up", S.RUNNING, **OLD, is_followed=False), False),
        (build_run("stranded", S.RUNNING, **OLD, adoption_tried_by="magnific:api.example:f9"), False),
        (
            build_run("given up lately", S.RUNNING, accepted_at=0.0, accepted_boot_seconds=BOOT_NOW, is_followed=False),
            True,
        ),
        (build_run("given up before the boot", S.RUNNING, accepted_at=NOW, boot_id="b0", is_followed=False), True),
        (build_run("unsent", S.ACCEPTED, **OLD, is_followed=False), True),
        (build_run("sending", S.STARTING, **OLD, is_followed=False), True),
    ],
    ids=lambda value: value.id if isinstance(value, Run) else "",
)
async def test_what_never_ends_for_us_holds_nothing_back_after_a_day(store: Store, run: Run, is_held: bool) -> None:
    """A run that is not polled, or that no key can read, stays as it was for good; its price was paid when it began."""
    await store.accept(run)
    assert (await read(store)).reserved_credits == (5.0 if is_held else 0.0)


def build_terms(*, is_agreed: bool = False, **rules: Any) -> SpendingCheck:
    """Return terms under these limits."""
    return SpendingCheck(SpendingLimits(**rules), SINCE, BOOT_SINCE, is_agreed=is_agreed)


async def test_a_run_is_recorded_only_within_the_cap(store: Store) -> None:
    """What is refused leaves no trace; what ends for nothing makes room."""
    terms = build_terms(max_credits_per_day=10.0)
    found = [await store.accept(build_run(f"run_{n}", accepted_at=NOW), None, terms) for n in range(3)]
    assert [type(one) for one in found] == [Accepted, Accepted, LimitExceeded]
    assert isinstance(found[2], LimitExceeded)
    assert isinstance(found[2].reason, DayCapReached)
    assert (found[2].reason.reserved_credits, found[2].reason.left_credits) == (10.0, 0.0)
    assert len(await store.get_live_runs(account_id=ACCOUNT)) == 2
    await store.record("run_0", Cancelled("", NOW))
    assert isinstance(await store.accept(build_run("run_3", accepted_at=NOW), None, terms), Accepted)


async def test_an_unknown_run_counts_as_spent(store: Store) -> None:
    """It may have been charged."""
    terms = build_terms(max_credits_per_day=5.0)
    await store.accept(build_run("run_0", S.STARTING, accepted_at=NOW, accepted_boot_seconds=BOOT_NOW))
    await store.record("run_0", StartUnknown("", NOW))
    outcome = await store.accept(build_run("run_1"), None, terms)
    assert isinstance(outcome, LimitExceeded)
    assert isinstance(outcome.reason, DayCapReached)
    assert (outcome.reason.unknown_credits, outcome.reason.reserved_credits) == (5.0, 0.0)


@pytest.mark.parametrize(
    "rules",
    [
        {"max_credits_per_run": 1.0},
        {"max_credits_per_day": 1.0},
        {"confirm_above_credits": 1.0},
        {"unknown_price": UnknownPrice.REFUSE},
        {"unknown_price": UnknownPrice.CONFIRM},
    ],
    ids=str,
)
async def test_a_call_that_joins_is_never_refused_by_a_limit(store: Store, rules: dict[str, Any]) -> None:
    """It needs no credits, so there is nothing to ask either."""
    earlier = build_equal("run_0", S.RUNNING, price_credits=None)
    await store.accept(earlier)
    again = replace(build_equal("run_1"), price_credits=None if "unknown_price" in rules else 5.0)
    assert await store.accept(again, build_rules("call_1"), build_terms(**rules)) == Joined(earlier)


async def test_nothing_is_recorded_before_the_person_agreed(store: Store) -> None:
    """Their silence must leave nothing behind, not even a call that waits."""
    rules: dict[str, Any] = {"confirm_above_credits": 4.0}
    first = await store.accept(build_equal("run_1"), build_rules("call_1"), build_terms(**rules))
    assert isinstance(first, LimitExceeded)
    assert isinstance(first.reason, PriceUnconfirmed)
    assert await store.get_live_runs(account_id=ACCOUNT) == ()
    second = await store.accept(build_equal("run_1"), build_rules("call_1"), build_terms(**rules, is_agreed=True))
    assert isinstance(second, Accepted)


@pytest.mark.parametrize(
    ("is_new_wanted", "rules", "kind"),
    [
        (False, {"max_credits_per_run": 1.0}, Uncertain),
        (True, {"max_credits_per_run": 1.0}, RunCapReached),
        (True, {"confirm_above_credits": 1.0}, Uncertain),
        (True, {}, Uncertain),
    ],
)
async def test_an_uncertain_run_beside_a_price(
    store: Store, is_new_wanted: bool, rules: dict[str, Any], kind: type
) -> None:
    """What may have been started comes first; the person is not asked about it when a cap forbids the run anyway."""
    await store.accept(build_equal("run_0", S.UNKNOWN))
    outcome = await store.accept(
        build_equal("run_1"), build_rules("call_1", is_new_wanted=is_new_wanted), build_terms(**rules)
    )
    assert isinstance(outcome.reason if isinstance(outcome, LimitExceeded) else outcome, kind)


async def test_an_accepted_uncertainty_is_not_agreement_to_a_price(store: Store) -> None:
    """Two questions, two answers."""
    await store.accept(build_equal("run_0", S.UNKNOWN))
    rules = build_rules("call_1", is_new_wanted=True, is_uncertainty_accepted=True)
    terms = build_terms(confirm_above_credits=1.0)
    assert isinstance(await store.accept(build_equal("run_1"), rules, terms), LimitExceeded)
    agreed = replace(terms, is_agreed=True)
    assert isinstance(await store.accept(build_equal("run_1"), rules, agreed), Accepted)
