"""What ends a batch before its last row: failures, a user, a disconnected caller, a removed key; both protocol eras."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.models import RunState
from flowport.runs.batch.service import TRIAL_ROWS
from flowport.runs.recovery import KEY_GONE
from flowport.runs.steps import LIVE_ROWS_UNLIMITED
from tests.fakes.client import Client as SandboxClient
from tests.interaction.batches.requests import FAILING, TOOL, build_rows, wait_until_started
from tests.store.contract.test_batches import BATCH, build_batch
from tests.store.samples import build_run
from tests.support.harness import Harness, Mode, open_harness
from tests.support.scripted import wait_until


@pytest.mark.parametrize("count", [40, 200])
async def test_the_failure_limit_stops_pending_rows(flowport: Harness, count: int) -> None:
    """A table with a mistake in every row must not be paid for to its end, however short it is."""
    rows = [{"note": str(n)} for n in range(count)]
    result = await flowport.call("run_batch", app=FAILING, rows=rows, stop_after_failures=3)
    facts = result.structured_content
    assert isinstance(facts, dict)
    assert (bool(result.is_error), facts["state"]) == (True, "failed")
    # Of the rows that had begun, some were not sent yet.
    assert facts["failed"] + facts["not_started"] == count
    # Two have failed, and a full set is live, when the third fails.
    assert 3 <= facts["failed"] <= 2 + TRIAL_ROWS
    assert facts["credits"] == await flowport.count("run") == facts["failed"]
    assert "failed, so the rest was not started" in facts["stopped"]
    balance = (await flowport.ask("get_balance"))["accounts"][0]
    assert (balance["reserved_credits"], balance["spent_credits_24_hours"]) == (0, facts["failed"])


async def test_cancelling_starts_no_more_rows_and_says_which_continue(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Rows at the provider are paid for and continue."""
    await sandbox.switch("next_run", runs=LIVE_ROWS_UNLIMITED, hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(LIVE_ROWS_UNLIMITED + 36), wait=False)
        await wait_until_started(flowport, LIVE_ROWS_UNLIMITED)
        await wait_until_live(flowport, batch["run_id"])
        before = await flowport.ask("get_run", run_id=batch["run_id"], wait=False)
        cancelled = await flowport.ask("cancel_run", run_id=batch["run_id"])
        after = await flowport.ask("get_run", run_id=batch["run_id"], wait=False)
        balance = (await flowport.ask("get_balance"))["accounts"][0]
        assert await flowport.count("run") == LIVE_ROWS_UNLIMITED
    assert (before["live"], before["waiting"]) == (LIVE_ROWS_UNLIMITED, 36)
    assert cancelled["summary"] == (
        f"36 of {LIVE_ROWS_UNLIMITED + 36} runs were not started and cost nothing; {LIVE_ROWS_UNLIMITED} that were started go on and are charged, and get_run fetches "
        "their results."
    )
    assert (after["state"], after["not_started"], after["live"]) == ("running", 36, LIVE_ROWS_UNLIMITED)
    assert balance["reserved_credits"] == 2 * LIVE_ROWS_UNLIMITED


async def test_cancelling_a_fully_started_batch_changes_nothing_and_an_equal_call_joins(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """All rows are paid for and continue, so an equal call gets them instead of paying again."""
    await sandbox.switch("next_run", runs=6, hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, wait_seconds=0.0) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(6))
        await wait_until_started(flowport, 6)
        await wait_until_live(flowport, batch["run_id"])
        answers = [await flowport.ask("cancel_run", run_id=batch["run_id"]) for _ in range(2)]
        again = await flowport.ask("run_batch", app=TOOL, rows=build_rows(6))
        assert await flowport.count("run") == 6
    assert again["run_id"] == batch["run_id"]
    for one in answers:
        assert (one["outcome"], one["state"]) == ("cannot", "running")
        assert one["summary"] == (
            "Nothing was cancelled. All 6 runs were started already and go on: they are charged, and get_run fetches their "
            "results."
        )


async def test_cancelling_after_some_rows_ended_says_which_continue(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Rows that have ended are not reported as continuing."""
    await sandbox.switch("next_run", runs=3, hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, wait_seconds=0.0) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
        await wait_until_started(flowport, 3)
        await wait_until_live(flowport, batch["run_id"])
        first = (await flowport.assembly.workspace.store.get_live_rows(batch["run_id"]))[0]
        await sandbox.switch(f"runs/{first.provider_run_id}", release=True)
        with anyio.fail_after(60):
            while len(await flowport.assembly.workspace.store.get_live_rows(batch["run_id"])) > 2:
                await anyio.lowlevel.checkpoint()
        answer = await flowport.ask("cancel_run", run_id=batch["run_id"])
    assert answer["outcome"] == "cannot"
    assert answer["summary"] == (
        "Nothing was cancelled. All 3 runs were started already; 2 go on: they are charged, and get_run fetches their "
        "results."
    )


async def wait_until_live(flowport: Harness, batch_id: str) -> None:
    """Wait until the provider has acknowledged all live rows."""
    with anyio.fail_after(60):
        while {run.state.value for run in await flowport.assembly.workspace.store.get_live_rows(batch_id)} - {
            "running"
        }:
            await anyio.lowlevel.checkpoint()


async def test_an_unstarted_batch_is_cancelled_at_no_cost(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """Rows that wait for the rate limit were not sent either."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode, requests_per_minute=6, max_tools=4) as flowport:
        await flowport.client.list_tools()
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(70), wait=False)
        cancelled = await flowport.ask("cancel_run", run_id=batch["run_id"])
        over = await flowport.ask("get_run", run_id=batch["run_id"])
        again = await flowport.ask("cancel_run", run_id=batch["run_id"])
        assert await flowport.count("run") == 0
    assert cancelled["summary"] == "70 of 70 runs were not started and cost nothing; none goes on."
    assert (over["state"], over["credits"], over["not_started"]) == ("cancelled", 0, 70)
    assert "cancelled" not in over
    assert {row["state"] for row in over["table"]} == {"not started"}
    assert again["outcome"] == "already over"
    assert again["summary"].startswith('The batch is over already. 70 runs of "Text to Picture": 70 not started (')


async def test_a_second_cancellation_reports_the_unstarted_rows_again(flowport: Harness) -> None:
    """Whether a row had become a run by then makes no difference to the user: nothing was sent for it."""
    gone: dict[str, Any] = {"account_id": "magnific:elsewhere:old", "owner": "local"}
    await flowport.assembly.workspace.store.accept_batch(build_batch(rows=5, **gone))
    begun = [
        (1, build_run("run_1", RunState.RUNNING, batch_id=BATCH, provider_run_id="p1", starting_at=1.0)),
        (2, build_run("run_2", batch_id=BATCH)),
    ]
    await flowport.assembly.workspace.store.accept_rows(BATCH, [(n, replace(run, **gone)) for n, run in begun])
    answers = [(await flowport.ask("cancel_run", run_id=BATCH))["summary"] for _ in range(2)]
    facts = await flowport.ask("get_run", run_id=BATCH, wait=False)
    assert answers[0] == answers[1]
    assert answers[0] == (
        "4 of 5 runs were not started and cost nothing; 1 that were started go on and are charged, and get_run fetches "
        "their results."
    )
    assert (facts["not_started"], facts["live"], facts.get("cancelled"), facts.get("done")) == (4, 1, None, None)
    assert [row["state"] for row in facts["table"]] == ["running", "not started"]


async def test_a_disconnected_caller_stops_a_batch_only_if_configured(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """A batch is paid row by row, so stopping it saves the rows that have not begun."""
    await sandbox.switch("next_run", runs=LIVE_ROWS_UNLIMITED, hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, should_stop_on_cancel=True) as flowport:
        with anyio.CancelScope() as scope:

            async def observe(progress: float, total: float | None, message: str | None) -> None:
                """Cancel once rows are live."""
                if message and f"of {LIVE_ROWS_UNLIMITED + 16} done" in message:
                    scope.cancel()

            arguments = {"app": TOOL, "rows": build_rows(LIVE_ROWS_UNLIMITED + 16)}
            await flowport.client.call_tool("run_batch", arguments, progress_callback=observe)
        row = (await flowport.ask("list_runs"))["runs"][0]
        with anyio.fail_after(60):
            while not (facts := await flowport.ask("get_run", run_id=row["run_id"], wait=False)).get("not_started"):
                await anyio.lowlevel.checkpoint()
    assert "The client that asked for the batch has gone" in facts["stopped"]


async def test_a_batch_of_another_process_can_be_awaited_and_cancelled(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """The editor waits for a batch that the desktop client carries out, and cancels it."""
    await sandbox.switch("next_run", runs=LIVE_ROWS_UNLIMITED, hold=True)
    async with (
        open_harness(sandbox, tmp_path / "person", mode=mode) as first,
        open_harness(sandbox, tmp_path / "person", mode=mode) as second,
    ):
        batch_id = (
            await first.ask(
                "run_batch", app=FAILING, rows=[{"note": str(n)} for n in range(LIVE_ROWS_UNLIMITED + 6)], wait=False
            )
        )["run_id"]
        await wait_until_started(first, LIVE_ROWS_UNLIMITED)
        await wait_until_live(first, batch_id)
        stopped = await second.ask("cancel_run", run_id=batch_id)
        found: list[dict[str, Any]] = []

        async def wait() -> None:
            """Wait in the second process."""
            found.append(await second.ask("get_run", run_id=batch_id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_until(
                lambda: any(f"of {LIVE_ROWS_UNLIMITED + 6} done" in message for _, message in second.progress)
            )
            for run in await first.assembly.workspace.store.get_live_rows(batch_id):
                await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        assert await first.count("run") == LIVE_ROWS_UNLIMITED
    assert stopped["summary"].startswith(
        f"6 of {LIVE_ROWS_UNLIMITED + 6} runs were not started and cost nothing; {LIVE_ROWS_UNLIMITED} that were started go on"
    )
    assert (found[0]["state"], found[0]["failed"], found[0]["not_started"]) == ("failed", LIVE_ROWS_UNLIMITED, 6)


async def test_a_batch_of_a_removed_key_can_be_read_and_cancelled(flowport: Harness) -> None:
    """Nothing can be sent for it, so cancelling frees its reservation."""
    old = build_batch("batch_old", account_id="magnific:elsewhere:old", owner="local")
    await flowport.assembly.workspace.store.accept_batch(old)
    facts = await flowport.ask("get_run", run_id="batch_old", wait=False)
    assert (facts["state"], facts["waiting"], facts["problem"]) == ("running", 3, KEY_GONE)
    cancelled = await flowport.ask("cancel_run", run_id="batch_old")
    assert cancelled["summary"] == "3 of 3 runs were not started and cost nothing; none goes on."
    assert (await flowport.ask("get_run", run_id="batch_old"))["state"] == "cancelled"
    assert await flowport.count("run") == 0
