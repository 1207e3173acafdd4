"""That no cap is passed: not by any sequence of calls, and not by several processes at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.call_errors import AccountCapReached, DayCapReached, MonthCapReached
from flowport.domain.models import RunState
from flowport.domain.run_events import Finished, RunEvent, StartAcknowledged, StartRequested, StartUnknown
from flowport.domain.spending import LimitExceeded, SpendingCheck
from flowport.store.interface import Store
from flowport.store.records import Accepted
from tests.store.samples import ACCOUNT, OWNER, build_run, finish_child, start_child

from .factories import FACTORIES
from .test_spending import DAY, NOW, build_ended, build_terms

S = RunState


@pytest.mark.parametrize(
    ("cap", "kind"),
    [
        ("max_credits_per_day", DayCapReached),
        ("max_credits_per_month", MonthCapReached),
        ("max_account_credits_per_day", AccountCapReached),
        ("max_account_credits_per_month", AccountCapReached),
    ],
)
async def test_each_cap_refuses_what_it_counts(store: Store, cap: str, kind: type) -> None:
    """A person's cap counts their runs at the provider, an account's those of everyone who uses it."""
    limits: dict[str, Any] = {cap: 21.0}
    terms = build_terms(**limits)
    is_account, is_month = "account" in cap, "month" in cap
    counted: dict[str, dict[str, Any]] = {
        "long ago": {"age": 20 * DAY},
        "other owner": {"owner": "other"},
        "other key": {"account_id": "magnific:api.example:f2"},
    }
    for name, changes in counted.items():
        await store.accept(build_ended(name, **changes))
    expected = 7.0 * (is_month + 1)
    accepted = 0
    while isinstance(found := await store.accept(build_run(f"run_{accepted}"), None, terms), Accepted):
        accepted += 1
    assert isinstance(found, LimitExceeded)
    assert isinstance(found.reason, kind)
    assert accepted == (21.0 - expected) // 5
    others = await store.accept(build_run("of another", owner="other"), None, terms)
    assert isinstance(others, LimitExceeded) is is_account
    elsewhere = build_run("elsewhere", account_id="magica:api.example:f1", provider="magica")
    assert isinstance(await store.accept(elsewhere, None, terms), Accepted)


CAPS = ("max_credits_per_day", "max_credits_per_month", "max_account_credits_per_day", "max_account_credits_per_month")
CALLS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5, 17.0, 60.0]), st.sampled_from("hsuf")),
    min_size=1,
    max_size=60,
)


@given(CALLS, st.fixed_dictionaries({}, optional=dict.fromkeys(CAPS, st.sampled_from([0.0, 0.3, 2.0, 17.0, 101.0]))))
@settings(max_examples=40, deadline=None)
def test_no_sequence_of_calls_passes_a_cap(calls: list[tuple[str, float, str]], caps: dict[str, Any]) -> None:
    """Several owners spend at once; runs hold, succeed, become unknown or fail, and no cap is passed by a fraction."""
    with TemporaryDirectory() as folder:
        asyncio.run(_spend_all(Path(folder), calls, build_terms(**caps), caps))


async def _spend_all(
    folder: Path, calls: list[tuple[str, float, str]], terms: SpendingCheck, caps: dict[str, float]
) -> None:
    store = next(iter(FACTORIES.values()))(folder)
    prices: dict[str, float] = {}

    async def spend(n: int, owner: str, price: float, end: str) -> None:
        """Start one run and end it as the example says."""
        run = build_run(f"run_{n}", owner=owner, price_credits=price, reserved_credits=price, accepted_at=NOW)
        if not isinstance(await store.accept(run, None, terms), Accepted):
            return
        prices[run.id] = price
        if end != "h":
            await store.record(run.id, StartRequested(NOW))
            ends: dict[str, RunEvent] = {"u": StartUnknown("", NOW), "f": Finished(S.FAILED, NOW)}
            await store.record(run.id, ends.get(end) or StartAcknowledged("p", S.QUEUED, NOW))
            await store.record(run.id, Finished(S.SUCCEEDED, NOW, spent_credits=price))

    await asyncio.gather(*(spend(n, *call) for n, call in enumerate(calls)))
    for owner in ("a", "b", "c", None):
        spending = await store.get_spending(account_id=ACCOUNT, owner=owner, since=0.0)
        for cap in (one for one in caps if ("account" in one) is (owner is None)):
            assert spending.spent_credits + spending.reserved_credits <= caps[cap] + 1e-9
    if not caps:
        assert len(prices) == len(calls)
    await store.close()


SPEND = """
import asyncio, sys
from pathlib import Path
from flowport.domain.run_events import StartRequested, StartUnknown
from flowport.store.records import Accepted
from flowport.domain.spending import SpendingLimits, SpendingCheck
from store.contract.factories import FACTORIES
from store.samples import build_run

async def main(kind, folder, name, cap):
    store = FACTORIES[kind](Path(folder))
    terms = SpendingCheck(SpendingLimits(**{cap: 103.0}), 0.0)

    async def spend(n):
        # A cap of the account holds for its owners together.
        run = build_run(f"run_{name}_{n}", price_credits=5.0, owner=f"owner{n % 7}" if "account" in cap else "local")
        if not isinstance(await store.accept(run, None, terms), Accepted):
            return 0
        if n % 2:  # half of them end, the others hold their reservation
            await store.record(run.id, StartRequested(7.0))
            await store.record(run.id, StartUnknown("", 7.0))
        return 1

    print(sum(await asyncio.gather(*(spend(n) for n in range(50)))))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("cap", ["max_credits_per_day", "max_account_credits_per_month"])
async def test_four_processes_reserve_no_credit_too_many(
    store_kind: str, tmp_path: Path, open_store: Callable[[], Store], cap: str
) -> None:
    """Each sees in its own transaction what all others have reserved, and what has become of it."""
    children = [start_child(SPEND, store_kind, tmp_path, name, cap) for name in "abcd"]
    counts = await asyncio.to_thread(lambda: [int(finish_child(child)) for child in children])
    store = open_store()
    owner = None if "account" in cap else OWNER
    spending = await store.get_spending(account_id=ACCOUNT, owner=owner, since=0.0)
    assert sum(counts) == 20
    assert spending.spent_credits + spending.reserved_credits == 100.0
