"""Runs that are not polled, the runs of a dead process, and what the end of our own process leaves to the next."""

from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.models import ENDED_UNSENT, ENDED_WHILE_STARTING, Run, RunState
from flowport.store.process_lock import ProcessLock
from tests.runs.benches import open_bench
from tests.runs.samples import BUSY, DONE, NOW, RUN, RUNNING, build_status, read
from tests.support.scripted import FaultyStore, in_turn


async def test_an_unpolled_run_is_resumed_to_its_end(store: FaultyStore, tmp_path: Path) -> None:
    """After a restart, or after its polling was stopped, the result is still available."""
    left = replace(RUNNING, is_followed=False)
    await store.accept(left)
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        await bench.recovery.resume(left)
        await bench.recovery.resume(left)
        over = await bench.finish(left)
    assert (over.state, over.is_followed) == (RunState.SUCCEEDED, True)
    assert len(bench.account.asked) == 1


async def test_a_run_is_resumed_although_the_store_cannot_record_it(store: FaultyStore, tmp_path: Path) -> None:
    """Polling is free and harmless, so a full disk is not a reason to refuse."""
    await store.accept(RUNNING)
    store.failing.add("claim")
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        await bench.recovery.resume(RUNNING)
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, state=RunState.STARTING),
        replace(RUNNING, provider_run_id=""),
        replace(RUNNING, state=RunState.SUCCEEDED),
        replace(RUNNING, state=RunState.UNKNOWN),
        replace(RUNNING, account_id="magnific:elsewhere:f2"),
    ],
    ids=["accepted", "starting", "without-id", "over", "unknown", "other-key"],
)
async def test_a_run_that_cannot_be_polled_is_not_resumed(store: FaultyStore, tmp_path: Path, run: Run) -> None:
    """Its id is missing, it has ended, or its key is missing."""
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.resume(run)
        assert bench.live_runs.get(run.id) is None


ORPHANS = [
    (RunState.ACCEPTED, "", RunState.CANCELLED, ENDED_UNSENT, 0.0),
    (RunState.STARTING, "", RunState.UNKNOWN, ENDED_WHILE_STARTING, 5.0),
    (RunState.RUNNING, "remote-1", RunState.RUNNING, "", 0.0),
]


@pytest.mark.parametrize(("state", "remote", "settled", "failure", "spent"), ORPHANS)
async def test_the_runs_of_a_dead_process_are_settled(
    *, store: FaultyStore, tmp_path: Path, state: RunState, remote: str, settled: RunState, failure: str, spent: float
) -> None:
    """Such a run is never started, so no caller must wait for it; one that may be paid for says so."""
    await store.accept(replace(RUN, state=state, provider_run_id=remote))
    async with open_bench(store, tmp_path, in_turn(last=build_status("running"))) as bench:
        await bench.recovery.scan()
        kept = await read(store)

    assert (kept.state, kept.failure, kept.spent_credits) == (settled, failure, spent)


async def test_the_runs_of_a_running_process_are_left_to_it(store: FaultyStore, tmp_path: Path) -> None:
    """Two clients each start a Flowport, and each has its own runs."""
    other = ProcessLock(tmp_path / "home")
    await store.accept(replace(RUN, process_id=other.process_id))
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.scan()
        await bench.recovery.resume(await read(store))
    other.release()

    assert (await read(store)).state is RunState.ACCEPTED


@pytest.mark.parametrize(
    ("state", "settled", "failure"),
    [
        (RunState.ACCEPTED, RunState.CANCELLED, ENDED_UNSENT),
        (RunState.STARTING, RunState.UNKNOWN, ENDED_WHILE_STARTING),
    ],
)
async def test_the_end_of_this_process_is_recorded(
    store: FaultyStore, tmp_path: Path, state: RunState, settled: RunState, failure: str
) -> None:
    """The next process must know what is certain, and credits must not stay reserved indefinitely."""
    async with open_bench(store, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        if state is RunState.STARTING:
            bench.account.before_answer = anyio.sleep_forever
        run = await bench.submit()
        if state is RunState.ACCEPTED:
            await bench.reach_pause(run, state)
        else:
            await bench.wait_for(run, state)
    kept = await read(store, run.id)

    assert (kept.state, kept.failure, kept.reserved_credits) == (settled, failure, 0.0)


async def test_time_counts_from_the_acceptance_in_another_process_too(store: FaultyStore, tmp_path: Path) -> None:
    """Three seconds after a minute of waiting is a minute and three seconds."""
    await store.accept(replace(RUNNING, accepted_at=NOW - 60))
    async with open_bench(store, tmp_path, in_turn(last=build_status("running")), is_automatic=False) as bench:
        await bench.recovery.resume(await read(store))
        entry = bench.live_runs.get(RUN.id)

        assert entry is not None
        assert bench.clock.monotonic() - entry.noted_at == 60.0
