"""The watch over an account: who gets the next request, decided when the request is there."""

import itertools
from dataclasses import replace

import anyio
import pytest

from flowport.domain.errors import Breakage, Operation
from flowport.domain.models import RunState, Urgency
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiRequest
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.poller import MAX_POLLS
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Pace
from tests.runs.polls import RUNNING, open_watch
from tests.runs.samples import build_look
from tests.support.fake_clock import FakeClock
from tests.support.scripted import (
    FaultyStore,
    Reply,
    ScriptedAccount,
    build_answer,
    build_breakage,
    in_turn,
    wait_until,
)

DONE, GOING = build_look("completed"), build_look("running")


async def test_with_little_load_a_limit_changes_nothing(store: FaultyStore) -> None:
    """First after two and a half seconds, then every four (get-run)."""
    async with open_watch(store, in_turn(GOING, GOING, DONE), limit=50) as watch:
        await watch.follow("a")
        await watch.finish("a")
        assert watch.asked_at == [2.5, 6.5, 10.5]
        assert watch.account.priorities == [Priority.POLL] * 3


async def test_a_request_goes_to_the_run_that_is_the_right_one_when_it_comes(store: FaultyStore) -> None:
    """It was asked for on behalf of a row; meanwhile another row has become likelier to have ended."""
    async with open_watch(store, in_turn(DONE, last=GOING), limit=1, is_automatic=False) as watch:
        await watch.account.limiter.take(Priority.START)
        await watch.follow("young", Urgency.BATCH)
        await wait_until(lambda: watch.clock.count_sleepers() >= 2)
        watch.clock.advance(3)
        await watch.follow("old", Urgency.BATCH, age=300.0)
        await watch.let_pass("old")
        assert watch.get_looked_at()[0] == "old"


async def test_a_row_that_somebody_waits_for_goes_first(store: FaultyStore) -> None:
    """The urgency is what it is now, not what it was when the run was asked for."""
    async with open_watch(store, in_turn(last=DONE), limit=50) as watch:
        await watch.follow("row", Urgency.BATCH)
        entry = watch.live_runs.get("row")
        assert entry is not None
        with entry.wait():
            await watch.finish("row")
        await watch.follow("other", Urgency.BATCH)
        await watch.finish("other")
        assert watch.account.priorities == [Priority.POLL, Priority.POLL_ROW]


async def test_a_run_that_was_just_asked_for_counts_as_waited_for_and_later_does_not(store: FaultyStore) -> None:
    """Its caller's patience has an end; then those that others wait for go first."""
    async with open_watch(store, in_turn(last=DONE), limit=50) as watch:
        await watch.follow("fresh", age=40.0)
        await watch.finish("fresh")
        await watch.follow("left", age=50.0)
        await watch.finish("left")
        assert watch.account.priorities == [Priority.POLL, Priority.POLL_ROW]


async def test_a_slow_answer_holds_up_nobody_else(store: FaultyStore) -> None:
    """One hung connection among many runs."""
    async with open_watch(store, in_turn(last=DONE)) as watch:
        held, slow = anyio.Event(), list[str]()

        async def hang() -> None:
            """Let the first answer take for ever."""
            if not slow:
                slow.append(watch.get_looked_at()[0])
                watch.asked.set()
                await held.wait()

        watch.account.before_answer = hang
        names = [f"run_{n}" for n in range(5)]
        await watch.accept(*names)
        for name in names:
            await watch.follow(name)
        await watch.asked.wait()
        await watch.finish(*(name for name in names if name != slow[0]))
        assert len(watch.over) == 4
        held.set()
        await watch.finish(*names)


async def test_no_more_looks_than_so_many_are_under_way(store: FaultyStore) -> None:
    """A provider that answers nobody must not be asked by hundreds at once."""
    async with open_watch(store, in_turn(last=DONE)) as watch:
        held = anyio.Event()

        async def hang() -> None:
            """Let nobody have an answer until as many as may be have asked."""
            if len(watch.account.asked) == MAX_POLLS:
                watch.asked.set()
            await held.wait()

        watch.account.before_answer = hang
        names = [f"run_{n}" for n in range(MAX_POLLS + 5)]
        await watch.accept(*names)
        for name in names:
            await watch.follow(name)
        await watch.asked.wait()
        await watch.clock.sleep(20.0)
        assert len(watch.account.asked) == MAX_POLLS
        held.set()
        await watch.finish(*names)


async def test_no_way_to_the_provider_is_a_look_that_failed(store: FaultyStore) -> None:
    """The built-in sandbox may not be there yet; the run is looked at again."""
    async with open_watch(store, in_turn(last=DONE)) as watch:
        lost, take = build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN), watch.account.wait_for_turn
        failing = iter([True, True])

        async def wait_for_turn(priority: Priority, operation: Operation = Operation.READ_RUN) -> None:
            """Fail twice."""
            if next(failing, False):
                raise lost
            await take(priority, operation)

        watch.account.wait_for_turn = wait_for_turn  # type: ignore[method-assign]  # the one way in which it can fail here
        await watch.follow("a")
        await watch.finish("a")
        assert watch.asked_at == [2.5 + 2 + 4]


@pytest.mark.parametrize("limit", [0, 50])
async def test_a_bug_in_the_watch_ends_the_following_of_every_run_and_of_none_that_comes_later(
    store: FaultyStore, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits must hear of it; a run that nobody watches would wait for ever."""
    clock, live_runs = FakeClock(), LiveRuns()
    account = ScriptedAccount(in_turn(last=DONE), clock, limit=limit)
    take, failing = account.wait_for_turn, iter([True])

    async def wait_for_turn(priority: Priority, operation: Operation = Operation.READ_RUN) -> None:
        """Have a bug, once."""
        if next(failing, False):
            raise ZeroDivisionError
        await take(priority, operation)

    account.wait_for_turn = wait_for_turn  # type: ignore[method-assign]  # a bug of ours, wherever it may be
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    async with Supervisor() as supervisor:
        follower = RunPoller(
            store, live_runs, clock, Pace(), PendingWrites(store, live_runs, clock), supervisor=supervisor
        )
        with pytest.raises(RuntimeError, match="has crashed"):
            await follower.follow(RUNNING, account)
        assert (await follower.follow(RUNNING, account)).state is RunState.SUCCEEDED
    assert "ZeroDivisionError" in caplog.text


async def test_runs_that_are_left_alone_while_they_wait_cost_no_request(store: FaultyStore) -> None:
    """The person does not want to hear of it any more; the request goes to another run."""
    async with open_watch(store, in_turn(last=DONE), limit=1, is_automatic=False) as watch:
        await watch.account.limiter.take(Priority.START)
        for name in ("unwanted", "wanted"):
            await watch.follow(name)
        await wait_until(lambda: watch.clock.count_sleepers() >= 2)
        watch.clock.advance(25)
        await wait_until(lambda: watch.account.priorities != [])
        watch.live_runs.remove("unwanted")
        await watch.let_pass("unwanted", "wanted")
        assert watch.get_looked_at() == ["wanted"]


async def test_a_request_that_nobody_needs_any_more_looks_at_nothing(store: FaultyStore) -> None:
    """Its only run was let go of while it stood in line."""
    async with open_watch(store, in_turn(), limit=1, is_automatic=False) as watch:
        await watch.account.limiter.take(Priority.START)
        await watch.follow("a")
        await wait_until(lambda: watch.clock.count_sleepers() >= 2)
        watch.clock.advance(25)
        await wait_until(lambda: watch.account.priorities != [])
        watch.live_runs.remove("a")
        await watch.let_pass("a")
        assert watch.account.asked == []


async def test_a_row_whose_batch_a_call_waits_for_is_read_again_within_ten_seconds(store: FaultyStore) -> None:
    """The caller of a batch waits for its rows."""
    async with open_watch(store, in_turn(*[build_answer(None, 500)] * 6, DONE)) as watch:
        batch = replace(RUNNING, id="batch_a", row_count=1)
        with watch.live_runs.put(batch, noted_at=watch.clock.monotonic()).wait():
            await watch.follow("row", Urgency.BATCH, batch_id=batch.id)
            await watch.finish("row")
    pauses = [after - before for before, after in itertools.pairwise(watch.asked_at)]
    assert pauses == [2, 4, 8, 10, 10, 10]


async def test_somebody_who_begins_to_wait_for_a_failing_run_does_not_wait_out_its_pause(store: FaultyStore) -> None:
    """A minute is for runs that nobody waits for; the caller has less than that in all."""
    failing = [build_answer(None, 500)] * 7
    replies = in_turn(*failing, DONE)
    async with open_watch(store, in_turn(last=DONE)) as watch:

        def answer(request: ApiRequest) -> Reply:
            """Have somebody wait once the pauses are long."""
            watch.asked_at.append(watch.clock.monotonic())
            entry = watch.live_runs.get("left")
            assert entry is not None
            entry.waiters = int(len(watch.asked_at) >= len(failing))
            return replies(request)

        watch.account.answer = answer
        await watch.follow("left", Urgency.BATCH)
        await watch.finish("left")
    pauses = [after - before for before, after in itertools.pairwise(watch.asked_at)]
    assert pauses == [2, 4, 8, 16, 32, 60, 10]
