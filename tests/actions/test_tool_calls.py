"""Tool calls in cases that a plain call through a client does not reach."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from flowport.domain.models import LOCAL_OWNER, RunState
from flowport.runs.recovery import KEY_GONE
from tests.fakes.client import Client as SandboxClient
from tests.store.samples import build_run
from tests.support.harness import Harness, open_harness


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


async def cancel_when(flowport: Harness, words: str) -> None:
    """Call an app, and cancel as soon as its progress has these words."""
    with anyio.CancelScope() as scope:

        async def watch(progress: float, total: float | None, message: str | None) -> None:
            """Cancel at the words."""
            if message and message.startswith(words):
                scope.cancel()

        await flowport.client.call_tool("text_to_picture", {"prompt": "a lake"}, progress_callback=watch)
    assert scope.cancelled_caught


@pytest.mark.parametrize(("should_stop", "state"), [(True, "cancelled"), (False, "accepted")])
async def test_a_call_cancelled_before_anything_was_sent(
    sandbox: SandboxClient, tmp_path: Path, should_stop: bool, state: str
) -> None:
    """The setting decides whether the run continues; nothing has been paid yet."""
    # The ten requests of the discovery use up the minute, so the run waits in the queue.
    async with open_harness(
        sandbox, tmp_path / "person", requests_per_minute=6, max_tools=4, should_stop_on_cancel=should_stop
    ) as flowport:
        await flowport.client.list_tools()
        await cancel_when(flowport, "waiting for its turn")
        row = (await flowport.ask("list_runs"))["runs"][0]
        with anyio.fail_after(60):
            while row["state"] != state:
                row = (await flowport.ask("list_runs"))["runs"][0]
        assert await flowport.count("run") == 0


async def test_a_queued_run_is_cancelled_at_no_cost(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Before the start request leaves, even Magnific's runs cost nothing."""
    async with open_harness(
        sandbox, tmp_path / "person", requests_per_minute=6, max_tools=4, wait_seconds=0.0
    ) as flowport:
        await flowport.client.list_tools()
        run_id = (await flowport.ask("text_to_picture", prompt="a lake"))["run_id"]
        cancelled = await flowport.ask("cancel_run", run_id=run_id)
        facts = await flowport.ask("get_run", run_id=run_id)

    assert (cancelled["outcome"], facts["state"], facts["credits"]) == ("cancelled", "cancelled", 0)


async def test_a_cancelled_run_counts_as_delivered(sandbox: SandboxClient, tmp_path: Path) -> None:
    """After the answer to `cancel_run` no reminder must mention the same run."""
    async with open_harness(
        sandbox, tmp_path / "person", requests_per_minute=6, max_tools=4, wait_seconds=0.0
    ) as flowport:
        await flowport.client.list_tools()
        run_id = (await flowport.ask("text_to_picture", prompt="a lake"))["run_id"]
        answers = [await flowport.ask("cancel_run", run_id=run_id) for _ in range(2)]
        row = (await flowport.ask("list_runs"))["runs"][0]
    assert [one["outcome"] for one in answers] == ["cancelled", "already over"]
    assert not any("unseen" in one for one in answers)
    assert (row["state"], row["is_seen"]) == ("cancelled", True)


async def test_an_unknown_run_is_neither_over_nor_cancelled(flowport: Harness) -> None:
    """It may be running at the provider, and cost credits there."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")
    run_id = (await flowport.ask("text_to_picture", prompt="a lake"))["run_id"]
    answers = [await flowport.ask("cancel_run", run_id=run_id, stop_following=stop) for stop in (False, True)]
    assert [(one["outcome"], one["state"]) for one in answers] == [("unknown", "unknown")] * 2


async def test_a_lost_start_response_is_reported_as_unknown_and_never_sent_again(flowport: Harness) -> None:
    """Magnific cannot recognise a repeated start, so repeating one may cost twice."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")

    result = await flowport.call("text_to_picture", prompt="a lake")
    facts = result.structured_content

    assert isinstance(facts, dict)
    assert (facts["state"], facts["credits"], bool(result.is_error)) == ("unknown", 2, True)
    assert "does not send it again by itself" in facts["failure"]
    assert await flowport.count("run") == 1


async def test_a_refused_key_is_reported_with_advice(flowport: Harness) -> None:
    """The user behind the assistant has to correct it."""
    await flowport.client.list_tools()
    await flowport.sandbox.switch("faults", operation="run", fault="status", status=401)

    facts = await flowport.ask("text_to_picture", prompt="a lake")

    assert (facts["state"], facts["credits"]) == ("failed", 0)
    assert "Check the key in the client's configuration." in facts["failure"]


@pytest.mark.parametrize(
    "faults",
    [
        ({"fault": "reset"}, {"fault": "status", "status": 500}),
        ({"fault": "garbage"}, {"fault": "truncate"}),
    ],
    ids=["no answer", "a broken answer"],
)
async def test_failed_polls_do_not_end_a_run(flowport: Harness, faults: tuple[dict[str, object], ...]) -> None:
    """A flaky network must not lose a paid run. Two faults: the delays after them double from 2 s."""
    for fault in faults:
        await flowport.sandbox.switch("faults", operation="status", **fault)

    facts = await flowport.ask("text_to_picture", prompt="a lake")

    assert facts["state"] == "succeeded"


async def test_a_run_of_a_removed_key_is_still_shown(flowport: Harness) -> None:
    """A new key must not hide runs that were paid for with the old one."""
    run = replace(build_run("run_old"), owner=LOCAL_OWNER, account_id="magnific:elsewhere:old", state=RunState.RUNNING)
    await flowport.assembly.workspace.store.accept(run)

    facts = await flowport.ask("get_run", run_id="run_old")
    cancelled = await flowport.ask("cancel_run", run_id="run_old")

    assert facts["state"] == "running"
    assert cancelled["outcome"] == "cannot"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (0, "limit was given 0. It takes a number from 1 to 50."),
        ("51", "limit was given 51."),
        ("many", 'limit was given "many".'),
        (1.5, "limit was given a fraction. It takes a whole number."),
        (10**300, "limit was given 1000"),
    ],
)
async def test_a_limit_out_of_range_is_refused(flowport: Harness, limit: object, words: str) -> None:
    """Five thousand runs would fill a model's context."""
    message = (await flowport.ask("list_runs", limit=limit))["message"]

    assert message.startswith(words)
    assert len(message) < 200


@pytest.mark.parametrize("limit", ["1", 1.0, "1e0"])
async def test_a_limit_may_be_spelt_as_clients_do(flowport: Harness, limit: object) -> None:
    """JSON has one kind of number, and some clients send text."""
    await flowport.ask("always_fails", note="x")
    await flowport.ask("always_fails", note="y")

    assert len((await flowport.ask("list_runs", limit=limit))["runs"]) == 1


async def test_undelivered_runs_are_counted_over_all_pages(flowport: Harness) -> None:
    """A page of one run must not hide that five more wait."""
    store = flowport.assembly.workspace.store
    for n in range(3):
        await store.accept(replace(build_run(f"run_{n}", RunState.SUCCEEDED), owner=LOCAL_OWNER, delivered_at=None))

    facts = await flowport.ask("list_runs", limit=1)

    assert facts["summary"] == "1 run, newest first. 3 finished runs in all not delivered yet."


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("get_run", "run_i"),
        ("cancel_run", "odd"),
        ("list_runs", "limits"),
        ("find_apps", "qurey"),
        ("get_balance", "providr"),
    ],
)
async def test_only_a_call_for_a_run_reports_that_nothing_was_started(flowport: Harness, tool: str, name: str) -> None:
    """Calls of other tools start nothing in any case."""
    asked = await flowport.ask(tool, **{name: 1})
    run = await flowport.ask("run_app", odd=1)

    assert f"{name} is not an argument of this tool" in asked["message"]
    assert not asked["message"].startswith("Nothing was started.")
    assert run["message"].startswith("Nothing was started.")


async def test_runs_can_be_listed_by_state(flowport: Harness) -> None:
    """Users ask for the runs that failed today."""
    await flowport.ask("always_fails", note="x")
    await flowport.ask("text_to_picture", prompt="a lake")

    facts = await flowport.ask("list_runs", state="failed")

    assert [row["tool"] for row in facts["runs"]] == ["always_fails"]


@pytest.mark.parametrize("given", [[1], False, 0, "prompt"])
async def test_arguments_that_are_not_an_object_are_refused(flowport: Harness, given: object) -> None:
    """Models sometimes send a list; false must not start a run either, which costs credits."""
    refused = await flowport.ask("run_app", app="always_fails", arguments=given)
    assert "arguments is not an object" in refused["message"]
    assert await flowport.count("run") == 0


async def test_an_app_is_called_by_its_tool_name_only(flowport: Harness) -> None:
    """The app's title is not a tool name, because titles change and repeat."""
    with pytest.raises(Exception, match="Did you mean text_to_picture"):
        await flowport.client.call_tool("Text to Picture", {"prompt": "x"})


async def test_left_out_apps_are_reported_with_the_reason(sandbox: SandboxClient, tmp_path: Path) -> None:
    """An app that is silently missing costs people an evening."""
    body = '{"data": {"sqid": "t2P6yGfJ0x", "name": "Text to Picture"}}'
    await sandbox.switch("faults", operation="get", fault="status", status=200, body=body, app="t2P6yGfJ0x")
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        facts = await flowport.ask("find_apps", query="text to picture")
        refused = await flowport.ask("run_app", app="text_to_picture")

    assert "call_it_by" not in facts["apps"][0]
    assert facts["apps"][0]["left_out_because"] == "its definition names no inputs"
    assert facts["catalogues"][0]["left_out"] == ["text_to_picture, because its definition names no inputs"]
    assert "is left out because its definition names no inputs" in refused["message"]


async def test_run_app_with_its_own_name_as_app_is_an_error_result(flowport: Harness) -> None:
    """The tool is known; its argument names no app."""
    result = await flowport.call("run_app", app="run_app")

    assert result.is_error
    assert "There is no app 'run_app'." in str(result.structured_content)


@pytest.mark.parametrize("name", ["nothing", "x" * 5000])
async def test_an_unknown_tool_is_a_protocol_error_however_long_its_name(flowport: Harness, name: str) -> None:
    """Clients distinguish protocol errors from error results."""
    with pytest.raises(MCPError, match="Unknown tool: There is no app") as caught:
        await flowport.client.call_tool(name, {})
    assert len(str(caught.value)) < 300


async def test_an_app_is_not_reported_as_unknown_while_its_catalogue_is_unreadable(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """The model would report that the app was deleted."""
    for operation in ("list", "list_own"):
        await sandbox.switch("faults", operation=operation, fault="status", status=500)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        called = await flowport.call("text_to_picture", prompt="a lake")
        named = await flowport.ask("run_app", app="text_to_picture")
        found = await flowport.ask("find_apps")

    problem = "Magnific could not list its apps: it answered HTTP 500."
    assert called.is_error
    for text in (str(called.structured_content), named["message"], found["summary"]):
        assert problem in text


async def test_find_apps_refreshes_on_request(flowport: Harness) -> None:
    """A user has just published an app and wants it now."""
    await flowport.client.list_tools()
    before = await flowport.count("list")
    facts = await flowport.ask("find_apps", query="pictures", takes="text", max_credits=2, refresh=True)

    assert await flowport.count("list") == before + 1
    assert [row["tool"] for row in facts["apps"]] == ["text_to_picture"]


async def test_a_run_of_a_removed_key_says_so_wherever_it_is_shown(flowport: Harness) -> None:
    """The present key cannot fetch it, but the user knows where the old one is."""
    run = build_run("run_old", RunState.RUNNING, provider_run_id="r1", account_id="magnific:elsewhere:old")
    await flowport.assembly.workspace.store.accept(
        replace(run, owner=LOCAL_OWNER, adoption_tried_by="magnific:elsewhere:new")
    )

    row = (await flowport.ask("list_runs"))["runs"][0]
    facts = await flowport.ask("get_run", run_id="run_old")

    assert row["problem"] == facts["problem"] == KEY_GONE


async def test_an_app_that_the_quota_makes_unreadable_is_refused_at_once(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """Reading a definition is not a poll of a paid run, for which the call would wait until tomorrow."""
    limits: dict[str, Any] = {"requests_per_minute": 60, "requests_per_day": 2, "max_tools": 0}
    async with open_harness(sandbox, tmp_path / "person", **limits) as flowport:
        await flowport.client.list_tools()
        refused = await flowport.ask("run_app", app="text_to_picture", arguments={"prompt": "x"})
    assert refused["error"] == "DayUsedUp"
