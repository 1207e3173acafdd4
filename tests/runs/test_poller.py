"""The poller of an account: which run gets the next request, decided when the request is granted."""

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
from flowport.runs.steps import Pace
from flowport.runtime.background import Supervisor
from tests.runs.polls import RUNNING, open_watch
from tests.runs.samples import build_status
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

DONE, GOING = build_status("completed"), build_status("running")


async def test_with_little_load_a_limit_changes_nothing(store: FaultyStore) -> None:
    """First after two and a half seconds, then every four (get-run)."""
    async with open_watch(store, in_turn(GOING, GOING, DONE), limit=50) as watch:
        await watch.follow("a")
        await watch.finish("a")
        assert watch.asked_at == [2.5, 6.5, 10.5]
        assert watch.account.priorities == [Priority.POLL] * 3


async def test_a_granted_request_goes_to_the_run_that_is_due_then(store: FaultyStore) -> None:
    """It was requested for one row; meanwhile another row is more likely to be over."""
    async with open_watch(store, in_turn(DONE, last=GOING), limit=1, is_automatic=False) as watch:
        await watch.account.limiter.take(Priority.START)
        await watch.follow("young", Urgency.BATCH)
        await wait_until(lambda: watch.clock.count_sleepers() >= 2)
        watch.clock.advance(3)
        await watch.follow("old", Urgency.BATCH, age=300.0)
        await watch.let_pass("old")
        assert watch.get_polled()[0] == "old"


async def test_an_awaited_row_is_polled_first(store: FaultyStore) -> None:
    """The present urgency counts, not the one of the submission."""
    async with open_watch(store, in_turn(last=DONE), limit=50) as watch:
        await watch.follow("row", Urgency.BATCH)
        entry = watch.live_runs.get("row")
        assert entry is not None
        with entry.wait():
            await watch.finish("row")
        await watch.follow("other", Urgency.BATCH)
        await watch.finish("other")
        assert watch.account.priorities == [Priority.POLL, Priority.POLL_ROW]


async def test_a_recently_requested_run_counts_as_awaited_for_a_while(store: FaultyStore) -> None:
    """Its caller stops waiting at some time; then runs with waiting callers go first."""
    async with open_watch(store, in_turn(last=DONE), limit=50) as watch:
        await watch.follow("fresh", age=40.0)
        await watch.finish("fresh")
        await watch.follow("left", age=50.0)
        await watch.finish("left")
        assert watch.account.priorities == [Priority.POLL, Priority.POLL_ROW]


async def test_a_slow_response_delays_no_other_run(store: FaultyStore) -> None:
    """One connection of many may hang."""
    async with open_watch(store, in_turn(last=DONE)) as watch:
        held, slow = anyio.Event(), list[str]()

        async def hang() -> None:
            """Delay the first response without end."""
            if not slow:
                slow.append(watch.get_polled()[0])
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


async def test_the_number_of_concurrent_polls_is_limited(store: FaultyStore) -> None:
    """A provider that does not respond must not get hundreds of concurrent requests."""
    async with open_watch(store, in_turn(last=DONE)) as watch:
        held = anyio.Event()

        async def hang() -> None:
            """Delay all responses until the limit of requests is reached."""
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


async def test_an_unreachable_provider_is_a_failed_poll(store: FaultyStore) -> None:
    """The built-in sandbox may not be running yet; the run is polled again."""
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
async def test_an_internal_error_of_the_poller_ends_the_polling_of_its_present_runs_only(
    store: FaultyStore, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Waiting callers must receive the error, because a run without a poller would never end."""
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
        poller = RunPoller(
            store, live_runs, clock, Pace(), PendingWrites(store, live_runs, clock), supervisor=supervisor
        )
        with pytest.raises(RuntimeError, match="has crashed"):
            await poller.poll(RUNNING, account)
        assert (await poller.poll(RUNNING, account)).state is RunState.SUCCEEDED
    assert "ZeroDivisionError" in caplog.text


async def test_stopped_runs_cost_no_request(store: FaultyStore) -> None:
    """The user wants no further updates; the request goes to another run."""
    async with open_watch(store, in_turn(last=DONE), limit=1, is_automatic=False) as watch:
        await watch.account.limiter.take(Priority.START)
        for name in ("unwanted", "wanted"):
            await watch.follow(name)
        await wait_until(lambda: watch.clock.count_sleepers() >= 2)
        watch.clock.advance(25)
        await wait_until(lambda: watch.account.priorities != [])
        watch.live_runs.remove("unwanted")
        await watch.let_pass("unwanted", "wanted")
        assert watch.get_polled() == ["wanted"]


async def test_a_request_without_a_run_polls_nothing(store: FaultyStore) -> None:
    """Its only run was removed while the request was queued."""
    async with open_watch(store, in_turn(), limit=1, is_automatic=False) as watch:
        await watch.account.limiter.take(Priority.START)
        await watch.follow("a")
        await wait_until(lambda: watch.clock.count_sleepers() >= 2)
        watch.clock.advance(25)
        await wait_until(lambda: watch.account.priorities != [])
        watch.live_runs.remove("a")
        await watch.let_pass("a")
        assert watch.account.asked == []


async def test_a_row_of_an_awaited_batch_is_polled_again_within_ten_seconds(store: FaultyStore) -> None:
    """The caller of a batch waits for its rows."""
    async with open_watch(store, in_turn(*[build_answer(None, 500)] * 6, DONE)) as watch:
        batch = replace(RUNNING, id="batch_a", row_count=1)
        with watch.live_runs.put(batch, noted_at=watch.clock.monotonic()).wait():
            await watch.follow("row", Urgency.BATCH, batch_id=batch.id)
            await watch.finish("row")
    pauses = [after - before for before, after in itertools.pairwise(watch.asked_at)]
    assert pauses == [2, 4, 8, 10, 10, 10]


async def test_a_new_waiter_shortens_the_delay_of_a_failing_run(store: FaultyStore) -> None:
    """A minute is for runs without waiting callers; a caller waits less than that in all."""
    failing = [build_answer(None, 500)] * 7
    replies = in_turn(*failing, DONE)
    async with open_watch(store, in_turn(last=DONE)) as watch:

        def answer(request: ApiRequest) -> Reply:
            """Begin to wait once the delays are long."""
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
