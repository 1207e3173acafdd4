"""What the store makes of events: what it writes, what it returns, and to whom a run belongs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.domain.run_events import (
    Adopted,
    AdoptionTried,
    Cancelled,
    Delivered,
    DeliveryCancelled,
    Finished,
    InputsPrepared,
    LinksRefreshed,
    OutputSaved,
    Polled,
    PollingStopped,
    Reported,
    RunEvent,
    Settled,
    StartAcknowledged,
    StartConfirmed,
    StartNotTaken,
    StartRequested,
    StartUnknown,
    Witness,
    apply,
)
from flowport.store.interface import Store
from flowport.store.records import Accepted, Claimed, Recorded, Stale, Taken
from tests.store.samples import ACCOUNT, OUTPUT, OWNER, RUN, build_run

S = RunState
SAVED = replace(OUTPUT, saved_path="/kept.png")

# Each event from a state that it changes.
CHANGES: list[tuple[Run, RunEvent]] = [
    (build_run("run_1"), StartRequested(7.0, "POST /v1/run")),
    (build_run("run_1", S.STARTING, starting_at=7.0), StartNotTaken()),
    (build_run("run_1", S.STARTING), StartAcknowledged("r1", S.QUEUED, 8.0)),
    (build_run("run_1", S.UNKNOWN, reserved_credits=0.0, spent_credits=5.0), StartConfirmed("r1", S.RUNNING, 8.0)),
    (build_run("run_1", S.UNKNOWN), StartConfirmed("r2", S.QUEUED, 8.0, Witness.WEBHOOK, "p9")),
    (build_run("run_1", S.UNKNOWN), Settled(S.SUCCEEDED, 8.0, 5.0, RUN.outputs)),
    (build_run("run_1", S.STARTING), StartUnknown("No answer.", 9.0, "<html>")),
    (build_run("run_1", S.QUEUED), Polled(S.RUNNING, 9.0)),
    (build_run("run_1", S.RUNNING), PollingStopped()),
    (build_run("run_1"), Cancelled("Nothing was sent.", 9.0)),
    (build_run("run_1", S.RUNNING), Finished(S.PARTIAL, 9.0, RUN.outputs, "why", 4.0, is_cost_reported=True)),
    (build_run("run_1", S.SUCCEEDED, outputs=RUN.outputs), OutputSaved(SAVED)),
    (build_run("run_1", S.SUCCEEDED, outputs=RUN.outputs), LinksRefreshed((SAVED,))),
    (build_run("run_1"), Reported(1.0)),
    (build_run("run_1"), InputsPrepared("smaller")),
    (build_run("run_1"), AdoptionTried("magnific:api.example:f0")),
    (build_run("run_1"), Adopted("magnific:api.example:f0", ACCOUNT)),
    (build_run("run_1"), Delivered(1.0, "Claude", "b1", 5.0)),
    (build_run("run_1", delivered_at=1.0), DeliveryCancelled(1.0)),
]


async def get_run(store: Store, run_id: str = "run_1") -> Run:
    """Return a run as it lies on disk."""
    return await store.get_run(run_id, account_id=None, owner=OWNER)


@pytest.mark.parametrize(("run", "event"), CHANGES, ids=lambda one: type(one).__name__)
async def test_an_event_is_written_whole_and_only_once(store: Store, run: Run, event: RunEvent) -> None:
    """What is on disk is what the pure rule says; the same event again changes nothing."""
    await store.accept(run)
    await store.accept(replace(run, id="run_2"))
    expected = apply(run, event)
    assert await store.record("run_1", event) == Recorded(expected)
    assert await get_run(store) == expected
    assert await store.record("run_1", event) == Stale(expected)
    assert await get_run(store, "run_2") == replace(run, id="run_2")


@pytest.mark.parametrize("event", [event for _, event in CHANGES], ids=lambda one: type(one).__name__)
async def test_a_run_that_is_missing_is_not_changed(store: Store, event: RunEvent) -> None:
    """It may have been erased a moment ago."""
    assert await store.record("run_none", event) == Stale(None)


async def test_an_accepted_run_comes_back_whole(store: Store) -> None:
    """Every field is needed after a restart."""
    await store.accept(RUN)
    assert await get_run(store, RUN.id) == RUN


async def test_an_id_is_accepted_once(store: Store) -> None:
    """Writing over a run would lose it."""
    await store.accept(build_run("run_1", app_name="first"))
    with pytest.raises(StoreError, match="contradicts an earlier one"):
        await store.accept(build_run("run_1", app_name="second"))
    assert (await get_run(store)).app_name == "first"


async def test_a_second_end_leaves_the_first(store: Store) -> None:
    """Another process that followed the same run must not undo what was saved meanwhile."""
    await store.accept(build_run("run_1", S.RUNNING))
    end = Finished(S.SUCCEEDED, 9.0, (OUTPUT,))
    await store.record("run_1", end)
    await store.record("run_1", OutputSaved(SAVED))
    assert await store.record("run_1", end) == Stale(await get_run(store))
    assert (await get_run(store)).outputs == (SAVED,)


async def test_an_output_that_was_never_recorded_is_not_saved(store: Store) -> None:
    """The caller learns from the run what is on record."""
    await store.accept(build_run("run_1"))
    assert await store.record("run_1", OutputSaved(OUTPUT)) == Stale(build_run("run_1"))


async def test_the_reply_to_a_start_is_recorded_although_the_run_was_given_up(store: Store) -> None:
    """Another process may have called the run unknown; without the id its result could never be fetched."""
    await store.accept(build_run("run_1", S.STARTING, process_id="dead"))
    await store.record("run_1", StartUnknown("The process has ended.", 9.0))
    outcome = await store.record("run_1", StartAcknowledged("r1", S.RUNNING, 10.0))
    assert isinstance(outcome, Recorded)
    assert (outcome.run.state, outcome.run.reserved_credits, outcome.run.spent_credits) == (S.RUNNING, 5.0, 0.0)
    assert (await store.get_live_runs(account_id=ACCOUNT)) == (outcome.run,)


async def test_a_call_that_is_answered_waits_no_longer_although_its_event_changes_nothing(store: Store) -> None:
    """The answer was given, whatever the run is by then."""
    await store.accept(build_run("run_1", reported_at=1.0))
    assert isinstance(await store.record("run_1", Reported(2.0), ended_call_id="call_1"), Stale)
    assert not await store.is_waited_for("run_1")


async def test_half_a_surrogate_pair_does_not_lose_a_result(store: Store) -> None:
    """JSON may carry one, and a database takes only UTF-8."""
    await store.accept(build_run("run_1", S.RUNNING))
    text = Output(n=1, kind=OutputKind.TEXT, url=None, text="a\ud800b")
    await store.record("run_1", Finished(S.SUCCEEDED, 9.0, (text,), "\udfff"))
    run = await get_run(store)
    assert (run.outputs[0].text, run.failure) == ("a?b", "?")


async def test_a_zero_character_does_not_lose_a_result(store: Store) -> None:
    """JSON may carry one in each text, ids and file names too; a database may replace it."""
    odd = "a\0b\udc00c"
    run = build_run("run_1", app_name=odd, app_id=odd, tool_name=odd, arguments_json=odd, raw_digest=odd, notes=odd)
    assert isinstance(await store.accept(run), Accepted)
    assert isinstance(await store.record("run_1", StartRequested(7.0, odd)), Recorded)
    assert isinstance(await store.record("run_1", StartAcknowledged(odd, S.RUNNING, 8.0)), Recorded)
    output = Output(
        n=1, kind=OutputKind.TEXT, url=odd, provider_output_id=odd, mime_type=odd, save_problem=odd, text=odd
    )
    assert isinstance(await store.record("run_1", Finished(S.SUCCEEDED, 9.0, (output,), odd)), Recorded)
    assert isinstance(await store.record("run_1", OutputSaved(replace(output, saved_path=odd))), Recorded)
    assert isinstance(await store.record("run_1", Delivered(9.0, odd, odd)), Recorded)
    kept = await get_run(store)
    texts = [kept.app_name, kept.failure, kept.delivered_to, kept.provider_run_id, kept.outputs[0].text]
    texts += [kept.outputs[0].url or "", kept.outputs[0].saved_path]
    assert {(text[0], text[2:]) for text in texts} == {("a", "b?c")}
    assert await store.find_run_at_provider(kept.provider_run_id, account_id=ACCOUNT) == kept
    odd_id = "a\0b"
    assert await store.assign_tool_names("scope", {odd_id: "name", "b": "other"}) == {odd_id: "name", "b": "other"}
    for _ in range(2):
        named = await store.assign_property_names("scope", {odd_id: {odd_id: "name"}})
        assert named == {odd_id: {odd_id: "name"}}
    assert len(await store.get_property_names("scope", [odd_id])) == 1


async def test_a_result_inside_of_a_link_and_long_texts_are_kept_whole(store: Store) -> None:
    """A data URI holds a whole file, and no index has room for that."""
    long = "".join(f"{n:x}" for n in range(100_000))
    output = Output(n=1, kind=OutputKind.FILE, url=f"data:text/plain,{long}", text=long)
    await store.accept(build_run("run_1", S.RUNNING, arguments_json=long, start_response=long))
    await store.record("run_1", Finished(S.SUCCEEDED, 9.0, (output,), long))
    kept = await get_run(store)
    assert kept.outputs == (output,)
    assert (kept.failure, kept.arguments_json, kept.start_response) == (long, long, long)


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -1])
async def test_whole_numbers_come_back_as_they_were(store: Store, number: int) -> None:
    """Providers state sizes; what no database can hold is dropped where answers are parsed."""
    output = replace(OUTPUT, size_bytes=number, width=number, height=0, duration_seconds=1e-300)
    await store.accept(build_run("run_1", S.RUNNING, price_credits=0.1, reserved_credits=1e9))
    await store.record("run_1", Finished(S.SUCCEEDED, 9.0, (output,), spent_credits=1 / 3))
    kept = await get_run(store)
    assert kept.outputs == (output,)
    assert (kept.price_credits, kept.spent_credits) == (0.1, 1 / 3)


@pytest.mark.parametrize("state", RunState)
async def test_a_run_is_claimed_once(store: Store, state: RunState) -> None:
    """Two followers would poll twice as often and save every file twice; a claimed run is polled again."""
    run = build_run("run_1", state, is_followed=False)
    await store.accept(run)
    claims = [await store.claim("run_1", name, lease=3) for name in ("p2", "p3")]
    claimed = replace(run, process_id="p2", lease=4, is_followed=True)
    assert claims == [Claimed(claimed), Taken()]
    assert await get_run(store) == claimed


@pytest.mark.parametrize(("run", "event"), CHANGES, ids=lambda one: type(one).__name__)
async def test_what_an_earlier_holder_records_is_stale(store: Store, run: Run, event: RunEvent) -> None:
    """The process that claimed the run decides on it; only a reply that names the provider's run still counts."""
    await store.accept(run)
    await store.claim("run_1", "p2", lease=run.lease)
    claimed = await get_run(store)
    outcome = await store.record("run_1", event, run.lease)
    if isinstance(event, StartAcknowledged):
        assert outcome == Recorded(apply(claimed, event))
        assert await store.record("run_1", replace(event, provider_run_id="r2"), run.lease) == Stale(outcome.run)
    else:
        assert outcome == Stale(claimed)
    assert await get_run(store) == outcome.run


@pytest.mark.parametrize(("run", "event"), CHANGES, ids=lambda one: type(one).__name__)
async def test_the_holder_and_events_without_a_lease_are_recorded(store: Store, run: Run, event: RunEvent) -> None:
    """A cancellation or a delivery comes from any process, whichever follows the run."""
    for run_id in ("run_1", "run_2"):
        await store.accept(replace(run, id=run_id))
        await store.claim(run_id, "p2", lease=run.lease)
    assert isinstance(await store.record("run_1", event, run.lease + 1), Recorded)
    assert isinstance(await store.record("run_2", event), Recorded)


async def test_an_earlier_holder_that_repeats_an_event_learns_who_has_the_run(store: Store) -> None:
    """A pending write is recorded minutes later, when another process may have gone on."""
    run = build_run("run_1", S.RUNNING)
    await store.accept(run)
    await store.claim("run_1", "p2", lease=run.lease)
    outcome = await store.record("run_1", Finished(S.FAILED, 9.0), run.lease)
    assert outcome == Stale(replace(run, process_id="p2", lease=run.lease + 1))


async def test_claims_of_one_process_exclude_each_other_as_well(store: Store) -> None:
    """Two tasks of a process that read the same run must not both act for it."""
    await store.accept(build_run("run_1", S.RUNNING))
    claims = [await store.claim("run_1", "p1", lease=3) for _ in range(2)]
    assert claims == [Claimed(await get_run(store)), Taken()]
    assert (await get_run(store)).lease == 4


async def test_a_run_that_is_missing_cannot_be_claimed(store: Store) -> None:
    """There is nothing to act for."""
    assert await store.claim("run_none", "p2", lease=1) == Taken()


async def test_a_run_of_the_provider_settles_one_run_of_ours(open_store: Callable[[], Store]) -> None:
    """Two runs of one provider's run would deliver one result twice and lose the other."""
    store, other = open_store(), open_store()
    for n in range(3):
        await store.accept(build_run(f"run_{n}", S.UNKNOWN, spent_credits=5.0, reserved_credits=0.0, unknown_at=9.0))
    await store.accept(build_run("elsewhere", S.UNKNOWN, account_id="magnific:api.example:f2", unknown_at=9.0))
    confirmed = StartConfirmed("r1", S.RUNNING, 8.0, Witness.RUN_LIST)
    outcomes = await asyncio.gather(
        store.record("run_0", confirmed), other.record("run_1", confirmed), store.record("elsewhere", confirmed)
    )
    assert sorted(type(one).__name__ for one in outcomes[:2]) == ["Recorded", "Stale"]
    assert isinstance(outcomes[2], Recorded)
    left = await store.get_unknown_runs(account_id=ACCOUNT, since=9.0, limit=9)
    assert len(left) == 2
    assert await store.get_unknown_runs(account_id=ACCOUNT, since=9.5, limit=9) == ()
    assert await store.get_unknown_runs(account_id=ACCOUNT, since=0.0, limit=1) == left[:1]
