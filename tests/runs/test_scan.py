"""The periodic scan of a home, with a clock that never waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from flowport.domain.models import Output, OutputKind, RunState
from flowport.domain.run_events import PollingStopped
from flowport.runs.recovery import ADOPT_SECONDS, WATCH_SECONDS
from flowport.store.process_lock import ProcessLock
from tests.runs.benches import Bench, open_bench
from tests.runs.samples import NOW, RUN, build_status, read
from tests.support.scripted import ACCOUNT, FaultyStore, build_answer, in_turn, wait_until

RUNNING = replace(RUN, state=RunState.RUNNING, provider_run_id="remote-1", started_at=NOW)
STRANDED = replace(RUNNING, account_id="magnific:api.example:f0")


@asynccontextmanager
async def open_watch(store: FaultyStore, folder: Path, *, is_adopting: bool = False) -> AsyncIterator[Bench]:
    """Scan in the background, by a clock that the test moves; every run stays live."""
    answer = in_turn(last=build_answer(None, 500) if is_adopting else build_status("running"))
    async with open_bench(store, folder, answer, is_automatic=False) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.recovery.keep_adopting if is_adopting else bench.recovery.keep_watch)
        yield bench
        tasks.cancel_scope.cancel()


async def test_existing_runs_are_claimed_at_the_start(store: FaultyStore, tmp_path: Path) -> None:
    """The user restarts the client and waits."""
    await store.accept(RUNNING)
    async with open_watch(store, tmp_path) as bench:
        await wait_until(lambda: bench.live_runs.get(RUN.id) is not None)
        assert bench.clock.now() == NOW


async def test_a_dead_process_is_noticed_within_ten_seconds(store: FaultyStore, tmp_path: Path) -> None:
    """A caller may be waiting for its run in another client."""
    other = ProcessLock(tmp_path / "home")
    await store.accept(replace(RUNNING, process_id=other.process_id))
    async with open_watch(store, tmp_path) as bench:
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        assert bench.live_runs.get(RUN.id) is None
        other.release()
        bench.clock.advance(WATCH_SECONDS)
        await wait_until(lambda: bench.live_runs.get(RUN.id) is not None)
        assert bench.clock.now() - NOW < 10


async def test_a_fault_of_the_store_is_logged_once_and_survived(
    store: FaultyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full for hours must neither fill the log nor end the scan."""
    await store.accept(RUNNING)
    store.failing.add("claim")
    async with open_watch(store, tmp_path) as bench:
        for count in range(1, 4):
            await wait_until(lambda count=count: store.called.count("claim") == count)  # type: ignore[misc]
            await wait_until(lambda: bench.clock.count_sleepers() == 1)
            bench.clock.advance(WATCH_SECONDS)
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        store.failing.clear()
        bench.clock.advance(WATCH_SECONDS)
        await wait_until(lambda: bench.live_runs.get(RUN.id) is not None)
    assert caplog.text.count("cannot be taken over just now") == 1


@pytest.mark.parametrize("should_save", [True, False])
async def test_unsaved_outputs_are_searched_if_saving_is_on(
    store: FaultyStore, tmp_path: Path, *, should_save: bool
) -> None:
    """Some users want links only."""
    output = Output(1, OutputKind.IMAGE, "https://cdn.invalid/0.png", expires_at=NOW + 9)
    await store.accept(replace(RUNNING, state=RunState.SUCCEEDED, finished_at=NOW, outputs=(output,)))
    async with open_bench(store, tmp_path, in_turn(), is_automatic=False, should_save=should_save) as bench:
        await bench.recovery.scan()
        assert (bench.live_runs.get(RUN.id) is not None) is should_save


async def test_runs_of_another_key_are_tried_again_while_the_provider_is_down(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A failed request decides nothing; a minute later the network may work."""
    await store.accept(STRANDED)
    async with open_watch(store, tmp_path, is_adopting=True) as bench:
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        bench.account.answer = in_turn(last=build_status("running"))
        bench.clock.advance(ADOPT_SECONDS)
        await wait_until(lambda: bench.live_runs.get(RUN.id) is not None)
    assert (await read(store)).account_id == ACCOUNT.id


@pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "stopped"])
async def test_a_run_that_another_process_claimed_or_stopped_is_let_go(
    store: FaultyStore, tmp_path: Path, *, is_claimed: bool
) -> None:
    """A process that only polls learns of it by the next scan, also while the provider reports no change."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(last=build_status("running")), is_automatic=False) as bench:
        await bench.recovery.scan()
        held = await read(store)
        assert bench.live_runs.get(RUN.id) is not None
        if is_claimed:
            other = ProcessLock(tmp_path / "home")
            await store.claim(RUN.id, other.process_id, lease=held.lease)
        else:
            await store.record(RUN.id, PollingStopped())
        await bench.recovery.scan()
        assert bench.live_runs.get(RUN.id) is None
        if is_claimed:
            other.release()
    assert (await read(store)).is_followed is is_claimed


async def test_a_run_that_was_stopped_before_it_was_sent_is_cancelled(store: FaultyStore, tmp_path: Path) -> None:
    """Its process died while it waited to send the start request again; nothing is sent for a run the user stopped."""
    await store.accept(replace(RUN, is_followed=False, reported_at=NOW))
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.scan()
        assert bench.account.asked == []
    kept = await read(store)
    assert (kept.state, kept.reserved_credits) == (RunState.CANCELLED, 0.0)
