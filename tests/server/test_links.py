"""Answers for clients that do not support resource links."""

from collections.abc import AsyncIterator
from pathlib import Path

import mcp.types as t
import pytest

from tests.fakes.client import open_sandbox
from tests.interaction.batches.requests import TOOL, build_rows
from tests.support.harness import MODES, Harness, Mode, open_harness


@pytest.fixture(params=MODES)
async def flowport(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport with FLOWPORT_LINKS=text."""
    mode: Mode = request.param
    async with (
        open_sandbox() as sandbox,
        open_harness(sandbox, tmp_path / "person", mode=mode, should_send_links=False) as harness,
    ):
        yield harness


def get_types(result: t.CallToolResult) -> set[str]:
    """Return the types of an answer's parts."""
    return {block.type for block in result.content}


async def test_no_answer_has_a_link_and_each_url_is_in_text_and_facts(flowport: Harness) -> None:
    """A client that raises on a link would lose a paid result (anthropic SDK, `async_mcp_tool`)."""
    result = await flowport.call("text_to_picture", prompt="a lake")

    facts = result.structured_content
    assert isinstance(facts, dict)
    url = facts["outputs"][0]["url"]
    assert isinstance(result.content[0], t.TextContent)
    assert url.startswith("http")
    assert url in result.content[0].text
    # The preview is kept.
    assert get_types(result) == {"text", "image"}


async def test_every_tool_and_prompt_is_without_links(flowport: Harness) -> None:
    """Batches, lists and errors have none either."""
    run_id = (await flowport.ask("text_to_picture", prompt="a lake"))["run_id"]
    answers = [
        await flowport.call("run_batch", app=TOOL, rows=build_rows(2)),
        await flowport.call("run_app", app=TOOL, arguments={"prompt": "a hill"}),
        await flowport.call("run_app", app=TOOL, arguments={"prompt": "a hill"}, variations=2),
        await flowport.call("get_run", run_id=run_id),
        await flowport.call("list_runs"),
        await flowport.call("cancel_run", run_id=run_id),
        await flowport.call("find_apps"),
        await flowport.call("get_balance"),
        await flowport.call("always_fails", note="x"),
    ]
    prompts = (await flowport.client.list_prompts()).prompts
    needed = {"app": TOOL, "run_id": run_id}
    texts = [
        await flowport.client.get_prompt(
            one.name, {item.name: needed[item.name] for item in one.arguments or [] if item.required}
        )
        for one in prompts
    ]

    assert set().union(*map(get_types, answers)) <= {"text", "image"}
    assert {message.content.type for one in texts for message in one.messages} == {"text"}
