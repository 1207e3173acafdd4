"""Repeated calls join their run and cost nothing, and an undelivered result is reported later; both protocol eras."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import mcp.types as t
import pytest
from mcp.client.context import ClientRequestContext

from flowport.domain.models import RunState
from flowport.runtime.clock import SystemClock
from flowport.server.handlers import REMINDER_SECONDS
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import Harness, Mode, open_harness
from tests.support.scripted import wait_until

TOOL = "text_to_picture"
PROMPT = {"prompt": "a lake"}


@pytest.fixture
async def hasty(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> AsyncIterator[Harness]:
    """Run Flowport for a client that does not wait; the sandbox's next run continues until it is released."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, wait_seconds=0.0) as harness:
        yield harness


async def release(flowport: Harness, run_id: str) -> None:
    """Let the sandbox finish a run, and wait until Flowport has recorded its end and saved its outputs."""
    run = await flowport.assembly.workspace.store.get_run(run_id, account_id=None, owner="local")
    await flowport.sandbox.switch(f"runs/{run.provider_run_id}", release=True)
    await wait_until(lambda: flowport.assembly.workspace.runner.get_entry(run_id) is None)


async def start(flowport: Harness) -> str:
    """Call the tool, and return the run's id once the provider has acknowledged it."""
    handed = await flowport.ask(TOOL, **PROMPT)
    runner = flowport.assembly.workspace.runner

    def is_started() -> bool:
        """Return whether the provider is running it."""
        entry = runner.get_entry(handed["run_id"])
        return entry is not None and entry.run.state is RunState.RUNNING

    await wait_until(is_started)
    return str(handed["run_id"])


async def test_a_repeated_call_joins_its_run_and_says_so(hasty: Harness) -> None:
    """A repeated call is answered with the first call's run: clients time out after a minute and call_again."""
    run_id = await start(hasty)
    again = await hasty.ask(TOOL, **PROMPT)
    await release(hasty, run_id)
    at_last = await hasty.ask(TOOL, **PROMPT)

    assert (again["run_id"], at_last["run_id"], at_last["state"]) == (run_id, run_id, "succeeded")
    assert "no other is started or charged" in again["joined"]
    assert "run_app with new_run true makes another" in at_last["joined"]
    assert await hasty.count("run") == 1


async def test_an_equal_call_after_delivery_starts_a_new_run(hasty: Harness) -> None:
    """Once the result was delivered, an equal call starts a run: the caller wants another picture."""
    run_id = await start(hasty)
    await release(hasty, run_id)
    seen = await hasty.ask("get_run", run_id=run_id)
    another = await hasty.ask(TOOL, **PROMPT)

    assert (seen["run_id"], "joined" in another) == (run_id, False)
    assert another["run_id"] != run_id


async def test_new_run_starts_a_run_beside_a_live_one(hasty: Harness) -> None:
    """`new_run` starts a second run beside a live one; the answer of a joined call names the argument."""
    run_id = await start(hasty)
    another = await hasty.ask("run_app", app=TOOL, arguments=PROMPT, new_run=True)
    assert another["run_id"] != run_id


async def test_equal_concurrent_calls_start_separate_runs(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """Equal calls made at the same time each start a run: people ask for four variations at once."""
    answers: list[str] = []
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport, anyio.create_task_group() as tasks:

        async def call() -> None:
            """Call the tool once more."""
            answers.append((await flowport.ask(TOOL, **PROMPT))["run_id"])

        for _ in range(4):
            tasks.start_soon(call)
    assert len(set(answers)) == 4


async def test_the_call_after_a_cancelled_one_joins_its_run(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """The call after a cancelled one joins its run, however soon it comes: it is the client's call_again."""
    await sandbox.switch("next_run", hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
        with anyio.CancelScope() as scope:

            async def give_up(progress: float, total: float | None, message: str | None) -> None:
                """Cancel at the first progress message."""
                scope.cancel()

            await flowport.client.call_tool(TOOL, PROMPT, progress_callback=give_up)
        row = (await flowport.ask("list_runs"))["runs"][0]
        async with anyio.create_task_group() as tasks:
            answers: list[dict[str, Any]] = []

            async def call_again() -> None:
                """Repeat the call."""
                answers.append(await flowport.ask(TOOL, **PROMPT))

            tasks.start_soon(call_again)
            # Before the provider has returned an id, the sandbox has nothing to release.
            while (await flowport.ask("list_runs"))["runs"][0]["state"] not in {"queued", "running"}:
                await anyio.lowlevel.checkpoint()
            await wait_until(lambda: len(flowport.progress) > 0)
            await release(flowport, row["run_id"])
        assert [answer["run_id"] for answer in answers] == [row["run_id"]]
        assert await flowport.count("run") == 1


async def test_two_processes_of_one_home_pay_once(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Equal calls to two processes start one run: Claude Desktop and Cursor each start a Flowport."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with (
        open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as one,
        open_harness(sandbox, tmp_path / "person", mode="legacy", wait_seconds=0.0) as other,
    ):
        run_id = await start(one)
        joined = await other.ask(TOOL, **PROMPT)
        await release(one, run_id)
        result = await other.ask("get_run", run_id=run_id)
    assert (joined["run_id"], result["state"]) == (run_id, "succeeded")
    assert await one.count("run") == 1


async def test_an_equal_call_after_an_uncertain_start_is_refused(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """The refusal says that the run may have been paid for, how to check it and how to start another."""
    await sandbox.switch("faults", operation="run", fault="drop")
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
        unknown = await flowport.ask(TOOL, **PROMPT)
        refusals = [await flowport.ask(TOOL, **PROMPT) for _ in range(2)]
        forced = await flowport.ask("run_app", app=TOOL, arguments=PROMPT, new_run=True)
        assert await flowport.count("run") == 2
    assert unknown["state"] == "unknown"
    assert [refusal["error"] for refusal in refusals] == ["UncertainStart"] * 2
    assert unknown["run_id"] in refusals[0]["message"]
    assert "Magnific's website shows whether it is there" in refusals[0]["message"]
    assert forced["state"] == "succeeded"


@pytest.mark.parametrize(("action", "starts"), [("accept", 2), ("decline", 1), ("cancel", 1)])
async def test_the_user_decides_about_an_uncertain_start(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, action: Any, starts: int
) -> None:
    """A client with elicitation asks the user, because a model must not decide by itself to pay twice."""
    asked: list[str] = []

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Answer for the user."""
        asked.append(params.message)
        return t.ElicitResult(action=action, content={} if action == "accept" else None)

    await sandbox.switch("faults", operation="run", fault="drop")
    async with open_harness(sandbox, tmp_path / "person", mode=mode, ask_person=ask) as flowport:
        await flowport.ask(TOOL, **PROMPT)
        answer = await flowport.ask("run_app", app=TOOL, arguments=PROMPT, new_run=True)
        assert await flowport.count("run") == starts
    assert len(asked) == 1
    assert "Start another one all the same?" in asked[0]
    assert answer.get("error", "") == ("" if action == "accept" else "NotConfirmed")


class SettableClock(SystemClock):
    """The machine's clock, with an offset that the test sets."""

    ahead_seconds = 0.0

    def monotonic(self) -> float:
        """Return the machine's seconds plus the offset."""
        return super().monotonic() + self.ahead_seconds


async def test_an_undelivered_result_is_mentioned_in_other_answers(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Answers of other tools mention a result that became ready after its client had disconnected."""
    clock = SettableClock()
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, clock=clock, wait_seconds=0.0) as flowport:
        run_id = await start(flowport)
        await release(flowport, run_id)
        clock.ahead_seconds = REMINDER_SECONDS
        results = [await flowport.call("get_balance") for _ in range(2)]
    sentence = f'1 finished run you have not seen: "Text to Picture" ({run_id}). get_run shows the result.'
    facts = [result.structured_content or {} for result in results]
    assert [one.get("unseen") for one in facts] == [sentence, None]
    assert isinstance(first := results[0].content[0], t.TextContent)
    assert first.text.endswith(f"unseen: {sentence}")


async def test_a_confirmation_is_used_once(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A confirmation sent twice starts one run: clients resend it after their own time-out."""
    await sandbox.switch("faults", operation="run", fault="drop")

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Declare elicitation; the test itself answers."""
        return t.ElicitResult(action="decline")

    async with open_harness(sandbox, tmp_path / "person", ask_person=ask) as flowport:
        await flowport.ask(TOOL, **PROMPT)
        call = t.CallToolRequestParams(name="run_app", arguments={"app": TOOL, "arguments": PROMPT, "new_run": True})
        session = flowport.client.session
        asked = await session.call_tool(call.name, call.arguments, allow_input_required=True)
        assert isinstance(asked, t.InputRequiredResult)
        answers = [
            await session.call_tool(
                call.name,
                call.arguments,
                input_responses={"confirm": t.ElicitResult(action="accept")},
                request_state=asked.request_state,
                allow_input_required=True,
            )
            for _ in range(2)
        ]
        assert await flowport.count("run") == 2
    assert [type(answer) for answer in answers] == [t.CallToolResult, t.InputRequiredResult]
