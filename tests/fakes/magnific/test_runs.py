"""The life of a run, over real HTTP."""

import logging

import anyio
import anyio.lowlevel
import pytest

from flowport.sandbox.apps import APPS
from tests.fakes.client import Client
from tests.fakes.magnific.files import FileStore
from tests.fakes.magnific.runs import RunPlan, RunStatus, RunStore

FIELDS = {"run_id", "status", "app_id", "started_at", "completed_at", "error_message", "result"}
ITEM_FIELDS = {"id", "url", "tool", "duration", "width", "height", "created_at"}


async def test_a_pending_run_has_not_started(sandbox: Client) -> None:
    """Magnific API 1.0.0, get-run: all seven fields, `started_at` null."""
    await sandbox.switch("next_run", pending_seconds=3600)
    run = await sandbox.read(await sandbox.start("Text to Picture", prompt="hills"))
    assert set(run) == FIELDS
    assert (run["status"], run["started_at"], run["result"]) == ("pending", None, None)


async def test_a_held_run_keeps_running_until_released(sandbox: Client) -> None:
    """However long a test wants to look at it."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    held = await sandbox.read(run_id)
    await sandbox.switch(f"runs/{run_id}", release=True)
    ended = await sandbox.end(run_id)
    assert (held["status"], held["completed_at"], ended["status"]) == ("running", None, "completed")


@pytest.mark.parametrize(
    ("status", "message", "count"),
    [
        ("completed", None, 1),
        ("completed_with_errors", "Node 'switch' failed: a test asked for it", 1),
        ("failed", "Node 'switch' failed: a test asked for it", None),
        ("cancelled", None, None),
    ],
)
async def test_a_run_can_be_made_to_end_in_any_way(
    sandbox: Client, status: str, message: str | None, count: int | None
) -> None:
    """All four ends of the contract, from an app that would complete."""
    await sandbox.switch("next_run", status=status)
    run = await sandbox.finish("Text to Picture", prompt="hills")
    assert (run["status"], run["error_message"]) == (status, message)
    assert (run["result"] and len(run["result"]["images"])) == count


async def test_a_live_run_can_be_given_its_end(sandbox: Client) -> None:
    """It ends at once, with the message that the test wants."""
    await sandbox.switch("next_run", seconds=3000)
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    await sandbox.switch(f"runs/{run_id}", status="failed", error_message="stop", outputs=2)
    run = await sandbox.end(run_id)
    assert (run["status"], run["error_message"], run["result"]) == ("failed", "stop", None)


@pytest.mark.parametrize("count", [0, 5])
async def test_outputs_can_be_multiplied(sandbox: Client, count: int) -> None:
    """Each with an id of its own."""
    await sandbox.switch("next_run", outputs=count)
    run = await sandbox.finish("Text to Picture", prompt="hills")
    assert len({item["id"] for item in run["result"]["images"]}) == count


async def test_a_reset_ends_runs_and_those_who_wait_for_them(sandbox: Client) -> None:
    """Nothing of one test reaches the next."""
    await sandbox.switch("next_run", hold=True)
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    async with anyio.create_task_group() as tasks:

        async def look() -> None:
            """Wait for an end that never comes."""
            answer = await sandbox.http.get(f"/_sandbox/runs/{run_id}/end")
            assert answer.status_code == 404

        tasks.start_soon(look)
        await sandbox.switch("reset")
    assert (await sandbox.http.get(f"/v1/ai/flows/runs/{run_id}")).status_code == 404


async def test_a_broken_engine_fails_the_run_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Values that no request could have produced stand for a fault of ours."""
    async with anyio.create_task_group() as tasks:
        runs = RunStore(FileStore("http://127.0.0.1:1", 60), tasks, anyio.CapacityLimiter(1))
        with caplog.at_level(logging.ERROR):
            run = runs.accept(APPS[0], {}, RunPlan(0, 0))
            await runs.wait_until_over(run.id)
    ended = runs.get(run.id)
    assert ended is not None
    assert (ended.status, ended.error_message) == (RunStatus.FAILED, "Node 'engine' failed: internal error")
    assert run.id in caplog.text


async def test_a_run_hurried_in_the_moment_of_a_reset_is_forgotten() -> None:
    """Its task may be about to go on, and must not bring the run back."""
    async with anyio.create_task_group() as tasks:
        runs = RunStore(FileStore("http://127.0.0.1:1", 60), tasks, anyio.CapacityLimiter(1))
        run = runs.accept(APPS[0], {}, RunPlan(3600, 0))
        await anyio.lowlevel.checkpoint()
        runs.hurry(run.id, runs.get_plan(run.id))
        runs.reset()
    assert runs.get(run.id) is None


async def test_no_one_waits_for_a_run_that_was_forgotten() -> None:
    """A reset may come between a run's id and the wait for it."""
    async with anyio.create_task_group() as tasks:
        runs = RunStore(FileStore("http://127.0.0.1:1", 60), tasks, anyio.CapacityLimiter(1))
        with anyio.fail_after(60):
            await runs.wait_until_started("gone")
            await runs.wait_until_over("gone")
