"""What a batch may cost: one confirmation, and limits that hold for all of its rows together; both protocol eras."""

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest
from mcp.client.context import ClientRequestContext

from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.runs.steps import LIVE_ROWS_UNLIMITED
from tests.fakes.client import Client as SandboxClient
from tests.interaction.batches.requests import TOOL, build_rows, wait_until_started
from tests.support.harness import Mode, open_harness


class Person:
    """A user who always gives the same answer."""

    def __init__(self, action: Any) -> None:
        self.questions: list[str] = []
        self._action = action

    async def answer(self, context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Record the question and answer it."""
        self.questions.append(params.message)
        return t.ElicitResult(action=self._action, content={} if self._action == "accept" else None)


@pytest.mark.parametrize(("action", "runs"), [("accept", 5), ("decline", 0)])
async def test_a_batch_is_confirmed_once_as_a_whole(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, action: str, runs: int
) -> None:
    """The user is asked once about the total: each row is below the threshold, all of them are above it."""
    person, spending_limits = Person(action), SpendingLimits(confirm_above_credits=9.0)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, ask_person=person.answer, spending_limits=spending_limits
    ) as flowport:
        assert (await flowport.ask("run_batch", app=TOOL, rows=build_rows(4)))["succeeded"] == 4
        answer = await flowport.ask("run_batch", app=TOOL, rows=build_rows(5, "hill"))
        assert await flowport.count("run") == 4 + runs
    assert person.questions == ['Start 5 runs of "Text to Picture" for 10 credits together?']
    assert answer.get("error", "") == ("" if runs else "NotConfirmed")


async def test_an_unknown_price_is_asked_about_once(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """One question for the batch, not one for each row."""
    await sandbox.switch("dialect", tool_metadata=False)
    person, spending_limits = Person("accept"), SpendingLimits(unknown_price=UnknownPrice.CONFIRM)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, ask_person=person.answer, spending_limits=spending_limits
    ) as flowport:
        answer = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
    assert (answer["succeeded"], answer["credits"]) == (3, "unknown")
    assert person.questions == ['Start 3 runs of "Text to Picture" without knowing the price?']


@pytest.mark.parametrize(
    ("spending_limits", "error"),
    [
        (SpendingLimits(max_credits_per_run=1.0), "RunCapReached"),
        (SpendingLimits(max_credits_per_day=5.0), "DayCapReached"),
        (SpendingLimits(confirm_above_credits=5.0), "PriceUnconfirmed"),
    ],
)
async def test_a_limit_refuses_a_batch_as_a_whole(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, spending_limits: SpendingLimits, error: str
) -> None:
    """The whole batch is refused, because two of three rows would be a table that was not requested."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits) as flowport:
        refused = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
        assert (await flowport.count("run"), refused["error"]) == (0, error)
        assert (await flowport.ask("list_runs"))["runs"] == []


async def test_the_daily_cap_counts_rows_that_have_not_begun(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Pending rows are reserved, and cancelling them frees the reservation."""
    spending_limits = SpendingLimits(max_credits_per_day=2.0 * LIVE_ROWS_UNLIMITED + 72)
    await sandbox.switch("next_run", runs=LIVE_ROWS_UNLIMITED, hold=True)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits, wait_seconds=0.0
    ) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(LIVE_ROWS_UNLIMITED + 35))
        refused = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2, "hill"))
        await wait_until_started(flowport, LIVE_ROWS_UNLIMITED)
        assert (await flowport.ask("get_balance"))["accounts"][0]["reserved_credits"] == 2 * LIVE_ROWS_UNLIMITED + 70
        await flowport.ask("cancel_run", run_id=batch["run_id"])
        taken = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2, "hill"))
    assert (refused["error"], taken["runs"]) == ("DayCapReached", 2)


async def test_concurrent_batches_never_exceed_the_cap(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """Each batch sees the reservations of the others."""
    spending_limits, found = SpendingLimits(max_credits_per_day=25.0), []
    async with open_harness(sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits) as flowport:

        async def call(n: int) -> None:
            """Start a batch of six credits."""
            found.append(await flowport.ask("run_batch", app=TOOL, rows=build_rows(3, f"lake {n}")))

        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(call, n)
        assert await flowport.count("run") == 12
    assert Counter(one.get("error", "") for one in found) == {"": 4, "DayCapReached": 4}
