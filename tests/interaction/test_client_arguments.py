"""Calls as clients and models make them: with extra arguments, other spellings of names, and text for objects."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.fakes.client import Client as SandboxClient
from tests.support.harness import MODES, Harness, Mode, open_harness

N8N = {"toolCallId": "call_1", "sessionId": "s", "action": "sendMessage", "chatInput": "hi"}
TOOL, APP_ID = "text_to_picture", "t2P6yGfJ0x"


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


@pytest.mark.parametrize("mode", MODES)
async def test_every_tool_accepts_arguments_that_clients_add(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Clients' extra arguments are ignored: n8n adds four to each call (n8n-io/n8n#21500, grafana/mcp-grafana#641)."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
        run = await flowport.ask(TOOL, prompt="a lake", **N8N)
        calls: dict[str, dict[str, Any]] = {
            "run_app": {"app": TOOL, "arguments": {"prompt": "a hill", **N8N}},
            "run_batch": {"app": TOOL, "rows": [{"prompt": "a cup", **N8N}], "arguments": N8N},
            "get_run": {"run_id": run["run_id"]},
            "cancel_run": {"run_id": run["run_id"]},
            "list_runs": {},
            "find_apps": {},
            "get_balance": {},
        }
        answers = {tool: await flowport.call(tool, **given, **N8N) for tool, given in calls.items()}

    assert run["state"] == "succeeded"
    assert {tool: answer.is_error for tool, answer in answers.items() if answer.is_error} == {}
    assert not any("ignored" in str(answer.structured_content) for answer in answers.values())


async def test_a_retry_with_another_client_id_joins_its_run(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A client's id differs in each call and must not prevent deduplication."""
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as flowport:
        await sandbox.switch("next_run", hold=True)
        first = await flowport.ask(TOOL, prompt="a lake", toolCallId="call_1")
        again = await flowport.ask("run_app", app=TOOL, arguments={"Prompt": "a lake", "toolCallId": "call_2"})
        rows = [
            await flowport.ask("run_batch", app=TOOL, rows=[{name: "a hill", "toolCallId": name}], wait=False)
            for name in ("prompt", "PROMPT")
        ]
        assert again["run_id"] == first["run_id"]
        assert rows[0]["run_id"] == rows[1]["run_id"]


async def test_a_misspelt_input_is_refused_and_nothing_is_started(flowport: Harness) -> None:
    """Ignoring a misspelt input would pay for a picture made without it."""
    for tool, given in ((TOOL, {"promt": "x", **N8N}), ("run_batch", {"app": TOOL, "rows": [{"promt": "x"}]})):
        facts = await flowport.ask(tool, **given)
        assert "promt is not an argument of this tool. Did you mean prompt?" in facts["message"]
    assert await flowport.count("run") == 0


async def test_an_unknown_argument_of_a_read_only_tool_is_ignored_and_named(flowport: Harness) -> None:
    """The answer names it, or the model assumes an effect (erikdarlingdata/PerformanceMonitor#3870)."""
    facts = await flowport.ask("find_apps", query="picture", verbose=True)

    assert facts["apps"]
    assert facts["ignored"] == "verbose: not an argument of this tool; it changed nothing."
    assert "verbose" in (await flowport.ask("cancel_run", run_id="run_x", verbose=True))["message"]


async def test_objects_may_be_text_with_json(flowport: Harness) -> None:
    """An object may be given as JSON text: converted schemas have no free-form objects, so models send text."""
    run = await flowport.ask("run_app", app=TOOL, arguments=json.dumps({"prompt": "a lake"}))
    rows = json.dumps([{"prompt": "a hill"}, {"prompt": "a cup"}])
    batch = await flowport.ask("run_batch", app=TOOL, rows=rows, arguments="{}")
    texts = await flowport.ask("run_batch", app=TOOL, rows=[json.dumps({"prompt": "a tree"})])

    assert (run["state"], batch["succeeded"], texts["succeeded"]) == ("succeeded", 2, 1)


async def test_empty_values_from_strict_clients_count_as_missing(flowport: Harness) -> None:
    """With strict schemas a model must give every argument, so it sends empty text, an empty list, or false."""
    run = await flowport.ask("run_app", app=TOOL, arguments='{"prompt": "a lake"}', new_run=False, variations=1)
    batch = await flowport.ask(
        "run_batch",
        app=TOOL,
        rows=['{"prompt": "a hill"}'],
        csv="",
        arguments="",
        variations=1,
        new_run=False,
        stop_after_failures=1,
        wait=True,
    )
    listed = await flowport.ask("list_runs", state="succeeded", limit=5)
    balance = await flowport.ask("get_balance", provider="")

    assert (run["state"], batch["succeeded"]) == ("succeeded", 1)
    assert len(listed["runs"]) == 2
    assert balance["accounts"]


@pytest.fixture
async def bare(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport on an account with an app that takes no inputs."""
    body = json.dumps({"data": {"sqid": APP_ID, "name": "Text to Picture", "inputs": []}})
    await sandbox.switch("faults", operation="get", fault="status", status=200, body=body, app=APP_ID)
    # The sandbox's own app takes a prompt, so it would refuse the start.
    started = json.dumps({"status": "running", "workflow_run_identifier": "omps2OH829"})
    await sandbox.switch("faults", operation="run", fault="status", status=202, body=started, app=APP_ID)
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as harness:
        await harness.client.list_tools()
        yield harness


async def test_an_app_without_inputs_lists_and_accepts_new_run(bare: Harness) -> None:
    """The argument is listed because clients refuse an object schema without properties, and it works."""
    tools = {tool.name: tool for tool in (await bare.client.list_tools()).tools}
    first, joined = await bare.ask(TOOL), await bare.ask(TOOL, new_run=False)
    another = await bare.ask(TOOL, new_run=True)
    odd = await bare.ask(TOOL, new_run="perhaps")

    assert list(tools[TOOL].input_schema["properties"]) == ["new_run"]
    assert joined["run_id"] == first["run_id"] != another["run_id"]
    assert "new_run was given" in odd["message"]


async def test_new_run_among_the_arguments_is_accepted_for_variations_too(flowport: Harness) -> None:
    """An app's own tool takes it there, so models write it there for run_app."""
    given = {"app": TOOL, "arguments": {"prompt": "a lake", "new_run": True}, "variations": 2}
    batch = await flowport.ask("run_app", **given)

    assert (batch["state"], batch["succeeded"]) == ("succeeded", 2)


async def test_every_app_tool_accepts_new_run(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Answers advise `new_run`, so every app tool accepts it."""
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as flowport:
        first = await flowport.ask(TOOL, prompt="a lake")
        another = await flowport.ask(TOOL, prompt="a lake", new_run=True)
        with anyio.fail_after(60):
            while await flowport.count("run") < 2:
                await anyio.lowlevel.checkpoint()

    assert first["run_id"] != another["run_id"]


async def test_list_runs_returns_links_to_results(flowport: Harness) -> None:
    """One `list_runs` call answers "Show my last results" with links that can be read."""
    run = await flowport.ask(TOOL, prompt="a lake")
    (row,) = (await flowport.ask("list_runs"))["runs"]

    assert row["results"][0]["url"] == run["outputs"][0]["url"]
    assert row["results"][0]["saved_path"] == run["outputs"][0]["saved_path"]


async def test_new_run_is_accepted_in_other_spellings(flowport: Harness) -> None:
    """Other spellings are accepted as for every argument; two of them are refused, since they may differ."""
    first = await flowport.ask(TOOL, prompt="a lake")
    again = await flowport.ask(TOOL, prompt="a lake", newRun=True)
    assert again["run_id"] != first["run_id"]
    assert "joined" not in again
    refused = await flowport.ask(TOOL, prompt="a lake", new_run=True, New_Run=False)
    assert "new_run was given 2 times" in refused["message"]
