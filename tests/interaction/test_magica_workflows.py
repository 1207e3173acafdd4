"""A workflow's inputs from its graph, the MCP server or a declaration, and how often they are requested."""

from pathlib import Path
from typing import Any

import pytest

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.providers.magica.declared import DeclaredInput, DeclaredWorkflow
from flowport.providers.registry import ProviderSettings
from tests.fakes.client import build_photo, write
from tests.fakes.magica.client import MAGICA_KEY, MagicaClient
from tests.support.harness import open_harness
from tests.support.magica_face import MAGICA, PROMPT


@pytest.mark.parametrize(
    "form", [{"has_dry_run": False}, {"has_mcp": False}, {"missing_tools": ["start_run"]}], ids=str
)
async def test_a_workflow_without_known_inputs_is_left_out_with_three_ways(
    face: MagicaClient, tmp_path: Path, form: dict[str, Any]
) -> None:
    """The message names the three ways to declare inputs, and nothing was started to find them out."""
    await face.switch(graph="missing", **form)
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        assert len((await flowport.client.list_tools()).tools) == len(BUILT_IN_TOOLS)
        left_out = (await flowport.ask("find_apps"))["catalogues"][0]["left_out"]
        refused = await flowport.call("run_app", app="text_to_picture", arguments=PROMPT)
    assert "text_to_picture, because its inputs are unknown" in left_out[0]
    assert "[[magica_workflows]]" in left_out[0]
    assert (refused.is_error, (await face.count())["run"]) == (True, 0)


async def test_a_declared_workflow_can_be_run(face: MagicaClient, tmp_path: Path) -> None:
    """A workflow runs with inputs that the user declares: the last of the three ways."""
    graph = await face.find("Text to Picture")
    await face.switch(graph="missing", has_mcp=False)
    node = graph["nodes"][0]["id"]
    inputs = (DeclaredInput(node, "prompt", {"type": "text", "label": "What to paint", "required": True}),)
    url = f"{face.sandbox.addresses.api_url}/magica"
    settings = ProviderSettings(
        "magica",
        url,
        MAGICA_KEY,
        {
            "file_origins": frozenset({face.sandbox.addresses.files_url}),
            "workflows": (DeclaredWorkflow(graph["id"], inputs),),
        },
    )
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        assert len((await flowport.client.list_tools()).tools) == len(BUILT_IN_TOOLS)
    async with open_harness(face.sandbox, tmp_path / "another", providers=(settings,)) as flowport:
        facts = await flowport.ask("text_to_picture", what_to_paint="a harbour")
    # Without a graph there is no price.
    assert (facts["state"], facts.get("price_credits")) == ("succeeded", None)


async def test_a_changed_declaration_applies_from_the_next_start(face: MagicaClient, tmp_path: Path) -> None:
    """A corrected declaration applies at the next start, not a day later."""
    graph = await face.find("Text to Picture")
    await face.switch(graph="missing", has_mcp=False)
    url, arguments = f"{face.sandbox.addresses.api_url}/magica", list[str]()
    for label in ("What to paint", "Scene"):
        field = DeclaredInput(graph["nodes"][0]["id"], label.lower(), {"type": "text", "label": label})
        settings = ProviderSettings(
            "magica",
            url,
            MAGICA_KEY,
            {
                "file_origins": frozenset({face.sandbox.addresses.files_url}),
                "workflows": (DeclaredWorkflow(graph["id"], (field,)),),
            },
        )
        async with open_harness(face.sandbox, tmp_path / "person", providers=(settings,)) as flowport:
            await flowport.client.list_tools()
            await flowport.assembly.workspace.catalogs[0].catalog.refresh()
            tools = flowport.assembly.workspace.get_tools()
            arguments += [name for tool in tools for name in tool["inputSchema"]["properties"]]
    assert arguments == ["what_to_paint", "scene"]


async def test_left_out_workflows_are_not_requested_at_every_refresh(face: MagicaClient, tmp_path: Path) -> None:
    """A key has a thousand requests a day; only a new process asks once more."""
    await face.switch(graph="missing", has_mcp=False)
    asked = []
    for _ in range(2):
        async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
            await flowport.client.list_tools()
            catalog = flowport.assembly.workspace.catalogs[0].catalog
            await catalog.wait_until_attempted(10)
            await catalog.refresh()
            await catalog.refresh()
            asked.append((await face.count())["get"])
            assert len((await flowport.ask("find_apps"))["catalogues"][0]["left_out"]) == 10
    assert asked == [10, 20]


async def test_discovered_inputs_are_cached(face: MagicaClient, tmp_path: Path) -> None:
    """A start on the next day needs no further request."""
    await face.switch(graph="missing")
    for _ in range(2):
        async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
            await flowport.client.list_tools()
            await flowport.assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
    counts = await face.count()
    assert counts["get"] == 10


async def test_every_type_of_field_is_an_argument_and_reaches_its_run(face: MagicaClient, tmp_path: Path) -> None:
    """The ten port types, a list of media and options with labels are arguments and reach the run."""
    await face.switch(has_all_types=True, has_details=True)
    photo = tmp_path / "person" / "cup.png"
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        tools = {tool.name: tool for tool in (await flowport.client.list_tools()).tools}
        photo.write_bytes(write(build_photo()))
        facts = await flowport.ask(
            "text_to_picture",
            **PROMPT,
            caption="c",
            amount=3,
            draft_only="true",
            mood="Wild & loud",
            second_picture=str(photo),
            more_pictures=[str(photo), str(photo)],
            whatever={"a": 1},
        )
    properties = tools["text_to_picture"].input_schema["properties"]
    assert properties["mood"]["enum"] == ["calm", "wild"]
    assert properties["more_pictures"]["type"] == "array"
    assert properties["film_or_sound"]["description"].startswith("Video or audio path")
    assert facts["state"] == "succeeded", facts["failure"]
