"""The runs service as handlers use it, from the call to the end of its run and to the delivered answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.errors import Breakage, Operation
from flowport.domain.models import Run, RunState, Urgency
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.runs.submit import RunRequest
from tests.runs.benches import open_bench
from tests.runs.samples import BUSY, CALL, DONE, NOW, RUN, RUNNING, TAKEN, build_status
from tests.support.fake_clock import wait_until_blocked
from tests.support.scripted import FaultyStore, Reply, build_answer, build_breakage, in_turn, wait_until


async def test_a_run_goes_from_the_call_to_its_end(store: FaultyStore, tmp_path: Path) -> None:
    """The plain case, as the store has it at the beginning and at the end."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, build_status("running"), DONE)) as bench:
        run = await bench.submit()
        over = await bench.finish(run)

    booted: Any = {"boot_id": "boot", "accepted_boot_seconds": 0.0}
    assert run == replace(RUN, id=run.id, process_id=run.process_id, **booted)
    assert run.id.startswith("run_")
    assert len(run.id) == 14
    assert over == replace(
        RUNNING,
        id=run.id,
        process_id=run.process_id,
        state=RunState.SUCCEEDED,
        failure="The app finished, but Magnific handed over no result that Flowport can read.",
        finished_at=NOW + 6.5,
        spent_credits=5.0,
        reserved_credits=0.0,
        start_request="POST /v1/ai/flows/aB3/run",
        **booted,
    )


async def test_a_run_without_a_price_reserves_nothing(store: FaultyStore, tmp_path: Path) -> None:
    """An unknown price cannot be reserved."""
    call = replace(CALL, app=replace(CALL.app, price_credits=None))
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        run = (await bench.runner.submit(call, RunRequest("another owner"))).run
    assert (run.price_credits, run.reserved_credits, run.owner) == (None, 0.0, "another owner")


@pytest.mark.parametrize("urgency", Urgency)
async def test_a_live_run_has_its_urgency(store: FaultyStore, tmp_path: Path, urgency: Urgency) -> None:
    """The urgency decides which run gets the next request of the rate limit."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        run = (await bench.runner.submit(CALL, RunRequest("local", urgency=urgency))).run
        entry = bench.live_runs.get(run.id)
        assert entry is not None
        assert entry.urgency is urgency


async def test_submitting_returns_only_when_the_run_is_on_disk(store: FaultyStore, tmp_path: Path) -> None:
    """An id that a crash would lose must not be returned."""
    store.held["accept"] = anyio.Event()
    returned: list[Run] = []
    async with open_bench(store, tmp_path, in_turn(TAKEN, DONE)) as bench, anyio.create_task_group() as tasks:

        async def submit() -> None:
            """Keep the run that was returned."""
            returned.append(await bench.submit())

        tasks.start_soon(submit)
        await wait_until(lambda: "accept" in store.called)
        await wait_until_blocked()
        assert (returned, bench.account.asked) == ([], [])
        store.held["accept"].set()
        await wait_until(lambda: bool(returned))
        assert (await bench.finish(returned[0])).state is RunState.SUCCEEDED


async def test_an_unreachable_provider_fails_the_run_unsent(store: FaultyStore, tmp_path: Path) -> None:
    """The built-in sandbox may not start at all; that shows before anything is sent."""
    async with open_bench(store, tmp_path, in_turn()) as bench:
        lost = build_breakage(Breakage.NO_CONNECTION)

        async def refuse(priority: object, operation: object = None) -> NoReturn:
            """Raise, like an account whose provider cannot be found."""
            raise lost

        bench.account.wait_for_turn = refuse  # type: ignore[method-assign]  # the one way in which it can fail here
        over = await bench.finish(await bench.submit())
    assert (over.state, over.failure, over.reserved_credits) == (RunState.FAILED, str(lost), 0.0)


async def test_outputs_are_saved_before_the_run_is_settled(store: FaultyStore, tmp_path: Path) -> None:
    """An answer is given when the run is settled; it names the files or why there are none."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, build_status("completed", images=1))) as bench:
        store.held["OutputSaved"] = anyio.Event()
        bench.account.origins = frozenset({"https://cdn.example"})
        run = await bench.submit()
        await bench.wait_for(run, RunState.SUCCEEDED)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert (entry.is_saving, entry.is_settled) == (True, False)
        store.held["OutputSaved"].set()
        over = await bench.finish(run)
    assert over.outputs[0].save_problem.startswith("It was not saved: ")


async def test_fifty_runs_leave_nothing_behind(store: FaultyStore, tmp_path: Path) -> None:
    """A server lives for weeks in an editor."""
    ends: list[Reply] = [DONE, build_status("failed"), build_answer(None, 500), build_answer(None, 422), BUSY]
    taken = iter(range(1_000))

    def answer(request: ApiRequest) -> Reply:
        """Let the runs end in different ways, one after the other."""
        end = ends[next(taken) % 5]
        if request.operation is Operation.START_RUN:
            return end if isinstance(end, ApiAnswer) and end.status >= 400 else TAKEN
        return DONE

    async with open_bench(store, tmp_path, answer) as bench:
        calls = [RunRequest("local", is_new_wanted=True, is_uncertainty_accepted=True) for _ in range(50)]
        runs = [(await bench.runner.submit(CALL, call)).run for call in calls]
        for run in runs:
            await bench.finish(run)
        assert (bench.live_runs._entries, bench.clock.count_sleepers()) == ({}, 0)
    kept = await store.get_runs(account_id=None, owner="local", limit=100, undelivered_first=False)
    assert {run.id for run in kept} == {run.id for run in runs}
    assert all(run.state.is_final for run in kept)
    assert sum(run.reserved_credits for run in kept) == 0
