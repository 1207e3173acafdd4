"""Internal errors and failing writes: known facts are kept, and no caller waits without end."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.errors import Operation, StoreError
from flowport.domain.models import App, JsonValue, Run, RunState
from flowport.domain.spending import SpendingCheck
from flowport.providers.interface import ApiAnswer, ApiRequest, RunStatus, StartOutcome, WebhookTarget
from flowport.providers.magnific.api import Magnific
from flowport.runs.cancellation import CancelOutcome
from flowport.runs.service import CRASHED
from flowport.store.records import AttachRules
from tests.runs.benches import open_bench
from tests.runs.samples import DONE, RUNNING, TAKEN, read
from tests.support.fake_clock import wait_until_blocked
from tests.support.scripted import Answer, FaultyStore, build_answer, in_turn, wait_until

BUG = ZeroDivisionError("our own bug")


async def test_a_run_that_cannot_be_recorded_is_not_sent(store: FaultyStore, tmp_path: Path) -> None:
    """Without a record it could be paid twice."""
    store.failing.add("accept")
    async with open_bench(store, tmp_path, in_turn()) as bench:
        with pytest.raises(StoreError, match="the disk is full"):
            await bench.submit()
        assert (bench.account.asked, len(bench.live_runs._live)) == ([], 0)


async def test_a_run_that_cannot_be_recorded_as_starting_fails_unsent(store: FaultyStore, tmp_path: Path) -> None:
    """The run itself reports the store's fault."""
    store.failing.add("StartRequested")
    async with open_bench(store, tmp_path, in_turn()) as bench:
        over = await bench.finish(await bench.submit())
    assert (over.state, over.reserved_credits, over.spent_credits) == (RunState.FAILED, 0.0, 0.0)
    assert over.failure == "Flowport's record of runs cannot be used: the disk is full. Make room."


@pytest.mark.parametrize(
    ("failing", "answer", "state"),
    [
        ({"StartRequested", "Finished"}, in_turn(), RunState.FAILED),
        ({"StartAcknowledged", "Finished"}, in_turn(TAKEN, DONE), RunState.SUCCEEDED),
        ({"StartAcknowledged"}, in_turn(TAKEN, DONE), RunState.SUCCEEDED),
        ({"StartUnknown"}, in_turn(build_answer(None, 500)), RunState.UNKNOWN),
    ],
)
async def test_a_run_whose_end_is_not_stored_stays_live(
    *, store: FaultyStore, tmp_path: Path, failing: set[str], answer: Answer, state: RunState
) -> None:
    """The list of live runs is then the only place where the user can see its end."""
    store.failing.update(failing)
    async with open_bench(store, tmp_path, answer) as bench:
        run = await bench.submit()
        await bench.wait_for(run, state)
        await wait_until_blocked()
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert (entry.run.state, entry.is_settled) == (state, True)
        assert bench.account.count(Operation.START_RUN) <= 1


class CrashingProvider(Magnific):
    """A provider with a bug in one of its functions."""

    def __init__(self, function: str, times: int = 1_000) -> None:
        super().__init__()
        self.function = function
        self.times = times

    def build_start_request(
        self, app: App, inputs: Mapping[str, JsonValue], webhook: WebhookTarget | None = None
    ) -> ApiRequest:
        """Crash, or do it."""
        self._crash_in("build_start_request")
        return super().build_start_request(app, inputs, webhook)

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Crash, or do it."""
        self._crash_in("parse_start")
        return super().parse_start(answer)

    def build_status_request(self, provider_run_id: str) -> ApiRequest:
        """Crash, or do it."""
        self._crash_in("build_status_request")
        return super().build_status_request(provider_run_id)

    def parse_status(self, answer: ApiAnswer, *, now: float) -> RunStatus:
        """Crash, or do it."""
        self._crash_in("parse_status")
        return super().parse_status(answer, now=now)

    def _crash_in(self, function: str) -> None:
        if function == self.function and self.times > 0:
            self.times -= 1
            raise BUG


CRASHES = [
    ("build_start_request", 0, RunState.FAILED, "Flowport made a mistake before anything was sent."),
    (
        "parse_start",
        1,
        RunState.UNKNOWN,
        "Flowport made a mistake while it started this run, so it may or may not be running.",
    ),
]


@pytest.mark.parametrize(("function", "sent", "state", "failure"), CRASHES, ids=[row[0] for row in CRASHES])
async def test_a_crash_keeps_known_facts_and_wakes_waiters(
    *, store: FaultyStore, tmp_path: Path, function: str, sent: int, state: RunState, failure: str
) -> None:
    """Our own bug must not turn a paid run into a failed one, nor leave a handler waiting."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE), provider=CrashingProvider(function)) as bench:
        run = await bench.submit()
        over = await bench.finish(run)
        assert (over.state, over.failure) == (state, failure)
        assert bench.account.count(Operation.START_RUN) == sent
    assert over.reserved_credits == 0.0
    assert over.spent_credits == (5.0 if state is RunState.UNKNOWN else 0.0)


@pytest.mark.parametrize("function", ["build_status_request", "parse_status"])
async def test_a_run_whose_polling_crashed_is_polled_again_by_this_process(
    *, store: FaultyStore, tmp_path: Path, function: str
) -> None:
    """The run is paid for and goes on, and no other process may touch it while this one lives."""
    async with open_bench(
        store, tmp_path, in_turn(TAKEN, last=DONE), provider=CrashingProvider(function, times=3)
    ) as bench:
        over = await bench.finish(await bench.submit())
        assert bench.clock.monotonic() >= sum(CRASHED.get_pause(count) or 0.0 for count in (1, 2, 3))
    assert (over.state, over.reserved_credits) == (RunState.SUCCEEDED, 0.0)
    assert bench.account.count(Operation.START_RUN) == 1


async def test_a_run_that_was_stopped_after_a_crash_stays_stopped(store: FaultyStore, tmp_path: Path) -> None:
    """The pause after a crash must not outlive what the user asked for."""
    answer = in_turn(TAKEN, last=DONE)
    async with open_bench(
        store, tmp_path, answer, provider=CrashingProvider("parse_status"), is_automatic=False
    ) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.RUNNING)
        bench.clock.advance(2.5)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        await wait_until(lambda: entry.crashes == 1 and bench.clock.count_sleepers() == 1)
        await bench.runner.cancel(run, should_stop_following=True)
        bench.clock.advance(600)
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
        assert (bench.runner.get_entry(run.id), bench.account.count(Operation.READ_RUN)) == (None, 1)
    assert not (await read(store, run.id)).is_followed


async def test_a_start_that_crashes_after_the_user_stopped_it_is_unknown(store: FaultyStore, tmp_path: Path) -> None:
    """It left the list of live runs, and its reservation must not be held for as long as the process lives."""
    async with open_bench(store, tmp_path, in_turn(TAKEN), provider=CrashingProvider("parse_start")) as bench:
        go = anyio.Event()
        bench.account.before_answer = go.wait
        run = await bench.submit()
        await bench.wait_for(run, RunState.STARTING)
        assert await bench.runner.cancel(run, should_stop_following=True) is CancelOutcome.UNFOLLOWED
        go.set()
        await wait_until(lambda: "StartUnknown" in store.called)
        await wait_until_blocked()
    kept = await read(store, run.id)
    assert (kept.state, kept.reserved_credits, kept.spent_credits) == (RunState.UNKNOWN, 0.0, 5.0)


async def test_a_start_that_the_user_stopped_is_unknown_when_the_process_ends(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A process that ends in order leaves no start of which nothing is known."""
    async with open_bench(store, tmp_path, in_turn(TAKEN)) as bench:
        bench.account.before_answer = anyio.Event().wait
        run = await bench.submit()
        await bench.wait_for(run, RunState.STARTING)
        await bench.runner.cancel(run, should_stop_following=True)
    assert (await read(store, run.id)).state is RunState.UNKNOWN


async def test_a_crash_wakes_a_waiting_handler(store: FaultyStore, tmp_path: Path) -> None:
    """It would otherwise wait until the client times out."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE), provider=CrashingProvider("parse_status")) as bench:
        run = await bench.submit()
        await bench.wait_for(run, RunState.RUNNING)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        with anyio.fail_after(60):
            await entry.changed.wait()
        assert entry.problem == "Flowport made a mistake while it followed this run."


@pytest.mark.parametrize(
    ("function", "operation", "state"),
    [
        ("build_start_request", "Finished", RunState.FAILED),
        ("parse_start", "StartUnknown", RunState.UNKNOWN),
    ],
)
async def test_an_unrecorded_crash_is_in_the_list_of_live_runs(
    store: FaultyStore, tmp_path: Path, function: str, operation: str, state: RunState
) -> None:
    """Two simultaneous faults still leave no handler waiting."""
    store.failing.add(operation)
    async with open_bench(store, tmp_path, in_turn(TAKEN), provider=CrashingProvider(function)) as bench:
        run = await bench.submit()
        await bench.wait_for(run, state)
        await wait_until_blocked()
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert (entry.is_settled, entry.is_unwritten) == (True, True)


class CrashingStore(FaultyStore):
    """A store with a bug."""

    async def accept(
        self,
        run: Run,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        whole_arguments: str | None = None,
    ) -> NoReturn:
        """Crash."""
        raise BUG


async def test_a_crash_before_acceptance_is_reported_to_the_caller(tmp_path: Path) -> None:
    """Nothing was sent, and the call must not hang."""
    store = CrashingStore(tmp_path / "store.sqlite3")
    async with open_bench(store, tmp_path, in_turn()) as bench:
        with pytest.raises(StoreError, match="Flowport made a mistake"):
            await bench.submit()
        assert bench.account.asked == []
    await store.close()


async def test_a_crash_of_a_run_that_was_taken_up_is_retried(store: FaultyStore, tmp_path: Path) -> None:
    """A run that this process has claimed is polled again like its own."""
    await store.accept(RUNNING)
    async with open_bench(
        store, tmp_path, in_turn(last=DONE), provider=CrashingProvider("parse_status", times=1)
    ) as bench:
        await bench.recovery.resume(RUNNING)
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED
