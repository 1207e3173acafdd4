"""What the store keeps of batches."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.call_errors import DayCapReached, PriceUnconfirmed, RunCapReached
from flowport.domain.errors import RunNotFound
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.domain.run_events import Delivered, DeliveryCancelled, Finished
from flowport.domain.spending import LimitExceeded, Spending
from flowport.store.interface import Store
from flowport.store.records import (
    STOPPED_BY_PERSON,
    Accepted,
    BatchProgress,
    BatchRow,
    Claimed,
    Joined,
    NewBatch,
    Recorded,
    Stale,
    Uncertain,
)
from tests.store.samples import ACCOUNT, OWNER, build_run

from .test_accept import build_rules
from .test_spending import build_terms

S = RunState
BATCH = "batch_1"


def build_batch(batch_id: str = BATCH, *, rows: int = 3, price: float | None = 5.0, **changes: Any) -> NewBatch:
    """Return a batch of as many rows, none of which has begun."""
    total = None if price is None else price * rows
    run = build_run(
        batch_id,
        S.RUNNING,
        row_count=rows,
        price_credits=total,
        reserved_credits=total or 0.0,
        accepted_boot_seconds=None,
    )
    run = replace(run, **{"raw_digest": "table", "canonical_digest": "meaning", "boot_id": "", **changes})
    found = tuple(
        BatchRow(n, n, 1, f'{{"own": {n}}}', f'{{"shown": {n}}}', f"raw {n}", f"canonical {n}")
        for n in range(1, rows + 1)
    )
    return NewBatch(run, '{"shared": 1}', price, 1, 2, found)


def build_row(n: int, state: S = S.ACCEPTED, **changes: Any) -> tuple[int, Run]:
    """Return the run that the row at a place becomes."""
    return n, build_run(f"run_{n}", state, batch_id=BATCH, canonical_digest=f"canonical {n}", **changes)


async def read_reserved(store: Store) -> Spending:
    """Return what is spent and reserved."""
    return await store.get_spending(account_id=ACCOUNT, owner=OWNER, since=0.0)


async def test_a_batch_holds_back_all_of_its_price_until_its_rows_do(store: Store) -> None:
    """What is reserved is the same before and after a row begins, to the credit."""
    assert isinstance(await store.accept_batch(build_batch(price=0.1)), Accepted)
    assert (await read_reserved(store)).reserved_credits == pytest.approx(0.3)
    runs = [build_row(n, reserved_credits=0.1) for n in (1, 2)]
    assert await store.accept_rows(BATCH, runs) == tuple(run for _, run in runs)
    assert await read_reserved(store) == Spending(0.0, pytest.approx(0.3), 0.0, 2)  # type: ignore[arg-type]
    await store.accept_rows(BATCH, [build_row(3, reserved_credits=0.1)])
    assert (await store.get_run(BATCH, account_id=None, owner=OWNER)).reserved_credits == 0.0


async def test_a_row_begins_once_whichever_process_begins_it(store: Store, open_store: Callable[[], Store]) -> None:
    """Two processes that both believe that the batch is theirs must not pay twice."""
    await store.accept_batch(build_batch(rows=20))
    other = open_store()
    ours = [(n, build_run(f"ours_{n}", batch_id=BATCH)) for n in range(1, 21)]
    theirs = [(n, build_run(f"theirs_{n}", batch_id=BATCH)) for n in range(1, 21)]
    found = await asyncio.gather(
        *(one.accept_rows(BATCH, [row]) for n in range(20) for one, row in ((store, ours[n]), (other, theirs[n])))
    )
    assert sum(map(len, found)) == 20
    assert len(await store.get_live_runs(account_id=ACCOUNT)) == 21


async def test_rows_that_have_not_begun_are_given_in_their_order(store: Store) -> None:
    """With what their runs need, and without what they are made of, which may be long."""
    await store.accept_batch(build_batch())
    await store.accept_rows(BATCH, [build_row(1)])
    waiting = await store.get_waiting_rows(BATCH, limit=1)
    assert waiting == (BatchRow(2, 2, 1, "", '{"shown": 2}', "raw 2", "canonical 2"),)
    kept = await store.get_batch_arguments(BATCH)
    assert (kept.shared_json, kept.own_json[1]) == ('{"shared": 1}', '{"own": 1}')
    with pytest.raises(RunNotFound):
        await store.get_batch_arguments("batch_none")
    assert await store.get_whole_arguments("run_1") == ('{"shared": 1}', '{"own": 1}')
    assert await store.get_whole_arguments("run_2") is None
    assert await store.get_whole_arguments("") is None


async def test_dropped_rows_never_begin_and_hold_nothing_back(store: Store) -> None:
    """The reason that was first is the reason."""
    await store.accept_batch(build_batch())
    await store.accept_rows(BATCH, [build_row(1, S.STARTING)])
    assert await store.drop_rows(BATCH, reason="Enough.", at=9.0) == 2
    assert await store.drop_rows(BATCH, reason="Enough again.", at=9.0) == 0
    assert await store.accept_rows(BATCH, [build_row(2)]) == ()
    assert (await read_reserved(store)).reserved_credits == 5.0
    batch_progress = await store.get_batch_progress(BATCH)
    assert (batch_progress.waiting, batch_progress.dropped, batch_progress.live, batch_progress.stop_reason) == (
        0,
        2,
        1,
        "Enough.",
    )
    assert [(row.is_begun, row.is_dropped) for row in await store.get_rows(BATCH)] == [
        (True, False),
        (False, True),
        (False, True),
    ]


async def test_what_was_not_sent_is_cancelled_with_what_has_not_begun(store: Store) -> None:
    """A short table has begun as a whole before the first of its rows fails."""
    await store.accept_batch(build_batch())
    states = (S.ACCEPTED, S.ACCEPTED, S.STARTING)
    await store.accept_rows(BATCH, [build_row(n, state, reserved_credits=5.0) for n, state in enumerate(states, 1)])
    assert (await store.get_batch_progress(BATCH)).unsent == 2
    assert await store.drop_rows(BATCH, reason="Enough.", at=9.0) == 2
    batch_progress = await store.get_batch_progress(BATCH)
    assert (batch_progress.dropped, batch_progress.cancelled, batch_progress.unsent, batch_progress.live) == (
        2,
        0,
        0,
        1,
    )
    assert batch_progress.stop_reason == "Enough."
    assert (await read_reserved(store)).reserved_credits == 5.0
    run = await store.get_run("run_1", account_id=None, owner=OWNER)
    assert (run.state, run.failure, run.finished_at) == (S.CANCELLED, "Enough.", 9.0)


async def test_a_caller_that_leaves_stops_a_batch_only_when_no_other_call_waits(store: Store) -> None:
    """Another program may have joined it meanwhile."""
    await store.accept_batch(build_batch(), build_rules("call_1"))
    assert isinstance(await store.accept_batch(build_batch("batch_2"), build_rules("call_2")), Joined)
    assert await store.drop_rows(BATCH, reason="Left.", at=9.0, call_id="call_1") == 0
    assert await store.drop_rows(BATCH, reason="Left.", at=9.0, call_id="call_2") == 3


async def test_a_batch_counts_its_rows_by_what_has_come_of_them(store: Store) -> None:
    """Those that were erased among them."""
    await store.accept_batch(build_batch(rows=9))
    states = [S.SUCCEEDED, S.PARTIAL, S.FAILED, S.UNKNOWN, S.CANCELLED, S.RUNNING, S.SUCCEEDED]
    runs = [build_row(n, state, spent_credits=0.5, starting_at=100.0 + n) for n, state in enumerate(states, 1)]
    await store.accept_rows(BATCH, runs)
    await store.erase_run("run_7", owner=OWNER)
    batch_progress = await store.get_batch_progress(BATCH)
    assert batch_progress == BatchProgress(
        rows=9,
        price_each_credits=5.0,
        variations=1,
        stop_after_failures=2,
        waiting=2,
        dropped=0,
        live=1,
        succeeded=1,
        partial=1,
        failed=1,
        unknown=1,
        cancelled=1,
        forgotten=1,
        spent_credits=3.0,
        first_starting_at=101.0,
        stop_reason="",
        csv_path="",
        csv_problem="",
    )
    assert (batch_progress.over, batch_progress.failures, batch_progress.is_over) == (6, 2, False)
    assert [run.id for run in await store.get_live_rows(BATCH)] == ["run_6"]
    erased = (await store.get_rows(BATCH, start=7, limit=1))[0]
    assert (erased.run, erased.is_begun, erased.row.display_json) == (None, True, "{}")


@pytest.mark.parametrize(
    ("states", "dropped", "end"),
    [
        ([S.SUCCEEDED, S.SUCCEEDED], 0, S.SUCCEEDED),
        ([S.SUCCEEDED], 1, S.PARTIAL),
        ([S.PARTIAL, S.FAILED], 0, S.PARTIAL),
        ([S.FAILED], 1, S.FAILED),
        ([S.UNKNOWN, S.CANCELLED], 0, S.FAILED),
        ([S.CANCELLED], 1, S.CANCELLED),
        ([], 2, S.CANCELLED),
    ],
)
async def test_how_a_batch_ends_follows_from_its_rows(store: Store, states: list[S], dropped: int, end: S) -> None:
    """In the words that runs have."""
    await store.accept_batch(build_batch(rows=2))
    await store.accept_rows(BATCH, [build_row(n, state) for n, state in enumerate(states, 1)])
    assert await store.drop_rows(BATCH, reason="Enough.", at=9.0) == dropped
    batch_progress = await store.get_batch_progress(BATCH)
    assert (batch_progress.is_over, batch_progress.get_end()) == (True, end)


async def test_a_batch_ends_once(store: Store) -> None:
    """The second of two who notice that it is over changes nothing."""
    await store.accept_batch(build_batch())
    end = Finished(S.PARTIAL, 900.0, failure="One.")
    first = await store.finish_batch(BATCH, end, csv_path="/a.csv", csv_problem="")
    second = await store.finish_batch(BATCH, end, csv_path="/b.csv", csv_problem="")
    run = await store.get_run(BATCH, account_id=None, owner=OWNER)
    assert (first, second) == (Recorded(run), Stale(run))
    assert (run.state, run.failure, run.finished_at, run.spent_credits) == (S.PARTIAL, "One.", 900.0, 0.0)
    assert (await store.get_batch_progress(BATCH)).csv_path == "/a.csv"


async def test_a_batch_is_ended_by_the_process_that_carries_it_out(store: Store) -> None:
    """What an earlier one makes of its rows counts no longer, nor does the table that it saved."""
    await store.accept_batch(build_batch())
    before = await store.get_run(BATCH, account_id=None, owner=OWNER)
    await store.claim(BATCH, "p2", lease=before.lease)
    end = Finished(S.PARTIAL, 900.0)
    assert isinstance(await store.finish_batch(BATCH, end, before.lease, csv_path="/a.csv", csv_problem=""), Stale)
    last = await store.finish_batch(BATCH, end, before.lease + 1, csv_path="/b.csv", csv_problem="")
    assert isinstance(last, Recorded)
    assert (await store.get_batch_progress(BATCH)).csv_path == "/b.csv"


async def test_rows_are_begun_by_the_process_that_carries_the_batch_out(store: Store) -> None:
    """Beside its successor, one that was paused would begin more rows than may be live at once."""
    await store.accept_batch(build_batch())
    before = await store.get_run(BATCH, account_id=None, owner=OWNER)
    assert len(await store.accept_rows(BATCH, [build_row(1)], before.lease)) == 1
    await store.claim(BATCH, "p2", lease=before.lease)
    spending = await read_reserved(store)
    assert await store.accept_rows(BATCH, [build_row(2)], before.lease) == ()
    assert [row.n for row in await store.get_waiting_rows(BATCH, limit=9)] == [2, 3]
    assert await read_reserved(store) == spending
    assert len(await store.accept_rows(BATCH, [build_row(2)], before.lease + 1)) == 1


async def test_rows_are_dropped_by_a_process_that_holds_the_batch_or_a_row(store: Store) -> None:
    """One that was paused and knows of failures stops nothing; a person or a caller needs no lease."""
    await store.accept_batch(build_batch(rows=4))
    batch = await store.get_run(BATCH, account_id=None, owner=OWNER)
    [row] = await store.accept_rows(BATCH, [build_row(1, S.FAILED)], batch.lease)
    for run in (batch, row):
        assert isinstance(await store.claim(run.id, "p2", lease=run.lease), Claimed)
        assert await store.drop_rows(BATCH, reason="Stopped.", at=900.0, holder=run) == 0
        assert len(await store.get_waiting_rows(BATCH, limit=9)) == 3
        assert (await store.get_batch_progress(BATCH)).stop_reason == ""
    assert await store.drop_rows(BATCH, reason="Stopped.", at=900.0, holder=replace(row, lease=row.lease + 1)) == 3
    assert (await store.get_batch_progress(BATCH)).stop_reason == "Stopped."


async def test_an_equal_batch_is_joined_and_no_row_is(store: Store) -> None:
    """By the words of the table or by its meaning; a single call that asks for the same as a row is another request."""
    first = build_batch()
    await store.accept_batch(first, build_rules("call_1"))
    await store.accept_rows(BATCH, [build_row(1, raw_digest="raw 1")])
    again = build_batch("batch_2", canonical_digest="another meaning")
    assert isinstance(await store.accept_batch(again, build_rules("call_2")), Joined)
    single = build_run("run_9", raw_digest="raw 1", canonical_digest="canonical 1")
    assert isinstance(await store.accept(single, build_rules("call_3")), Accepted)
    await store.accept_rows(BATCH, [build_row(2)])
    fresh = build_batch("batch_3", raw_digest="other", canonical_digest="other")
    assert isinstance(await store.accept_batch(fresh, build_rules("call_4")), Accepted)


@pytest.mark.parametrize("is_new_wanted", [True, False])
@pytest.mark.parametrize("is_row", [True, False])
async def test_a_run_of_unknown_fate_makes_an_equal_row_uncertain(
    store: Store, is_new_wanted: bool, is_row: bool
) -> None:
    """Be it a run of its own or a row of another batch; a caller who knows it may go on."""
    unknown = build_run("run_0", S.UNKNOWN, canonical_digest="canonical 2", batch_id="batch_0" if is_row else "")
    await store.accept(unknown)
    rules = build_rules("call_1", is_new_wanted=is_new_wanted)
    assert await store.accept_batch(build_batch(), rules) == Uncertain(unknown)
    single = build_run("run_9", canonical_digest="canonical 2")
    assert isinstance(await store.accept(single, build_rules("call_2")), Uncertain)
    known = replace(rules, is_new_wanted=True, is_uncertainty_accepted=True)
    assert isinstance(await store.accept_batch(build_batch(), known), Accepted)


async def test_an_old_uncertain_run_does_not_count(store: Store) -> None:
    """The window is that of runs."""
    await store.accept(build_run("run_0", S.UNKNOWN, canonical_digest="canonical 2", accepted_at=-9e9, boot_id="b0"))
    assert isinstance(await store.accept_batch(build_batch(), build_rules("call_1")), Accepted)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_credits_per_run": 4.0}, RunCapReached),
        ({"max_credits_per_day": 14.0}, DayCapReached),
        ({"confirm_above_credits": 14.0}, PriceUnconfirmed),
    ],
)
async def test_a_batch_is_paid_as_a_whole_or_not_at_all(
    store: Store, limits: dict[str, Any], error: type[Exception]
) -> None:
    """The cap of one run is over each row, the others over all."""
    refused = await store.accept_batch(build_batch(), None, build_terms(**limits))
    assert isinstance(refused, LimitExceeded)
    assert isinstance(refused.reason, error)
    with pytest.raises(RunNotFound):
        await store.get_batch_progress(BATCH)
    fitting = {name: limit + 1.0 for name, limit in limits.items()}
    assert isinstance(await store.accept_batch(build_batch(), None, build_terms(**fitting)), Accepted)


async def test_a_delivery_goes_for_all_rows(store: Store) -> None:
    """A batch is handed over as one."""
    await store.accept_batch(build_batch())
    await store.accept_rows(BATCH, [build_row(n, S.SUCCEEDED) for n in (1, 2, 3)])
    await store.finish_batch(BATCH, Finished(S.SUCCEEDED, 900.0), csv_path="", csv_problem="")
    assert await store.count_undelivered(owner=OWNER) == 1
    reminder = await store.take_reminder(owner=OWNER)
    assert reminder is not None
    assert [run.id for run in reminder.runs] == [BATCH]
    await store.record(BATCH, Delivered(950.0, "Claude"))
    seen = [await store.get_run(one, account_id=None, owner=OWNER) for one in (BATCH, "run_1", "run_3")]
    assert [(run.delivered_at, run.delivered_to) for run in seen] == [(950.0, "Claude")] * 3
    await store.record(BATCH, DeliveryCancelled(950.0))
    assert (await store.get_run(BATCH, account_id=None, owner=OWNER)).is_delivery_cancelled


async def test_lists_and_counts_show_a_batch_as_one(store: Store) -> None:
    """Its rows are found by their ids, and counted as the runs that they are."""
    await store.accept_batch(build_batch())
    await store.accept_rows(BATCH, [build_row(n, S.SUCCEEDED) for n in (1, 2)])
    await store.accept(build_run("run_9", S.SUCCEEDED))
    for is_unseen_first in (True, False):
        found = await store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=is_unseen_first)
        assert {run.id for run in found} == {BATCH, "run_9"}
    assert await store.count_undelivered(owner=OWNER) == 1
    history = await store.get_history(owner=OWNER)
    assert (history.runs, history.live) == (3, 0)


async def test_erasing_a_batch_erases_its_rows_and_names_its_table(store: Store) -> None:
    """The files stay, and the caller learns where they are."""
    await store.accept_batch(build_batch())
    output = Output(1, OutputKind.IMAGE, "https://cdn.example/1.png", saved_path="/1.png")
    await store.accept_rows(BATCH, [build_row(1, S.SUCCEEDED, outputs=(output,)), build_row(2, S.SUCCEEDED)])
    await store.finish_batch(BATCH, Finished(S.SUCCEEDED, 900.0), csv_path="/table.csv", csv_problem="")
    erasure = await store.erase_run(BATCH, owner=OWNER)
    assert set(erasure.saved_paths) == {"/1.png", "/table.csv"}
    assert (await store.get_history(owner=OWNER)).runs == 0


async def test_a_batch_of_another_key_is_not_stranded(store: Store) -> None:
    """No provider knows of it, so there is nothing to adopt; its rows are adopted by themselves."""
    await store.accept_batch(build_batch(account_id="magnific:api.example:f9"))
    row = build_row(1, S.RUNNING, provider_run_id="r", account_id="magnific:api.example:f9")
    await store.accept_rows(BATCH, [row])
    found = await store.get_stranded_runs(scope="magnific:api.example", account_id=ACCOUNT, limit=9)
    assert [run.id for run in found] == ["run_1"]


async def test_a_batch_can_be_joined_until_a_window_after_its_end(store: Store) -> None:
    """Two thousand rows take longer than the window; what is still going on must never be started a second time."""
    await store.accept_batch(build_batch(accepted_at=100.0))
    rules = replace(build_rules("call_1"), window_seconds=3600.0, boot_id="")
    late = replace(rules, at=100.0 + 50_000.0)
    assert isinstance(await store.accept_batch(build_batch("batch_2"), late), Joined)
    await store.leave("call_1")
    await store.finish_batch(BATCH, Finished(S.SUCCEEDED, 60_000.0), csv_path="", csv_problem="")
    soon, later = replace(rules, at=63_599.0), replace(rules, at=63_600.0)
    assert isinstance(await store.accept_batch(build_batch("batch_3"), soon), Joined)
    assert isinstance(await store.accept_batch(build_batch("batch_4"), later), Accepted)


@pytest.mark.parametrize(("reason", "is_joined"), [(STOPPED_BY_PERSON, False), ("Two rows failed.", True)])
async def test_a_batch_that_a_user_cancelled_is_not_joined(store: Store, reason: str, *, is_joined: bool) -> None:
    """Who asks for the same afterwards wants all of it; what stopped by itself is still the answer to a retry."""
    await store.accept_batch(build_batch(), build_rules("call_1"))
    await store.accept_rows(BATCH, [build_row(1)])
    await store.drop_rows(BATCH, reason=reason, at=100.0)
    await store.leave("call_1")

    again = await store.accept_batch(build_batch("batch_2"), build_rules("call_2"))
    assert isinstance(again, Joined) is is_joined
