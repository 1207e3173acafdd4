"""Which earlier run a call joins, and when it gets its own."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.models import ENDED_UNSENT, ENDED_WHILE_STARTING, Run, RunState
from flowport.domain.run_events import (
    Cancelled,
    Delivered,
    DeliveryCancelled,
    Finished,
    Reported,
    StartAcknowledged,
    StartRequested,
)
from flowport.store.interface import Store
from flowport.store.records import (
    CANCELLED_DELIVERY_SECONDS,
    Accepted,
    AttachRules,
    Joined,
    KnownProcesses,
    LivenessNeeded,
    Recorded,
    Stale,
    Uncertain,
    WaitingCall,
)
from tests.store.samples import OUTPUT, OWNER, build_run

S = RunState
NOW = 1_000.0
PROCESSES = KnownProcesses(alive=frozenset({"p1", "p2"}), dead=frozenset({"dead"}))
EVERYBODY = frozenset(f"call_{n}" for n in range(9))


def build_rules(call_id: str, *, process_id: str = "p1", at: float = NOW, **changes: Any) -> AttachRules:
    """Return the rules for a call of a living process, in a window of an hour; every other caller is connected."""
    rules = AttachRules(
        WaitingCall(call_id, process_id), 3600.0, at, "b1", at, connected_call_ids=EVERYBODY, processes=PROCESSES
    )
    return replace(rules, **changes)


def build_equal(run_id: str, state: S = S.ACCEPTED, **changes: Any) -> Run:
    """Return a run that asks for the same as every other of these tests."""
    values: dict[str, Any] = {"accepted_at": NOW, "accepted_boot_seconds": NOW, **changes}
    return build_run(run_id, state, **values)


async def call(store: Store, n: int, **changes: Any) -> str:
    """Call for the same once more; return the id of the run that the call waits for."""
    outcome = await store.accept(build_equal(f"run_{n}", accepted_at=NOW + n), build_rules(f"call_{n}", **changes))
    assert isinstance(outcome, Accepted | Joined)
    return outcome.run.id


async def finish(store: Store, run_id: str) -> None:
    """Let a run succeed."""
    await store.record(run_id, StartRequested(NOW))
    await store.record(run_id, StartAcknowledged("remote", S.RUNNING, NOW))
    await store.record(run_id, Finished(S.SUCCEEDED, NOW, spent_credits=0.0))


async def test_a_first_call_gets_its_own_run(store: Store) -> None:
    """There is nothing to join."""
    run = build_equal("run_1")
    assert await store.accept(run, build_rules("call_1")) == Accepted(run)
    assert (await store.get_run("run_1", account_id=None, owner=OWNER)).state is S.ACCEPTED


@pytest.mark.parametrize("state", [S.ACCEPTED, S.STARTING, S.QUEUED, S.RUNNING, S.SUCCEEDED, S.PARTIAL])
async def test_a_repeated_call_joins_a_run_whose_end_was_not_delivered(store: Store, state: S) -> None:
    """A client that gave up and calls again must not pay again, however far the run has come."""
    earlier = build_equal("run_0", state, outputs=(OUTPUT,))
    await store.accept(earlier)
    assert await store.accept(build_equal("run_1"), build_rules("call_1")) == Joined(earlier)
    kept = await store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=False)
    assert [run.id for run in kept] == ["run_0"]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": S.FAILED},
        {"state": S.CANCELLED},
        {"state": S.SUCCEEDED, "delivered_at": NOW},
        {"accepted_at": NOW - 3601, "accepted_boot_seconds": NOW - 3601},
        {"accepted_at": NOW, "accepted_boot_seconds": NOW - 3601},
        {"owner": "other"},
        {"account_id": "another"},
        {"app_id": "another"},
        {"raw_digest": "x", "canonical_digest": "y"},
    ],
    ids=str,
)
async def test_any_other_run_is_left_alone(store: Store, changes: dict[str, Any]) -> None:
    """A run of another owner, another request or a finished run is not what the call asks for."""
    await store.accept(replace(build_equal("run_0"), **changes))
    assert await call(store, 1) == "run_1"


@pytest.mark.parametrize("changes", [{"raw_digest": "x"}, {"canonical_digest": "y"}], ids=str)
async def test_the_same_words_or_the_same_meaning_are_enough(store: Store, changes: dict[str, Any]) -> None:
    """A model writes a number as text the second time, or a file's definition has changed meanwhile."""
    await store.accept(replace(build_equal("run_0"), **changes))
    assert await call(store, 1) == "run_0"


@pytest.mark.parametrize(
    "earlier",
    [
        {"accepted_at": NOW + 90_000},
        {"accepted_at": NOW - 90_000},
        {"accepted_at": NOW + 90_000, "boot_id": "b0"},
        {"accepted_at": NOW - 3599, "boot_id": "", "accepted_boot_seconds": None},
    ],
    ids=str,
)
async def test_a_clock_that_was_set_opens_no_way_to_pay_twice(store: Store, earlier: dict[str, Any]) -> None:
    """The boot clock decides; across boots, a run from the future is as good as new."""
    await store.accept(replace(build_equal("run_0"), **earlier))
    assert await call(store, 1) == "run_0"


async def test_a_window_of_nothing_joins_nothing(store: Store) -> None:
    """A person may turn it off."""
    await store.accept(build_equal("run_0"))
    assert await call(store, 1, window_seconds=0.0) == "run_1"


async def test_as_many_retries_join_as_many_runs(store: Store) -> None:
    """Four variations that were given up are four runs, and four retries get them all."""
    first = [await call(store, n, beside_call_ids=_name(range(n))) for n in range(4)]
    for n in range(4):
        await store.leave(f"call_{n}")
    again = [await call(store, n, beside_call_ids=_name(range(4, n))) for n in range(4, 8)]
    assert first == again == [f"run_{n}" for n in range(4)]


async def test_retries_beside_calls_that_still_wait_join_them_one_by_one(store: Store) -> None:
    """A client that times out without a word leaves its calls waiting; its retries must not become new runs."""
    first = [await call(store, n, beside_call_ids=_name(range(n))) for n in range(3)]
    again = [await call(store, n, beside_call_ids=_name(range(3, n))) for n in range(3, 6)]
    assert first == again


async def test_equal_calls_side_by_side_over_one_connection_are_as_many_runs(store: Store) -> None:
    """People ask for four variations at once."""
    assert [await call(store, n, beside_call_ids=_name(range(n))) for n in range(3)] == ["run_0", "run_1", "run_2"]


async def test_an_equal_call_over_another_connection_joins(store: Store) -> None:
    """Two programs that ask for the same at once are one person's retry more often than two requests."""
    assert [await call(store, 0), await call(store, 1, process_id="p2")] == ["run_0", "run_0"]


async def test_a_call_of_a_dead_process_waits_no_longer(store: Store) -> None:
    """Its client has gone with it, so its run is the first to be joined."""
    await store.accept(build_equal("run_0", S.RUNNING), build_rules("call_0"))
    rules = build_rules("call_1", process_id="dead", is_new_wanted=True)
    await store.accept(build_equal("run_1", S.RUNNING), rules)
    assert await call(store, 2) == "run_1"


async def test_a_new_run_is_had_by_asking_for_it(store: Store) -> None:
    """A caller who wants another run gets it."""
    await store.accept(build_equal("run_0"))
    assert await call(store, 1, is_new_wanted=True) == "run_1"


async def test_after_an_unknown_run_an_equal_call_is_refused_every_time(store: Store) -> None:
    """It may have been paid for; seeing that does not make it certain."""
    unknown = build_equal("run_0", S.UNKNOWN, delivered_at=NOW)
    await store.accept(unknown)
    for n in (1, 2):
        rules = build_rules(f"call_{n}", is_new_wanted=n == 2, beside_call_ids=frozenset({"call_0"}))
        assert await store.accept(build_equal(f"run_{n}"), rules) == Uncertain(unknown)
    assert await call(store, 3, is_new_wanted=True, is_uncertainty_accepted=True) == "run_3"


async def test_an_uncertain_run_counts_within_the_window(store: Store) -> None:
    """What was asked for yesterday is another request."""
    await store.accept(build_equal("run_0", S.UNKNOWN, accepted_boot_seconds=NOW - 3600))
    assert await call(store, 1) == "run_1"


async def test_a_run_that_can_be_joined_goes_before_an_uncertain_one(store: Store) -> None:
    """Joining costs nothing."""
    await store.accept(build_equal("run_0", S.UNKNOWN))
    await store.accept(build_equal("run_1", S.RUNNING))
    assert await call(store, 2) == "run_1"


async def test_what_a_dead_process_had_not_sent_is_dropped(store: Store) -> None:
    """No caller knows it, so the repeated call starts again, and the reservation is free."""
    await store.accept(build_equal("run_0", process_id="dead"))
    assert await call(store, 1) == "run_1"
    dropped = await store.get_run("run_0", account_id=None, owner=OWNER)
    assert (dropped.state, dropped.failure, dropped.reserved_credits) == (S.CANCELLED, ENDED_UNSENT, 0.0)


async def test_what_a_dead_process_had_not_sent_but_reported_is_joined(store: Store) -> None:
    """Its caller may ask for it by its id, so it will be started."""
    await store.accept(build_equal("run_0", process_id="dead", reported_at=NOW))
    assert await call(store, 1) == "run_0"


async def test_what_a_dead_process_was_sending_is_uncertain(store: Store) -> None:
    """The request may have left."""
    await store.accept(build_equal("run_0", S.STARTING, process_id="dead"))
    outcome = await store.accept(build_equal("run_1"), build_rules("call_1"))
    assert isinstance(outcome, Uncertain)
    assert (outcome.run.state, outcome.run.failure) == (S.UNKNOWN, ENDED_WHILE_STARTING)
    assert (outcome.run.spent_credits, outcome.run.reserved_credits) == (5.0, 0.0)


async def test_an_answered_call_waits_no_longer(store: Store) -> None:
    """The next equal call joins its run before any that is waited for."""
    for n in range(2):
        await call(store, n, beside_call_ids=_name(range(n)))
    await store.record("run_1", Reported(NOW), ended_call_id="call_1")
    assert await call(store, 2) == "run_1"


@pytest.mark.parametrize("connected", [frozenset(), EVERYBODY - {"call_0"}], ids=["alone", "beside others"])
async def test_a_caller_that_is_not_connected_any_more_does_not_count(store: Store, connected: frozenset[str]) -> None:
    """Its client has gone and calls again at once, over the same connection; it is still on the list."""
    await call(store, 0)
    beside = frozenset({"call_0"}) & connected
    assert await call(store, 1, connected_call_ids=connected, beside_call_ids=beside) == "run_0"


async def test_an_earlier_caller_that_is_connected_counts_behind_one_that_is_not(store: Store) -> None:
    """The last caller of a run has gone, the first waits still: another run without a caller is joined before it."""
    for n in range(2):
        await call(store, n, beside_call_ids=_name(range(n)))
    await call(store, 2, connected_call_ids=_name([0, 1]))
    await call(store, 3, connected_call_ids=_name([0]))
    assert await call(store, 4, connected_call_ids=_name([0, 3]), beside_call_ids=frozenset()) == "run_0"


async def test_an_answer_that_is_not_written_was_not_delivered(store: Store) -> None:
    """However long it waits, and whether its process lives or not: the same call gets the same result."""
    for process_id in ("dead", "p1"):
        await store.accept(build_equal("run_0"), build_rules("call_0", process_id=process_id))
        await finish(store, "run_0")
        assert await call(store, 1, at=NOW + 3000) == "run_0"
        await store.erase_run("run_0", owner=OWNER)


@pytest.mark.parametrize("process_id", ["dead", "p1", "p2"])
async def test_a_delivery_stands_whatever_becomes_of_its_process(store: Store, process_id: str) -> None:
    """The client has the result, so an equal call is another request."""
    await store.accept(build_equal("run_0"), build_rules("call_0", process_id=process_id))
    await finish(store, "run_0")
    await store.record("run_0", Delivered(NOW), ended_call_id="call_0")
    await store.forget_calls_of(["dead"])
    assert await call(store, 1) == "run_1"


@pytest.mark.parametrize(
    ("seconds", "run_id"),
    [(0.0, "run_0"), (CANCELLED_DELIVERY_SECONDS - 1, "run_0"), (CANCELLED_DELIVERY_SECONDS, "run_1")],
)
async def test_a_delivery_that_was_cancelled_afterwards_is_joined_for_a_minute(
    store: Store, seconds: float, run_id: str
) -> None:
    """The answer may have crossed with the cancellation; some clients cancel after every answer that they have read."""
    await call(store, 0)
    await finish(store, "run_0")
    for event in (Delivered(NOW), DeliveryCancelled(NOW)):
        await store.record("run_0", event, ended_call_id="call_0")
    assert await store.count_undelivered(owner=OWNER) == 0
    assert await call(store, 1, at=NOW + seconds) == run_id


async def test_whether_other_processes_live_is_asked_before_anything_is_changed(store: Store) -> None:
    """A transaction waits for no process; what it needs to know is brought along, and only what matters is asked."""
    await store.accept(build_equal("run_0", process_id="p8"), build_rules("call_0", process_id="p9"))
    await store.accept(build_equal("other", process_id="p7", raw_digest="x", canonical_digest="y"))
    asked = await store.accept(build_equal("run_1"), build_rules("call_1"))
    assert asked == LivenessNeeded(frozenset({"p8", "p9"}))
    assert await store.get_calling_processes() == {"p9"}
    known = PROCESSES.look_up(asked.process_ids, lambda one: one == "p9")
    assert known == KnownProcesses(PROCESSES.alive | {"p9"}, PROCESSES.dead | {"p8"})
    assert await call(store, 1, processes=known) == "run_1"
    assert (await store.get_run("run_0", account_id=None, owner=OWNER)).state is S.CANCELLED


async def test_a_run_is_abandoned_only_when_no_other_call_waits(store: Store) -> None:
    """A stop button must not take away another program's run."""
    await call(store, 0)
    await call(store, 1)
    first = await store.record("run_0", Cancelled("why", NOW), ended_call_id="call_0", unless_waited_for=True)
    second = await store.record("run_0", Cancelled("why", NOW), ended_call_id="call_1", unless_waited_for=True)
    assert (type(first), type(second)) == (Stale, Recorded)
    assert (await store.get_run("run_0", account_id=None, owner=OWNER)).state is S.CANCELLED


async def test_what_an_answer_on_its_way_holds_is_not_mentioned(store: Store) -> None:
    """The answer that delivers a result must not say that it was not delivered."""
    for n in range(2):
        await store.accept(build_equal(f"run_{n}", S.SUCCEEDED))
    reminder = await store.take_reminder(owner=OWNER, excluded={"run_1"})
    assert reminder is not None
    assert [run.id for run in reminder.runs] == ["run_0"]
    assert await store.take_reminder(owner=OWNER, excluded={"run_0", "run_1"}) is None


async def test_an_unseen_run_is_mentioned_three_times(store: Store) -> None:
    """Often enough to be noticed, and no more."""
    await store.accept(build_equal("run_0", S.SUCCEEDED))
    mentions = [await store.take_reminder(owner=OWNER) for _ in range(4)]
    assert [reminder and (reminder.count, [run.id for run in reminder.runs]) for reminder in mentions] == [
        *[(1, ["run_0"])] * 3,
        None,
    ]


async def test_what_a_dead_processs_client_waited_for_is_mentioned_too(store: Store) -> None:
    """Its client went with it, and the call stayed on the list."""
    await store.accept(build_equal("run_0", S.SUCCEEDED), build_rules("call_0", process_id="dead"))
    await store.accept(build_equal("run_1", S.SUCCEEDED), build_rules("call_1", is_new_wanted=True))
    await store.forget_calls_of(["dead"])
    reminder = await store.take_reminder(owner=OWNER)
    assert reminder is not None
    assert [run.id for run in reminder.runs] == ["run_0"]


async def test_only_what_a_user_may_have_missed_is_mentioned(store: Store) -> None:
    """A run that goes on, was seen, is waited for or belongs to another owner is not news."""
    await store.accept(build_equal("live", S.RUNNING))
    await store.accept(build_equal("seen", S.SUCCEEDED, delivered_at=NOW))
    await store.accept(build_equal("waited", S.FAILED), build_rules("call_0", is_new_wanted=True))
    await store.accept(build_equal("foreign", S.SUCCEEDED, owner="other"))
    assert await store.take_reminder(owner=OWNER) is None


async def test_a_mention_names_the_newest_of_many(store: Store) -> None:
    """It is one line, however many there are."""
    for n in range(5):
        await store.accept(build_equal(f"run_{n}", S.SUCCEEDED, accepted_at=NOW + n))
    reminder = await store.take_reminder(owner=OWNER)
    assert reminder is not None
    assert (reminder.count, [run.id for run in reminder.runs]) == (5, ["run_4", "run_3", "run_2"])


def _name(numbers: Iterable[int]) -> frozenset[str]:
    return frozenset(f"call_{n}" for n in numbers)
