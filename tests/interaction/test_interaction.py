"""The main promises from outside, as a client sees them in both protocol eras."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest
from mcp.shared.exceptions import MCPError

from flowport.domain.models import Run
from tests.fakes.client import IDS, build_photo, open_sandbox
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import MODES, Harness, Mode, open_harness


@pytest.fixture(params=MODES)
async def flowport(request: pytest.FixtureRequest, sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport with a client of each era."""
    async with open_harness(sandbox, tmp_path / "person", mode=request.param) as harness:
        yield harness


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Put a photograph into the user's folder."""
    folder = tmp_path / "person"
    folder.mkdir(exist_ok=True)
    path = folder / "photo.png"
    build_photo().save(path)
    return path


async def test_each_app_is_a_tool_beside_the_built_in_ones(flowport: Harness) -> None:
    """Each app has a typed tool, which is Flowport's purpose."""
    tools = {tool.name: tool for tool in (await flowport.client.list_tools()).tools}

    assert len(tools) == 7 + len(IDS)
    assert tools["retro_poster"].title == "Retro Poster"
    assert tools["retro_poster"].input_schema["required"] == ["photo", "title"]


async def test_a_call_with_a_picture_returns_a_saved_picture(flowport: Harness, photo: Path) -> None:
    """One call returns the result, its link and its file: the main use."""
    result = await flowport.call("retro_poster", photo=str(photo), title="Hello")

    facts = result.structured_content
    assert isinstance(facts, dict)
    assert (result.is_error, facts["state"], len(facts["outputs"])) == (False, "succeeded", 1)
    output = facts["outputs"][0]
    saved = anyio.Path(output["saved_path"])
    assert saved.is_relative_to(flowport.outputs)
    assert (await saved.read_bytes()).startswith(b"\x89PNG")
    assert (output["mime_type"], output["size_bytes"]) == ("image/png", (await saved.stat()).st_size)


async def test_text_and_structured_content_agree(flowport: Harness) -> None:
    """Text and structured content hold the same facts: some clients show their model only one of them."""
    result = await flowport.call("text_to_picture", prompt="a lake")

    text = next(block.text for block in result.content if isinstance(block, t.TextContent))
    assert isinstance(result.structured_content, dict)
    assert [value for value in iterate_leaves(result.structured_content) if str(value) not in text] == []


async def test_every_output_has_a_link_that_can_be_read(flowport: Harness) -> None:
    """Each link of an answer can be read: clients read links through us, and a dead link is an empty picture."""
    result = await flowport.call("variations_on_a_theme", prompt="a lake", count=3)

    links = [block for block in result.content if isinstance(block, t.ResourceLink)]
    assert len(links) == 3
    for link in links:
        read = (await flowport.client.read_resource(str(link.uri))).contents[0]
        assert isinstance(read, t.BlobResourceContents)
        assert (read.mime_type, link.mime_type) == ("image/png", "image/png")


async def test_the_permanent_uris_of_run_and_output_can_be_read(flowport: Harness) -> None:
    """The `flowport://` URIs remain readable; the provider's link expires after hours."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")

    run = (await flowport.client.read_resource(facts["resource"])).contents[0]
    output = (await flowport.client.read_resource(facts["outputs"][0]["resource"])).contents[0]
    assert isinstance(run, t.TextResourceContents)
    assert json.loads(run.text)["run_id"] == facts["run_id"]
    assert isinstance(output, t.BlobResourceContents)


@pytest.mark.parametrize(
    "uri",
    ["https://example.com/a.png", "flowport://runs/run_none", "flowport://runs/x/outputs/1", "file:///etc/passwd"],
)
async def test_no_other_uri_is_read(flowport: Harness, uri: str) -> None:
    """Other URIs are refused: Flowport is neither a proxy nor an access to this computer's files."""
    with pytest.raises(MCPError, match="no such resource"):
        await flowport.client.read_resource(uri)


async def test_a_misspelt_argument_is_named_with_the_nearest_name(flowport: Harness) -> None:
    """The refusal names the nearest argument, so that the model can correct its call."""
    result = await flowport.call("text_to_picture", promt="a lake")

    assert isinstance(result.structured_content, dict)
    assert result.is_error
    assert "promt is not an argument of this tool. Did you mean prompt?" in result.structured_content["message"]
    assert await flowport.count("run") == 0


async def test_values_sent_as_text_are_converted(flowport: Harness) -> None:
    """Values are converted from text, because several clients send every value as a string."""
    facts = await flowport.ask("variations_on_a_theme", prompt="a lake", count="2")

    assert len(facts["outputs"]) == 2


async def test_progress_begins_at_once_and_only_grows(flowport: Harness) -> None:
    """Progress is reported at once and only increases; it keeps several clients from timing out."""
    await flowport.call("text_to_picture", prompt="a lake")

    values = [progress for progress, _ in flowport.progress]
    assert values == sorted(set(values))
    # The run may be queued by then; its place in the queue follows the time.
    assert ", 0 s" in flowport.progress[0][1]


async def test_a_run_longer_than_the_wait_is_returned_and_fetched_later(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The answer comes before the client times out and names the next call to make."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as flowport:
        handed = await flowport.ask("text_to_picture", prompt="a lake")
        assert f'get_run with run_id "{handed["run_id"]}"' in handed["next_step"]
        await wait_for_state(flowport, handed["run_id"], "running")

    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await release(flowport, handed["run_id"])
        fetched = await flowport.ask("get_run", run_id=handed["run_id"])
    assert (fetched["state"], fetched["run_id"]) == ("succeeded", handed["run_id"])
    assert await sandbox_count(sandbox, "runs_accepted") == 1


async def test_an_abandoned_call_leaves_its_run_running(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The run of an abandoned call continues: it is paid for, and a later call must find its result."""
    await sandbox.switch("next_run", hold=True)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        with anyio.CancelScope() as scope:

            async def abandon(progress: float, total: float | None, message: str | None) -> None:
                """Cancel as soon as the run is known to be running."""
                if message and message.startswith(("queued", "running")):
                    scope.cancel()

            await flowport.client.call_tool("text_to_picture", {"prompt": "a lake"}, progress_callback=abandon)
        assert scope.cancelled_caught
        row = (await flowport.ask("list_runs"))["runs"][0]
        await release(flowport, row["run_id"])
        facts = await flowport.ask("get_run", run_id=row["run_id"])

    assert facts["state"] == "succeeded"
    assert await sandbox_count(sandbox, "runs_accepted") == 1


async def test_several_runs_go_side_by_side(flowport: Harness) -> None:
    """Several runs proceed in parallel: people ask for four variations at once."""
    answers: list[dict[str, Any]] = []

    async def run(n: int) -> None:
        """Make one call."""
        answers.append(await flowport.ask("text_to_picture", prompt=f"lake {n}"))

    async with anyio.create_task_group() as tasks:
        for n in range(6):
            tasks.start_soon(run, n)

    assert len({answer["run_id"] for answer in answers}) == 6
    assert {answer["state"] for answer in answers} == {"succeeded"}
    assert len({answer["outputs"][0]["saved_path"] for answer in answers}) == 6


STATES = [
    ({"status": "completed"}, "succeeded", False, ""),
    ({"status": "failed", "error_message": "Node 'a' failed"}, "failed", True, "Node 'a' failed"),
    ({"status": "cancelled"}, "cancelled", False, "was cancelled"),
    ({"status": "completed_with_errors", "error_message": "Node 'b' failed"}, "partial", False, "Node 'b' failed"),
]


@pytest.mark.parametrize(("change", "state", "is_error", "words"), STATES, ids=[row[1] for row in STATES])
async def test_each_final_state_is_reported(
    flowport: Harness,
    change: dict[str, str],
    state: str,
    is_error: bool,
    words: str,
) -> None:
    """A failure is reported with the provider's reason, and outputs that exist are delivered all the same."""
    await flowport.sandbox.switch("next_run", **change)
    result = await flowport.call("text_to_picture", prompt="a lake")

    assert isinstance(result.structured_content, dict)
    assert (result.structured_content["state"], bool(result.is_error)) == (state, is_error)
    assert words in result.structured_content.get("failure", "")
    assert bool(result.structured_content.get("outputs")) == (state in {"succeeded", "partial"})


@pytest.mark.parametrize("waiting", [{"hold": True}, {"pending_seconds": 3600}], ids=["running", "queued"])
async def test_intermediate_states_are_reported(
    sandbox: SandboxClient, tmp_path: Path, waiting: dict[str, Any]
) -> None:
    """Queued and running are distinguished in progress messages, because they mean different waits."""
    await sandbox.switch("next_run", **({"pending_seconds": 0} | waiting))
    wanted = "queued" if "pending_seconds" in waiting else "running"
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as flowport:
        handed = await flowport.ask("text_to_picture", prompt="a lake")
        facts = await wait_for_state(flowport, handed["run_id"], wanted)
    assert facts["summary"].startswith(f'"Text to Picture" is {wanted}')
    assert facts["progress"].startswith(f"{wanted}, ")


async def test_a_clip_and_a_sound_come_back_as_such(flowport: Harness) -> None:
    """Videos and sounds are returned with their own types, because flows make them too."""
    facts = await flowport.ask("clip_and_jingle", mood="calm")

    assert {(output["kind"], Path(output["saved_path"]).suffix) for output in facts["outputs"]} == {
        ("video", ".mp4"),
        ("audio", ".wav"),
    }


async def test_any_app_can_be_run_by_its_id(flowport: Harness) -> None:
    """`run_app` runs apps beyond the tool list, and refuses them in the same words as a tool."""
    facts = await flowport.ask("run_app", app=IDS["Text to Picture"], arguments={"prompt": "a lake"})
    refused = await flowport.ask("run_app", app="text_to_pictur", arguments={})

    assert facts["state"] == "succeeded"
    assert "Did you mean text_to_picture" in refused["message"]


async def test_an_unknown_tool_is_a_protocol_error(flowport: Harness) -> None:
    """The specification requires it; the message still names the tools that exist."""
    with pytest.raises(MCPError, match="Unknown tool"):
        await flowport.client.call_tool("paint_the_house", {})


async def test_apps_are_found_by_words(flowport: Harness) -> None:
    """`find_apps` finds apps by words: it is how a model reaches unlisted apps."""
    facts = await flowport.ask("find_apps", query="pencil photo")

    assert [row["tool"] for row in facts["apps"]] == ["photo_to_pencil_sketch"]
    assert facts["catalogues"][0]["apps"] == len(IDS)


@pytest.fixture(params=MODES)
async def hasty(request: pytest.FixtureRequest, sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport so that every call returns before its run is over."""
    async with open_harness(sandbox, tmp_path / "person", mode=request.param, wait_seconds=0.0) as harness:
        yield harness


async def wait_for_state(flowport: Harness, run_id: str, *states: str) -> dict[str, Any]:
    """Call until a run is in one of these states, and return the structured answer."""
    with anyio.fail_after(60):
        while (facts := await flowport.ask("get_run", run_id=run_id, wait=False))["state"] not in states:
            pass
    return facts


async def release(flowport: Harness, run_id: str) -> None:
    """Let a run that the sandbox holds continue."""
    run = await get_run(flowport, run_id)
    await flowport.sandbox.switch(f"runs/{run.provider_run_id}", release=True)


async def get_run(flowport: Harness, run_id: str) -> Run:
    """Return the run from the store."""
    return await flowport.assembly.workspace.store.get_run(run_id, account_id=None, owner="local")


async def test_a_started_run_cannot_be_cancelled_and_the_answer_says_so(hasty: Harness) -> None:
    """Magnific cannot cancel; a tool that pretended to would make people believe that they save money."""
    await hasty.sandbox.switch("next_run", hold=True, pending_seconds=0)
    run_id = (await hasty.ask("text_to_picture", prompt="a lake"))["run_id"]
    await wait_for_state(hasty, run_id, "running")

    facts = await hasty.ask("cancel_run", run_id=run_id)

    assert (facts["outcome"], facts["state"]) == ("cannot", "running")
    assert "is charged" in facts["summary"]


async def test_an_unpolled_run_can_be_resumed(hasty: Harness) -> None:
    """A run that is no longer polled must not lose a paid result."""
    await hasty.sandbox.switch("next_run", hold=True, pending_seconds=0)
    run_id = (await hasty.ask("text_to_picture", prompt="a lake"))["run_id"]
    await wait_for_state(hasty, run_id, "running")

    unfollowed = await hasty.ask("cancel_run", run_id=run_id, stop_following=True)
    await release(hasty, run_id)
    over = await wait_for_state(hasty, run_id, "succeeded")

    assert unfollowed["outcome"] == "unfollowed"
    assert len(over["outputs"]) == 1


async def test_a_finished_run_is_not_cancelled(flowport: Harness) -> None:
    """Cancelling a finished run changes nothing: its result exists."""
    run_id = (await flowport.ask("text_to_picture", prompt="a lake"))["run_id"]

    assert (await flowport.ask("cancel_run", run_id=run_id))["outcome"] == "already over"


async def test_spending_is_reported_where_the_provider_has_no_balance(flowport: Harness) -> None:
    """`get_balance` reports what Flowport spent, because the provider reports no balance."""
    await flowport.ask("text_to_picture", prompt="a lake")
    facts = await flowport.ask("get_balance")

    assert facts["accounts"][0]["spent_credits_24_hours"] == 2


async def test_runs_are_listed_newest_first_and_undelivered_ones_marked(hasty: Harness) -> None:
    """Runs are listed newest first, and undelivered ones are marked, so an old result hides no newer run."""
    unseen = (await hasty.ask("text_to_picture", prompt="a lake"))["run_id"]
    seen = (await hasty.ask("text_to_picture", prompt="a hill"))["run_id"]
    await wait_for_state(hasty, seen, "succeeded")
    with anyio.fail_after(60):
        while (await get_run(hasty, unseen)).state.value != "succeeded":
            await anyio.lowlevel.checkpoint()
    facts = await hasty.ask("list_runs", limit="5")

    assert [(row["run_id"], row.get("undelivered", False)) for row in facts["runs"]] == [(seen, False), (unseen, True)]
    assert "1 finished run in all not delivered yet" in facts["summary"]


@pytest.mark.parametrize("mode", MODES)
async def test_the_first_list_is_whole_with_the_provider_down(tmp_path: Path, mode: Mode) -> None:
    """The first tool list is complete from the cache, because several clients only use the first list."""
    async with open_sandbox() as sandbox:
        async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
            before = [tool.name for tool in (await flowport.client.list_tools()).tools]
            with anyio.fail_after(60):
                while len(list((tmp_path / "person/home/catalogue").glob("*.json"))) == 0:
                    await anyio.lowlevel.checkpoint()
        await sandbox.stop()
        async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
            after = [tool.name for tool in (await flowport.client.list_tools()).tools]
            await flowport.assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
            found = await flowport.ask("find_apps")
    assert after == before
    assert "(connection refused)" in found["catalogues"][0]["could_not_be_refreshed_because"]


async def test_without_cache_and_provider_the_built_in_tools_are_listed(tmp_path: Path) -> None:
    """The list is returned without a provider, and `find_apps` reports the fault."""
    async with open_sandbox() as sandbox:
        await sandbox.stop()
        async with open_harness(sandbox, tmp_path / "person") as flowport:
            tools = (await flowport.client.list_tools()).tools
    assert len(tools) == 7


async def test_discovery_is_one_burst_of_two_lists_and_the_listed_definitions(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """Discovery leaves most of a minute's requests to runs; listed definitions are read first."""
    # Half of twelve a minute is for unlisted definitions, and the burst uses just that.
    async with open_harness(sandbox, tmp_path / "person", max_tools=4, requests_per_minute=12) as flowport:
        tools = (await flowport.client.list_tools()).tools
        asked = [await flowport.count(operation) for operation in ("list", "list_own", "get")]

    assert (len(tools), asked) == (7 + 4, [1, 1, 4])


async def sandbox_count(sandbox: SandboxClient, operation: str) -> int:
    """Return the number of requests for an operation."""
    return int((await sandbox.http.get("/_sandbox/counts")).json()[operation])


def iterate_leaves(value: Any) -> list[Any]:
    """Yield every scalar value inside a structure."""
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in iterate_leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in iterate_leaves(part)]
    return [value]


async def test_outputs_that_a_dead_process_left_are_saved_on_request(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A later request saves the outputs: the link works for hours, and the user wants the file next week."""
    async with open_harness(sandbox, tmp_path / "person", should_save_outputs=False) as flowport:
        before = await flowport.ask("text_to_picture", prompt="a lake")
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        after = await flowport.ask("get_run", run_id=before["run_id"])
        again = await flowport.ask("get_run", run_id=before["run_id"])

    assert "saved_path" not in before["outputs"][0]
    assert await anyio.Path(after["outputs"][0]["saved_path"]).is_file()
    assert again["outputs"] == after["outputs"]
    assert await sandbox_count(sandbox, "runs_accepted") == 1
