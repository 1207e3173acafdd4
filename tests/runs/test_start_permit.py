"""A start request leaves only while the record of its start is known to be true, however long the process stood still."""

from collections.abc import Awaitable, Callable

import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Settled, StartRequested, StartUnknown
from flowport.network.api_client import Permit
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.start import RunStarter
from flowport.runs.start_rules import MAX_LOOKS, PROVEN_SECONDS, StartPermit, StartWithdrawn
from tests.runs.samples import CALL, NOW, RUN, TAKEN, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore, ScriptedAccount, in_turn

PAUSE_SECONDS = 30.0


class PausedAccount(ScriptedAccount):
    """The process stands still between the record and the request, while others go on."""

    meanwhile: Callable[[], Awaitable[object]]

    async def send_now(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:
        """Stand still first."""
        await self.meanwhile()
        return await super().send_now(request, permit)


class SlowStore:
    """Answers late."""

    def __init__(self, store: FaultyStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.looks = 0

    async def get_run_of_any_owner(self, run_id: str) -> Run:
        """Return the run as it was long ago."""
        run = await self.store.get_run_of_any_owner(run_id)
        self.looks += 1
        self.clock.advance(PAUSE_SECONDS)
        return run


async def start(store: FaultyStore, clock: FakeClock, meanwhile: Callable[[], Awaitable[object]]) -> PausedAccount:
    """Start a run whose process stands still before its request leaves; return the account with what was sent."""
    live_runs = LiveRuns()
    account = PausedAccount(in_turn(TAKEN), clock)
    account.meanwhile = meanwhile
    await store.accept(RUN)
    live_runs.put(RUN, noted_at=0.0)
    await RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock)).start(RUN, CALL, account)
    return account


@pytest.mark.parametrize("is_settled", [False, True], ids=["unknown", "given up by a person"])
async def test_a_request_does_not_leave_after_another_process_has_taken_the_run(
    store: FaultyStore, *, is_settled: bool
) -> None:
    """A person may have started the run again by then, and would pay twice."""
    clock = FakeClock(is_automatic=False)

    async def take_over() -> None:
        """Do what a worker and a person do meanwhile."""
        clock.advance(PAUSE_SECONDS)
        claimed = await store.claim(RUN.id, "other", lease=RUN.lease)
        await store.record(RUN.id, StartUnknown("ended", NOW), claimed.run.lease)  # type: ignore[union-attr]
        if is_settled:
            await store.record(RUN.id, Settled(RunState.FAILED, NOW, 0.0, failure="lost"))

    account = await start(store, clock, take_over)
    assert account.asked == []
    assert (await read(store)).state is (RunState.FAILED if is_settled else RunState.UNKNOWN)


async def test_a_request_leaves_after_a_pause_in_which_nothing_has_happened(store: FaultyStore) -> None:
    """A machine that sleeps for a while starts its runs when it wakes."""
    clock = FakeClock(is_automatic=False)

    async def sleep() -> None:
        """Stand still."""
        clock.advance(PAUSE_SECONDS)

    account = await start(store, clock, sleep)
    assert len(account.asked) == 1
    assert (await read(store)).state is RunState.RUNNING


async def test_nothing_leaves_while_the_record_cannot_be_read(store: FaultyStore) -> None:
    """A queued run is tried again, because it is certain that nothing has left."""
    clock = FakeClock(is_automatic=False)

    async def lose() -> None:
        """Lose the database."""
        clock.advance(PAUSE_SECONDS)
        store.failing.add("get_run_of_any_owner")

    with pytest.raises(StoreError):
        await start(store, clock, lose)
    assert (await read(store)).state is RunState.STARTING


async def test_a_fresh_record_is_not_read_again(store: FaultyStore) -> None:
    """Usually the request leaves at once, and the database is spared a query."""
    clock = FakeClock(is_automatic=False)

    async def hurry() -> None:
        """Take as long as is allowed."""
        clock.advance(PROVEN_SECONDS)
        store.failing.add("get_run_of_any_owner")

    assert len((await start(store, clock, hurry)).asked) == 1


async def test_a_clock_that_was_set_counts_as_a_pause(store: FaultyStore) -> None:
    """The clocks of a machine that was moved stand still; only the wall clock is set right afterwards."""
    clock = FakeClock(is_automatic=False)
    await store.accept(RUN)
    permit = StartPermit(RUN, store, clock)
    await store.record(RUN.id, StartRequested(NOW))
    await store.claim(RUN.id, "other", lease=RUN.lease)
    await permit.check()
    clock.set_wall(PAUSE_SECONDS)
    with pytest.raises(StartWithdrawn):
        await permit.check()


async def test_a_record_that_takes_too_long_to_read_proves_nothing(store: FaultyStore) -> None:
    """Each look is old when its answer comes."""
    clock = FakeClock(is_automatic=False)
    slow = SlowStore(store, clock)
    permit = StartPermit(RUN, slow, clock)
    await store.accept(RUN)
    await store.record(RUN.id, StartRequested(NOW))
    clock.advance(PAUSE_SECONDS)
    with pytest.raises(StoreError):
        await permit.check()
    assert slow.looks == MAX_LOOKS
