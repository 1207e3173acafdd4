"""Runs of dead processes, claimed by a running one."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from flowport.catalog.listing import Listing
from flowport.domain.errors import Breakage, Operation, StoreError
from flowport.domain.models import (
    ENDED_UNRESTORED,
    ENDED_UNSENT,
    ENDED_WHILE_STARTING,
    Output,
    OutputKind,
    Run,
    RunState,
)
from flowport.domain.run_events import StartUnknown
from flowport.runs.submit import RunRequest
from flowport.store.process_lock import ProcessLock
from tests.fakes.client import build_photo, write
from tests.runs.benches import OneApp, open_bench
from tests.runs.samples import APP, NOW, PROMPT, RUN, TAKEN, build_status, read
from tests.support.fake_clock import wait_until_blocked
from tests.support.raw_server import build_reply, serving
from tests.support.scripted import ACCOUNT, FaultyStore, build_answer, build_breakage, in_turn, wait_until

RUNNING = replace(RUN, state=RunState.RUNNING, provider_run_id="remote-1", started_at=NOW)
REPORTED = replace(RUN, reported_at=NOW, canonical_digest="d83b8a3c5a9e")
DONE = build_status("completed")
PNG = write(build_photo(8, 8))
LISTING = Listing(replace(APP, inputs=(PROMPT,)), "sketch", {"in-1": "prompt"})
EXPIRED = Output(1, OutputKind.IMAGE, "https://cdn.example/0.png?token=old", "c0", expires_at=NOW - 1)


def build_over(*outputs: Output, process_id: str = "p1", lease: int = 1) -> Run:
    """Return a run that succeeded with these outputs."""
    return replace(
        RUNNING, state=RunState.SUCCEEDED, finished_at=NOW, outputs=outputs, process_id=process_id, lease=lease
    )


async def test_the_run_of_a_dead_process_is_polled_to_its_end(store: FaultyStore, tmp_path: Path) -> None:
    """It is paid for, and no other process polls it any more."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(build_status("running"), DONE)) as bench:
        await bench.recovery.take_over(RUNNING)
        over = await bench.finish(RUNNING)
        assert (over.state, over.process_id) == (RunState.SUCCEEDED, bench.process.process_id)


async def test_one_of_many_claims_succeeds(store: FaultyStore, tmp_path: Path) -> None:
    """The editor and the desktop client notice the death in the same second."""
    await store.accept(RUNNING)
    last = build_status("running")
    async with (
        open_bench(store, tmp_path, in_turn(last=last), is_automatic=False) as one,
        open_bench(store, tmp_path, in_turn(last=last), is_automatic=False) as two,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3):
            tasks.start_soon(one.recovery.take_over, RUNNING)
            tasks.start_soon(two.recovery.resume, RUNNING)
        await wait_until(lambda: store.called.count("claim") >= 2)
        await wait_until_blocked()
        await wait_until(lambda: one.clock.count_sleepers() + two.clock.count_sleepers() == 1)
        holder = one if one.clock.count_sleepers() else two
        assert (await read(store)).process_id == holder.process.process_id
        assert [bench.live_runs.get(RUN.id) is not None for bench in (one, two)] == [holder is one, holder is two]


async def test_a_run_that_another_process_polls_is_not_claimed(store: FaultyStore, tmp_path: Path) -> None:
    """Two processes would poll twice as often and save every file twice."""
    other = ProcessLock(tmp_path / "home")
    run = replace(RUNNING, process_id=other.process_id)
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.take_over(run)
        await bench.recovery.resume(run)
        assert bench.recovery.is_followed_elsewhere(run)
        assert bench.live_runs.get(run.id) is None
    other.release()
    assert await read(store) == run


async def test_an_unpolled_run_is_resumed_only_on_request(store: FaultyStore, tmp_path: Path) -> None:
    """A user stopped its polling; a new request for it resumes it, whichever process had it."""
    other = ProcessLock(tmp_path / "home")
    dead = replace(RUNNING, is_followed=False)
    living = replace(dead, id="run_two", process_id=other.process_id)
    await store.accept(dead)
    await store.accept(living)
    async with open_bench(store, tmp_path, in_turn(DONE, DONE)) as bench:
        await bench.recovery.take_over(dead)
        assert bench.live_runs.get(dead.id) is None
        for run in (dead, living):
            await bench.recovery.resume(run)
            over = await bench.finish(run)
            assert (over.state, over.is_followed, over.process_id) == (
                RunState.SUCCEEDED,
                True,
                bench.process.process_id,
            )
    other.release()


@pytest.mark.parametrize(("reported_at", "states"), [(NOW, RunState.SUCCEEDED), (None, RunState.CANCELLED)])
async def test_an_unsent_run_is_started_if_its_id_was_reported(
    store: FaultyStore, tmp_path: Path, reported_at: float | None, states: RunState
) -> None:
    """A caller that received the run's id waits for it; without a caller the run is not paid for."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        catalog = OneApp(store, bench.clock, tmp_path, LISTING, LISTING)
        call = await bench.preparer.prepare(bench.account, LISTING, {"prompt": "a lake"}, RunRequest("local"))
        bench.catalogs[ACCOUNT.id] = catalog
        await store.accept(replace(RUN, reported_at=reported_at, canonical_digest=call.canonical_digest))
        await bench.recovery.take_over(await read(store))
        await wait_until(lambda: bench.live_runs.get(RUN.id) is None) if reported_at is None else await bench.finish(
            RUN
        )
        over = await read(store)
        asked = bench.account.count(Operation.START_RUN)
    assert (over.state, asked) == (states, 0 if reported_at is None else 1)
    assert over.failure == (ENDED_UNSENT if reported_at is None else over.failure)
    assert over.reserved_credits == 0.0


async def test_an_unsent_run_that_cannot_be_rebuilt_is_cancelled_with_the_reason(
    store: FaultyStore, tmp_path: Path
) -> None:
    """The caller must learn that the run will not be started, and that it cost nothing."""
    await store.accept(REPORTED)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        bench.catalogs[ACCOUNT.id] = OneApp(store, bench.clock, tmp_path, LISTING)
        await bench.recovery.take_over(REPORTED)
        over = await bench.finish(REPORTED)
    assert (over.state, over.failure, over.reserved_credits) == (RunState.CANCELLED, ENDED_UNRESTORED, 0.0)


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (replace(REPORTED, state=RunState.STARTING), RunState.UNKNOWN),
        (replace(RUNNING, reported_at=NOW), RunState.SUCCEEDED),
        (build_over(), RunState.SUCCEEDED),
    ],
    ids=["starting", "running", "over"],
)
async def test_the_latest_state_of_a_run_decides(
    store: FaultyStore, tmp_path: Path, now: Run, outcome: RunState
) -> None:
    """The process may have sent the run after we read it as unsent; starting it then would pay twice."""
    await store.accept(now)
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        await bench.recovery.take_over(REPORTED)
        if now.state is RunState.RUNNING:
            await bench.finish(now)
        assert bench.account.count(Operation.START_RUN) == 0
    assert (await read(store)).state is outcome


async def test_a_run_of_this_process_that_is_not_yet_live_is_not_settled(store: FaultyStore, tmp_path: Path) -> None:
    """A request may come between the run's acceptance and its entry in the list of live runs."""
    async with open_bench(store, tmp_path, in_turn()) as bench:
        run = replace(RUN, process_id=bench.process.process_id)
        await store.accept(run)
        await bench.recovery.resume(run)
    assert await read(store) == run


async def test_outputs_that_a_dead_process_did_not_save_are_saved(store: FaultyStore, tmp_path: Path) -> None:
    """It died during the download."""
    async with serving(build_reply(PNG)) as server, open_bench(store, tmp_path, in_turn()) as bench:
        bench.account.origins = frozenset({server.origin})
        run = build_over(Output(1, OutputKind.IMAGE, f"{server.origin}/0.png", expires_at=NOW + 9))
        await store.accept(run)
        await bench.recovery.take_over(run)
        (output,) = (await bench.finish(run)).outputs
        await bench.recovery.resume(await read(store))
    assert await anyio.Path(output.saved_path).read_bytes() == PNG
    assert len(server.heads) == 1


async def test_outputs_that_another_process_claimed_are_not_saved(store: FaultyStore, tmp_path: Path) -> None:
    """Our copy of the record, a moment old, still names the dead process."""
    output = Output(1, OutputKind.IMAGE, "https://cdn.invalid/0.png", expires_at=NOW + 9)
    await store.accept(build_over(output, process_id="p2", lease=2))
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.take_over(build_over(output, process_id="p1"))
        assert bench.live_runs.get(RUN.id) is None


async def test_the_link_of_another_process_s_output_is_refreshed_on_request(store: FaultyStore, tmp_path: Path) -> None:
    """The other process saves the file; a working link serves every caller."""
    other = ProcessLock(tmp_path / "home")
    run = build_over(EXPIRED, process_id=other.process_id)
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn(build_status("completed", images=1))) as bench:
        await bench.recovery.resume(run)
        assert bench.live_runs.get(run.id) is None
    other.release()
    assert (await read(store)).outputs[0].expires_at == NOW + 3600


@pytest.mark.parametrize(
    "run",
    [
        replace(build_over(EXPIRED), account_id="magnific:elsewhere:f2"),
        replace(build_over(EXPIRED), provider_run_id=""),
    ],
    ids=["other-key", "without-id"],
)
async def test_a_link_that_cannot_be_requested_stays(store: FaultyStore, tmp_path: Path, run: Run) -> None:
    """The key or the provider's id is missing."""
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.resume(run)
        assert await bench.recovery.refresh_link(run, 1) is None


@pytest.mark.parametrize(
    ("run", "raises"),
    [(RUN, True), (RUNNING, False), (build_over(EXPIRED), False)],
    ids=["unsent", "running", "over"],
)
async def test_a_read_only_store_hides_no_known_facts(
    *, store: FaultyStore, tmp_path: Path, run: Run, raises: bool
) -> None:
    """Polls are free; only paid or refused operations need a write. Background work waits."""
    await store.accept(run)
    store.failing.add("claim")
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        with pytest.raises(StoreError):
            await bench.recovery.take_over(run)
        assert bench.live_runs.get(run.id) is None
        if raises:
            with pytest.raises(StoreError):
                await bench.recovery.resume(run)
        else:
            await bench.recovery.resume(run)
            if not run.state.is_final:
                assert (await bench.finish(run)).state is RunState.SUCCEEDED


async def test_a_run_of_another_key_is_shown_although_nothing_can_be_written(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A full disk is not a reason to refuse the request."""
    run = replace(RUNNING, account_id="magnific:api.example:f0")
    await store.accept(run)
    store.failing.add("AdoptionTried")
    async with open_bench(store, tmp_path, in_turn(build_answer(None, 404))) as bench:
        await bench.recovery.resume(run)
        assert bench.live_runs.get(run.id) is None


async def test_a_claimed_run_that_cannot_be_read_again_is_used_as_read_before(
    store: FaultyStore, tmp_path: Path
) -> None:
    """This process holds it now, so no other one would poll it."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        store.failing.add("get_run")
        await bench.recovery.take_over(RUNNING)
        store.failing.clear()
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED


async def test_a_starting_run_of_a_removed_key_is_unknown(store: FaultyStore, tmp_path: Path) -> None:
    """Its reservation must not be held indefinitely because the key was changed."""
    run = replace(RUN, state=RunState.STARTING, account_id="magnific:api.example:f0")
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.scan_other_keys()
    over = await read(store)
    assert (over.state, over.failure, over.reserved_credits) == (RunState.UNKNOWN, ENDED_WHILE_STARTING, 0.0)


async def test_a_run_of_a_changed_key_is_adopted_and_polled(store: FaultyStore, tmp_path: Path) -> None:
    """The new key reads the runs that the old one paid for."""
    await store.accept(replace(RUNNING, account_id="magnific:api.example:f0"))
    async with open_bench(store, tmp_path, in_turn(build_status("running"), DONE)) as bench:
        await bench.recovery.scan_other_keys()
        over = await bench.finish(RUNNING)
    assert (over.state, over.account_id) == (RunState.SUCCEEDED, ACCOUNT.id)


@pytest.mark.parametrize("shift", [-5 * 86400.0, 5 * 86400.0], ids=["past", "future"])
async def test_setting_the_wall_clock_does_not_stop_polling(store: FaultyStore, tmp_path: Path, shift: float) -> None:
    """The other process wrote its times by a clock that was wrong by days."""
    await store.accept(replace(RUNNING, accepted_at=NOW + shift, started_at=NOW + shift))
    async with open_bench(store, tmp_path, in_turn(build_status("running"), DONE)) as bench:
        await bench.recovery.scan()
        entry = bench.live_runs.get(RUN.id)
        assert entry is not None
        assert entry.noted_at <= bench.clock.monotonic()
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED


async def test_a_download_in_retry_is_not_started_twice(store: FaultyStore, tmp_path: Path) -> None:
    """Two downloads would save the file twice."""
    async with (
        serving(build_reply(status=500)) as server,
        open_bench(store, tmp_path, in_turn(), is_automatic=False) as bench,
    ):
        bench.account.origins = frozenset({server.origin})
        run = build_over(Output(1, OutputKind.IMAGE, f"{server.origin}/0.png", expires_at=NOW + 9999))
        await store.accept(run)
        await bench.recovery.take_over(run)
        await bench.finish(run)
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        store.held["get_run"] = anyio.Event()
        store.called.clear()
        bench.clock.advance(5)
        await wait_until(lambda: "get_run" in store.called)
        bench.runner.follow(run)
        assert bench.live_runs.get(run.id) is None
        store.held.pop("get_run").set()


async def test_a_lost_network_leaves_the_run_unchanged(store: FaultyStore, tmp_path: Path) -> None:
    """An output that cannot be requested now is not gone."""
    run = build_over(EXPIRED)
    await store.accept(run)
    lost = build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN)
    async with open_bench(store, tmp_path, in_turn(last=lost)) as bench:
        await bench.recovery.resume(run)
        (output,) = (await bench.finish(run)).outputs
    assert output.save_problem.startswith("It was not saved: ")
    assert output.url == EXPIRED.url


async def test_a_late_start_response_is_polled_although_another_process_settled_the_run(
    store: FaultyStore, tmp_path: Path
) -> None:
    """That process saw no response and does not poll the run; its result was paid for."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        go = anyio.Event()
        bench.account.before_answer = go.wait
        run = await bench.submit()
        await bench.wait_for(run, RunState.STARTING)
        await store.claim(run.id, "p2", lease=run.lease)
        await store.record(run.id, StartUnknown("The process has ended.", NOW), run.lease + 1)
        go.set()
        over = await bench.finish(run)
    assert (over.state, over.process_id, over.lease) == (RunState.SUCCEEDED, run.process_id, run.lease + 2)
    assert bench.account.count(Operation.START_RUN) == 1


async def test_a_run_claimed_by_another_process_is_left_to_it(store: FaultyStore, tmp_path: Path) -> None:
    """Two processes would poll twice as often and save every file twice."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.RUNNING)
        await store.claim(run.id, "p2", lease=run.lease)
        bench.clock.advance(60)
        left = await bench.finish(run)
    assert (left.state, left.process_id) == (RunState.RUNNING, "p2")


async def test_a_claimed_run_that_another_process_polls_is_no_longer_polled_here(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A change that the new holder recorded first shows it."""
    answer = in_turn(
        build_answer({"status": "queued", "workflow_run_identifier": "remote-1"}, 202), build_status("running")
    )
    async with open_bench(store, tmp_path, answer, is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.QUEUED)
        await store.claim(run.id, "p2", lease=run.lease)
        bench.clock.advance(60)
        left = await bench.finish(run)
        assert bench.clock.count_sleepers() <= 1
    assert (left.state, left.process_id) == (RunState.QUEUED, "p2")
    assert bench.account.count(Operation.READ_RUN) == 1
