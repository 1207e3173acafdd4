"""Requests to stop a run, and disconnected callers: what is stopped, and what is not reported as cancelled."""

from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.errors import Operation, StoreError
from flowport.domain.models import RunState
from flowport.domain.run_events import StartRequested
from flowport.providers.interface import ApiRequest
from flowport.runs.cancellation import CancelOutcome
from flowport.runs.submit import RunRequest
from tests.runs.benches import open_bench
from tests.runs.samples import BUSY, CALL, DONE, NOW, RUN, RUNNING, TAKEN, read
from tests.support.fake_clock import wait_until_blocked
from tests.support.scripted import FaultyStore, Reply, in_turn, wait_until


async def test_a_disconnected_submitter_stops_its_run_if_configured(store: FaultyStore, tmp_path: Path) -> None:
    """It disconnected before it could receive the run's id; nothing is sent."""
    store.held["accept"] = anyio.Event()
    async with open_bench(store, tmp_path, in_turn()) as bench:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.runner.submit, CALL, RunRequest("local", is_stopped_with_caller=True))
            await wait_until(lambda: "accept" in store.called)
            tasks.cancel_scope.cancel()
        store.held["accept"].set()
        await wait_until(lambda: "Cancelled" in store.called and len(bench.live_runs._live) == 0)
    (run,) = await store.get_runs(account_id=None, owner="local", limit=9, undelivered_first=False)
    assert (run.state, bench.account.asked) == (RunState.CANCELLED, [])


async def test_a_disconnected_submitter_leaves_the_run_running(store: FaultyStore, tmp_path: Path) -> None:
    """Clients time out; the run may be paid for by then."""
    store.held["accept"] = anyio.Event()
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.submit)
            await wait_until(lambda: "accept" in store.called)
            tasks.cancel_scope.cancel()
        store.held["accept"].set()
        await wait_until(lambda: "StartAcknowledged" in store.called)
        (run,) = await store.get_runs(account_id=None, owner="local", limit=9, undelivered_first=False)
        assert (await bench.finish(run)).state is RunState.SUCCEEDED


async def test_a_queued_run_is_cancelled_at_no_cost(store: FaultyStore, tmp_path: Path) -> None:
    """Nothing was sent, so nothing is charged."""
    async with open_bench(store, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.ACCEPTED)
        outcome = await bench.runner.cancel(run, should_stop_following=False)
        again = await bench.runner.cancel(run, should_stop_following=True)
        bench.clock.advance(7)
        over = await bench.finish(run)

    assert (outcome, again) == (CancelOutcome.CANCELLED, CancelOutcome.ALREADY_OVER)
    assert over == replace(
        RUN,
        id=run.id,
        process_id=run.process_id,
        state=RunState.CANCELLED,
        boot_id="boot",
        accepted_boot_seconds=0.0,
        failure="The run was cancelled before anything was sent; nothing was charged.",
        finished_at=NOW,
        reserved_credits=0.0,
    )
    assert len(bench.account.asked) == 1


async def test_a_cancelled_run_is_reported_at_once(store: FaultyStore, tmp_path: Path) -> None:
    """The task of the run may still sleep for minutes."""
    async with open_bench(store, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.ACCEPTED)
        await bench.runner.cancel(run, should_stop_following=False)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert entry.is_settled


async def test_a_run_that_is_being_started_cannot_be_cancelled(store: FaultyStore, tmp_path: Path) -> None:
    """The request is in flight; the answer "cancelled" could be wrong."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        go = anyio.Event()
        bench.account.before_answer = go.wait
        run = await bench.submit()
        await bench.wait_for(run, RunState.STARTING)
        outcomes = [
            await bench.runner.cancel(run, should_stop_following=False),
            await bench.runner.cancel(run, should_stop_following=True),
        ]
        go.set()
        await wait_until(lambda: "StartAcknowledged" in store.called)
        await wait_until_blocked()
        kept = await read(store, run.id)
    assert outcomes == [CancelOutcome.CANNOT, CancelOutcome.UNFOLLOWED]
    assert (kept.state, kept.is_followed, kept.provider_run_id) == (RunState.RUNNING, False, "remote-1")
    assert len(bench.account.asked) == 1


async def test_a_running_run_continues_or_is_no_longer_polled(store: FaultyStore, tmp_path: Path) -> None:
    """Magnific cannot cancel, so these are the two honest outcomes."""
    async with open_bench(store, tmp_path, in_turn(TAKEN), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.RUNNING)
        outcomes = [
            await bench.runner.cancel(run, should_stop_following=False),
            await bench.runner.cancel(run, should_stop_following=True),
        ]
        over = await bench.finish(run)
        bench.clock.advance(60)
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
    assert outcomes == [CancelOutcome.CANNOT, CancelOutcome.UNFOLLOWED]
    assert (over.state, over.is_followed) == (RunState.RUNNING, False)
    assert bench.account.count(Operation.READ_RUN) == 0


async def test_a_run_of_another_process_is_cancelled_through_the_store(store: FaultyStore, tmp_path: Path) -> None:
    """Two clients share one home; the other process finds the run cancelled when it is about to send it."""
    other = replace(RUN, id="run_two")
    await store.accept(RUN)
    await store.accept(other)
    await store.record(other.id, StartRequested(NOW))
    async with open_bench(store, tmp_path, in_turn()) as bench:
        outcomes = [await bench.runner.cancel(run, should_stop_following=False) for run in (RUN, other)]
    assert outcomes == [CancelOutcome.CANCELLED, CancelOutcome.CANNOT]
    assert (await read(store)).state is RunState.CANCELLED


async def test_a_run_that_has_started_meanwhile_is_not_reported_as_cancelled(
    store: FaultyStore, tmp_path: Path
) -> None:
    """The store decides, not a copy that was read a moment ago."""
    await store.accept(RUN)
    await store.record(RUN.id, StartRequested(NOW))
    async with open_bench(store, tmp_path, in_turn()) as bench:
        assert await bench.runner.cancel(RUN, should_stop_following=False) is CancelOutcome.CANNOT


@pytest.mark.parametrize("operation", ["Cancelled", "PollingStopped"])
async def test_a_stop_request_that_cannot_be_recorded_is_refused(
    store: FaultyStore, tmp_path: Path, operation: str
) -> None:
    """Reporting "cancelled" and starting all the same would cost the user money."""
    run = RUN if operation == "Cancelled" else RUNNING
    await store.accept(run)
    store.failing.add(operation)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        with pytest.raises(StoreError):
            await bench.runner.cancel(run, should_stop_following=True)
    assert await read(store) == run


async def test_the_run_of_a_disconnected_caller_is_stopped_if_nothing_was_sent(
    store: FaultyStore, tmp_path: Path
) -> None:
    """Some users want their stop button to stop the run."""
    async with open_bench(store, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        call = RunRequest("local")
        run = (await bench.runner.submit(CALL, call)).run
        await bench.reach_pause(run, RunState.ACCEPTED)
        bench.runner.stop_unwanted(run, call)
        await bench.wait_for(run, RunState.CANCELLED)
    assert (await read(store, run.id)).state is RunState.CANCELLED


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_stop_request_survives_a_refused_start(store: FaultyStore, tmp_path: Path, *, is_shared: bool) -> None:
    """The start was in flight when the caller disconnected; a refused start is sent again only for another caller."""
    call, held = RunRequest("local"), anyio.Event()

    def answer(request: ApiRequest) -> Reply:
        """Let the caller disconnect during the first request."""
        if held.is_set():
            return TAKEN if request.operation is Operation.START_RUN else DONE
        held.set()
        return BUSY

    async with open_bench(store, tmp_path, answer, is_automatic=False) as bench:
        run = (await bench.runner.submit(CALL, call)).run
        if is_shared:
            await bench.runner.submit(CALL, RunRequest("local", connection="another"))
        bench.live_runs.note_unwanted(run)
        await store.leave(call.id)
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        bench.clock.advance(7)
        if is_shared:
            await wait_until(lambda: len(bench.account.asked) == 2)
        else:
            assert (await bench.finish(run)).state is RunState.CANCELLED
            assert len(bench.account.asked) == 1


async def test_stopping_and_resuming_leaves_one_poller(store: FaultyStore, tmp_path: Path) -> None:
    """Two would poll twice as often and save every file twice."""
    answer = in_turn(TAKEN, DONE)
    async with open_bench(store, tmp_path, answer, is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.RUNNING)
        await bench.runner.cancel(run, should_stop_following=True)
        await bench.recovery.resume(await read(store, run.id))
        (poller,) = bench.runner._poller._pollers.values()
        await wait_until(lambda: len(poller._slots) == 2)
        bench.clock.advance(60)
        assert (await bench.finish(run)).state is RunState.SUCCEEDED
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
    assert bench.account.count(Operation.READ_RUN) == 1
