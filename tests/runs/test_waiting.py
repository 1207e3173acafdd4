"""What a waiting caller receives."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowport.actions.workspace import Workspace
from flowport.bootstrap import open_assembly
from flowport.domain.models import LOCAL_OWNER, Run, RunState, Urgency
from flowport.domain.run_events import Finished
from flowport.runs.live import LiveRun, QueuePlace, RunView
from flowport.runs.poll import Usual
from flowport.runs.progress import format_progress
from flowport.runs.recovery import KEY_GONE
from flowport.runs.waiting import report_while
from flowport.store.process_lock import ProcessLock
from tests.store.samples import build_run
from tests.support.fake_clock import FakeClock
from tests.support.harness import ScriptedCaller, build_settings
from tests.support.scripted import wait_until


def build_entry(
    state: RunState, *, is_saving: bool = False, problem: str = "", place: QueuePlace | None = None
) -> LiveRun:
    """Return a live run that was accepted ten seconds before it was started."""
    run = replace(build_run("run_abc"), state=state)
    started_at = run.accepted_at + 10 if state.is_at_provider else None
    return LiveRun(replace(run, started_at=started_at), is_saving=is_saving, problem=problem, get_place=lambda: place)


USUAL = Usual(60.0, 95.0)


@pytest.mark.parametrize(
    ("entry", "elapsed", "usual", "words"),
    [
        (build_entry(RunState.ACCEPTED), 34, USUAL, "waiting for its turn, 34 s"),
        (
            build_entry(RunState.ACCEPTED, place=QueuePlace(3, 20.4)),
            34,
            None,
            "waiting for its turn, 34 s; 3rd in the queue, about 20 s",
        ),
        (
            build_entry(RunState.ACCEPTED, place=QueuePlace(1, 0.2)),
            34,
            None,
            "waiting for its turn, 34 s; 1st in the queue",
        ),
        (
            build_entry(RunState.ACCEPTED, place=QueuePlace(112, 0.0)),
            34,
            None,
            "waiting for its turn, 34 s; 112th in the queue",
        ),
        (
            build_entry(RunState.ACCEPTED, place=QueuePlace(22, 0.0)),
            34,
            None,
            "waiting for its turn, 34 s; 22nd in the queue",
        ),
        (build_entry(RunState.STARTING), 34, USUAL, "starting, 34 s"),
        (build_entry(RunState.QUEUED), 34, None, "queued, 24 s"),
        (build_entry(RunState.RUNNING), 44, USUAL, "running, 34 s; usually 60 s, at most 1 min 35 s for nine of ten"),
        (build_entry(RunState.RUNNING), 80, USUAL, "running, 70 s; at most 1 min 35 s for nine of ten"),
        (build_entry(RunState.RUNNING), 106, USUAL, "running, 1 min 36 s; longer than usual"),
        (build_entry(RunState.RUNNING), 5, None, "running, 0 s"),
        (build_entry(RunState.SUCCEEDED, is_saving=True), 34, USUAL, "saving the results, 34 s"),
        (build_entry(RunState.RUNNING, problem="No network."), 44, None, "running, 34 s (No network.)"),
    ],
)
def test_progress_is_a_readable_line(entry: LiveRun, elapsed: float, usual: Usual | None, words: str) -> None:
    """It is the only sign of life for five minutes, and never announces a time that has passed."""
    assert format_progress(entry, float(elapsed), usual) == words


RUNNING = build_run("run_abc", RunState.RUNNING, provider_run_id="r1", owner=LOCAL_OWNER)
DOWN = "http://127.0.0.1:9"


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    """Give a test the parts of a Flowport whose provider cannot be reached."""
    async with open_assembly(build_settings(tmp_path / "person", DOWN)) as assembly:
        yield assembly.workspace


async def wait(workspace: Workspace, run: Run, report: Callable[[float, str], Awaitable[None]]) -> RunView:
    """Wait for a run, from now."""
    return await workspace.waiter.wait_for_run(run, ScriptedCaller(workspace.clock.monotonic(), report))


async def test_a_run_of_another_process_is_awaited_through_the_store(workspace: Workspace) -> None:
    """One poller is enough; a waiting caller here still sees the run's progress and end."""
    other = ProcessLock(workspace.settings.home)
    run = replace(RUNNING, process_id=other.process_id, account_id=workspace.catalogs[0].account.account.id)
    await workspace.store.accept(run)
    reports: list[str] = []

    async def report(_: float, message: str) -> None:
        """Keep the message, and let the other process finish the run."""
        reports.append(message)
        await workspace.store.record(run.id, Finished(RunState.SUCCEEDED, workspace.clock.now(), spent_credits=5.0))

    view = await wait(workspace, run, report)
    other.release()
    assert view.run.state is RunState.SUCCEEDED
    assert [message.partition(",")[0] for message in reports] == ["running"]
    assert workspace.runner.get_entry(run.id) is None


async def test_a_caller_that_takes_no_progress_has_no_message_composed(workspace: Workspace) -> None:
    """Most clients give no progress token, and hundreds of them may wait side by side."""

    async def report(_: float, __: str) -> None:
        """Fail: there is nothing to report to."""
        raise AssertionError("progress was reported")

    async def work() -> int:
        """Let the reporter begin, and end."""
        await anyio.lowlevel.checkpoint()
        return 7

    run = replace(RUNNING, state=RunState.ACCEPTED)
    entry = workspace.runner._live_runs.put(run, noted_at=workspace.clock.monotonic())
    entry.get_place = lambda: pytest.fail("a message was composed")
    caller = ScriptedCaller(workspace.clock.monotonic(), report, is_progress_wanted=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workspace.waiter.wait_for_run, run, caller)
        await wait_until(lambda: entry.waiters == 1)
        workspace.runner._live_runs.update(replace(run, state=RunState.FAILED))
    assert await report_while(work(), caller, workspace.clock, "preparing the call") == 7


class PassingClock(FakeClock):
    """A clock by which every limited wait lasts to its limit."""

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Let the time pass at once."""
        self.advance(seconds)
        return anyio.move_on_after(0)


async def test_the_wait_budget_uses_the_clock(tmp_path: Path) -> None:
    """With another clock a call would wait without end where the two run differently."""
    settings = replace(build_settings(tmp_path / "person", DOWN), wait_seconds=2.5)
    reports: list[float] = []

    async def report(elapsed: float, _: str) -> None:
        """Record the time."""
        reports.append(elapsed)
        assert len(reports) < 9, "the wait does not end"

    async with open_assembly(settings, clock=PassingClock(is_automatic=False)) as assembly:
        workspace, other = assembly.workspace, ProcessLock(settings.home)
        run = replace(RUNNING, process_id=other.process_id, account_id=workspace.catalogs[0].account.account.id)
        await workspace.store.accept(run)
        view = await wait(workspace, run, report)
        other.release()
    assert (view.run.state, reports) == (RunState.RUNNING, [0.0, 1.0, 2.0, 2.5])


async def test_a_holder_that_dies_is_replaced(workspace: Workspace) -> None:
    """The waiting caller need not repeat its call."""
    other = ProcessLock(workspace.settings.home)
    run = replace(RUNNING, process_id=other.process_id, account_id=workspace.catalogs[0].account.account.id)
    await workspace.store.accept(run)
    with anyio.CancelScope() as scope:

        async def report(_: float, message: str) -> None:
            """Let the other process die, and stop waiting when this one polls the run."""
            if workspace.runner.get_entry(run.id) is not None:
                scope.cancel()
            elif len(reports) == 0:
                other.release()
            reports.append(message)

        reports: list[str] = []
        await wait(workspace, run, report)
    assert scope.cancelled_caught
    assert (await workspace.store.get_run(run.id, account_id=None, owner=LOCAL_OWNER)).process_id != other.process_id


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"adoption_tried_by": "magnific:127.0.0.1:9:new"}, KEY_GONE),
        ({"adoption_tried_by": ""}, ""),
        ({"adoption_tried_by": "magnific:127.0.0.1:9:new", "state": RunState.FAILED}, ""),
    ],
    ids=["tried", "not-yet", "over"],
)
async def test_a_run_that_the_present_key_cannot_read_says_so(
    workspace: Workspace, changes: dict[str, Any], problem: str
) -> None:
    """Waiting does not help, and the user knows where the old key is."""
    run = replace(RUNNING, account_id="magnific:elsewhere:old", **changes)
    await workspace.store.accept(run)

    async def report(_: float, message: str) -> None:
        """Ignore the report."""
        raise AssertionError(message)

    assert (await wait(workspace, run, report)).problem == problem


async def test_a_run_is_awaited_while_a_call_waits(workspace: Workspace) -> None:
    """It has priority over runs without waiting callers, also as a row of a batch."""
    entry = workspace.runner._live_runs.put(RUNNING, noted_at=0.0, urgency=Urgency.BATCH)
    async with anyio.create_task_group() as tasks:

        async def report(_: float, __: str) -> None:
            """Ignore the report."""

        tasks.start_soon(wait, workspace, RUNNING, report)
        await wait_until(lambda: entry.waiters == 1)
        tasks.cancel_scope.cancel()
    assert entry.waiters == 0


async def test_the_duration_of_a_run_is_monotonic(workspace: Workspace) -> None:
    """The wall clock was set by a day meanwhile."""
    run = build_run("run_abc", RunState.SUCCEEDED, accepted_at=0.0, finished_at=86_400.0)
    entry = workspace.runner._live_runs.put(run, noted_at=0.0)
    entry.over_after_seconds = 6.5

    assert (await workspace.waiter.get_run_view(run)).elapsed_seconds == 6.5
