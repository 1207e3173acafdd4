"""Runs of dead processes, taken over by one of the living."""

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
from tests.runs.samples import APP, NOW, PROMPT, RUN, TAKEN, build_look, read
from tests.support.fake_clock import wait_until_blocked
from tests.support.raw_server import build_reply, serving
from tests.support.scripted import ACCOUNT, FaultyStore, build_answer, build_breakage, in_turn, wait_until

RUNNING = replace(RUN, state=RunState.RUNNING, provider_run_id="remote-1", started_at=NOW)
TOLD = replace(RUN, reported_at=NOW, canonical_digest="d83b8a3c5a9e")
DONE = build_look("completed")
PNG = write(build_photo(8, 8))
LISTING = Listing(replace(APP, inputs=(PROMPT,)), "sketch", {"in-1": "prompt"})
EXPIRED = Output(1, OutputKind.IMAGE, "https://cdn.example/0.png?token=old", "c0", expires_at=NOW - 1)


def build_over(*outputs: Output, process_id: str = "p1", lease: int = 1) -> Run:
    """Return a run that succeeded with these outputs."""
    return replace(
        RUNNING, state=RunState.SUCCEEDED, finished_at=NOW, outputs=outputs, process_id=process_id, lease=lease
    )


async def test_a_dead_processs_run_is_followed_to_its_end(store: FaultyStore, tmp_path: Path) -> None:
    """It is paid for, and nobody else looks at it any more."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(build_look("running"), DONE)) as bench:
        await bench.recovery.take_over(RUNNING)
        over = await bench.finish(RUNNING)
        assert (over.state, over.process_id) == (RunState.SUCCEEDED, bench.process.process_id)


async def test_of_many_who_want_a_run_one_gets_it(store: FaultyStore, tmp_path: Path) -> None:
    """The editor and the desktop client notice the death in the same second."""
    await store.accept(RUNNING)
    last = build_look("running")
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


async def test_a_run_that_another_follows_is_left_to_it(store: FaultyStore, tmp_path: Path) -> None:
    """Two followers would ask twice as often and save every file twice."""
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


async def test_a_run_that_nobody_looks_at_is_taken_up_only_when_asked_for(store: FaultyStore, tmp_path: Path) -> None:
    """The person said to stop following it; whoever asks for it again wants it followed, whose ever it was."""
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
async def test_an_unsent_run_is_started_if_its_caller_was_told(
    store: FaultyStore, tmp_path: Path, reported_at: float | None, states: RunState
) -> None:
    """Told that it has its place, somebody waits for it; of the other nobody knows, so it is not paid for."""
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


async def test_an_unsent_run_that_cannot_be_restored_is_cancelled_with_the_reason(
    store: FaultyStore, tmp_path: Path
) -> None:
    """Whoever asks for it must learn that it will not come, and that it cost nothing."""
    await store.accept(TOLD)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        bench.catalogs[ACCOUNT.id] = OneApp(store, bench.clock, tmp_path, LISTING)
        await bench.recovery.take_over(TOLD)
        over = await bench.finish(TOLD)
    assert (over.state, over.failure, over.reserved_credits) == (RunState.CANCELLED, ENDED_UNRESTORED, 0.0)


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (replace(TOLD, state=RunState.STARTING), RunState.UNKNOWN),
        (replace(RUNNING, reported_at=NOW), RunState.SUCCEEDED),
        (build_over(), RunState.SUCCEEDED),
    ],
    ids=["starting", "running", "over"],
)
async def test_what_counts_is_how_far_a_run_came_before_the_end(
    store: FaultyStore, tmp_path: Path, now: Run, outcome: RunState
) -> None:
    """The process may have sent the run after we read it as unsent; starting it then would pay twice."""
    await store.accept(now)
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        await bench.recovery.take_over(TOLD)
        if now.state is RunState.RUNNING:
            await bench.finish(now)
        assert bench.account.count(Operation.START_RUN) == 0
    assert (await read(store)).state is outcome


async def test_our_own_run_on_its_way_to_the_board_is_not_settled(store: FaultyStore, tmp_path: Path) -> None:
    """Between its record and its place on the list of live runs a moment passes, in which somebody may ask for it."""
    async with open_bench(store, tmp_path, in_turn()) as bench:
        run = replace(RUN, process_id=bench.process.process_id)
        await store.accept(run)
        await bench.recovery.resume(run)
    assert await read(store) == run


async def test_outputs_that_a_dead_process_did_not_save_are_saved(store: FaultyStore, tmp_path: Path) -> None:
    """It died while it downloaded."""
    async with serving(build_reply(PNG)) as server, open_bench(store, tmp_path, in_turn()) as bench:
        bench.account.origins = frozenset({server.origin})
        run = build_over(Output(1, OutputKind.IMAGE, f"{server.origin}/0.png", expires_at=NOW + 9))
        await store.accept(run)
        await bench.recovery.take_over(run)
        (output,) = (await bench.finish(run)).outputs
        await bench.recovery.resume(await read(store))
    assert await anyio.Path(output.saved_path).read_bytes() == PNG
    assert len(server.heads) == 1


async def test_outputs_that_another_took_over_meanwhile_are_left_to_it(store: FaultyStore, tmp_path: Path) -> None:
    """What was read a moment ago names the dead process still."""
    output = Output(1, OutputKind.IMAGE, "https://cdn.invalid/0.png", expires_at=NOW + 9)
    await store.accept(build_over(output, process_id="p2", lease=2))
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.take_over(build_over(output, process_id="p1"))
        assert bench.live_runs.get(RUN.id) is None


async def test_the_link_of_an_output_that_another_process_holds_is_renewed_for_who_asks(
    store: FaultyStore, tmp_path: Path
) -> None:
    """Saving is the other's; a link that works is for everybody."""
    other = ProcessLock(tmp_path / "home")
    run = build_over(EXPIRED, process_id=other.process_id)
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn(build_look("completed", images=1))) as bench:
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
async def test_a_link_that_nobody_can_ask_for_stays(store: FaultyStore, tmp_path: Path, run: Run) -> None:
    """There is no key or no id to ask with."""
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.resume(run)
        assert await bench.recovery.refresh_link(run, 1) is None


@pytest.mark.parametrize(
    ("run", "raises"),
    [(RUN, True), (RUNNING, False), (build_over(EXPIRED), False)],
    ids=["unsent", "running", "over"],
)
async def test_a_store_that_cannot_be_written_hides_nothing_that_can_be_known(
    *, store: FaultyStore, tmp_path: Path, run: Run, raises: bool
) -> None:
    """Looking is free; only what would be paid or refused needs the record. What goes by itself waits."""
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
    """A full disk is no reason to refuse the question."""
    run = replace(RUNNING, account_id="magnific:api.example:f0")
    await store.accept(run)
    store.failing.add("AdoptionTried")
    async with open_bench(store, tmp_path, in_turn(build_answer(None, 404))) as bench:
        await bench.recovery.resume(run)
        assert bench.live_runs.get(run.id) is None


async def test_a_run_that_cannot_be_read_again_is_taken_over_as_it_was(store: FaultyStore, tmp_path: Path) -> None:
    """It is ours now, so nobody else would follow it."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        store.failing.add("get_run")
        await bench.recovery.take_over(RUNNING)
        store.failing.clear()
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED


async def test_a_starting_run_of_a_key_that_is_gone_is_unknown(store: FaultyStore, tmp_path: Path) -> None:
    """Its reservation must not be held for ever because the key was changed."""
    run = replace(RUN, state=RunState.STARTING, account_id="magnific:api.example:f0")
    await store.accept(run)
    async with open_bench(store, tmp_path, in_turn()) as bench:
        await bench.recovery.scan_other_keys()
    over = await read(store)
    assert (over.state, over.failure, over.reserved_credits) == (RunState.UNKNOWN, ENDED_WHILE_STARTING, 0.0)


async def test_a_run_of_a_changed_key_is_adopted_and_followed(store: FaultyStore, tmp_path: Path) -> None:
    """The new key reads what the old one paid for."""
    await store.accept(replace(RUNNING, account_id="magnific:api.example:f0"))
    async with open_bench(store, tmp_path, in_turn(build_look("running"), DONE)) as bench:
        await bench.recovery.scan_other_keys()
        over = await bench.finish(RUNNING)
    assert (over.state, over.account_id) == (RunState.SUCCEEDED, ACCOUNT.id)


@pytest.mark.parametrize("shift", [-5 * 86400.0, 5 * 86400.0], ids=["past", "future"])
async def test_a_wall_clock_that_was_set_does_not_stop_the_following(
    store: FaultyStore, tmp_path: Path, shift: float
) -> None:
    """The other process wrote its times by a clock that was wrong by days."""
    await store.accept(replace(RUNNING, accepted_at=NOW + shift, started_at=NOW + shift))
    async with open_bench(store, tmp_path, in_turn(build_look("running"), DONE)) as bench:
        await bench.recovery.scan()
        entry = bench.live_runs.get(RUN.id)
        assert entry is not None
        assert entry.noted_at <= bench.clock.monotonic()
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED


async def test_a_download_that_is_tried_again_is_not_begun_twice(store: FaultyStore, tmp_path: Path) -> None:
    """Two would save the file twice."""
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


async def test_a_lost_network_leaves_the_run_where_it_was(store: FaultyStore, tmp_path: Path) -> None:
    """An output that cannot be asked for just now is not gone."""
    run = build_over(EXPIRED)
    await store.accept(run)
    lost = build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN)
    async with open_bench(store, tmp_path, in_turn(last=lost)) as bench:
        await bench.recovery.resume(run)
        (output,) = (await bench.finish(run)).outputs
    assert output.save_problem.startswith("It was not saved: ")
    assert output.url == EXPIRED.url


async def test_a_reply_that_comes_after_another_process_gave_the_run_up_is_followed(
    store: FaultyStore, tmp_path: Path
) -> None:
    """That process saw no reply and does not poll the run; its result was paid for."""
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


async def test_a_run_that_another_process_claims_is_left_to_it(store: FaultyStore, tmp_path: Path) -> None:
    """Two followers would poll twice as often and save every file twice."""
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
        build_answer({"status": "queued", "workflow_run_identifier": "remote-1"}, 202), build_look("running")
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
