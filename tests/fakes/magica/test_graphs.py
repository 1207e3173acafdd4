"""Workflows as graphs, in each form in which one may come."""

from typing import Any

import pytest

from flowport.sandbox.apps import APPS, InputType
from tests.fakes.client import IDS
from tests.fakes.magica.client import MagicaClient
from tests.fakes.magica.dialect import FIRST, MagicaDialect
from tests.fakes.magica.graphs import build_graph, build_item
from tests.fakes.magica.workflows import PROCESSING, build_workflow, find_workflow

POSTER = next(app for app in APPS if app.name == "Retro Poster")
PALETTE = {
    "id": "palette",
    "name": "Palette",
    "type": "select",
    "value": "sunset",
    "options": [
        {"value": "sunset", "label": "Sunset"},
        {"value": "harbour", "label": "Harbour blue"},
        {"value": "forest", "label": "Forest"},
        {"value": "berry", "label": "Berry"},
    ],
}


def read_fields(node: dict[str, Any], *path: str) -> list[dict[str, Any]]:
    """Return what lies under these keys of a node."""
    found: Any = node
    for key in path:
        found = found[key]
    fields: list[dict[str, Any]] = found
    return fields


def test_every_app_is_a_workflow_with_its_own_inputs() -> None:
    """Each from request to response, its processing nodes named after what makes its files."""
    for app in APPS:
        graph = build_graph(build_workflow(app), FIRST)
        assert [node["type"] for node in graph["nodes"]] == ["request", *PROCESSING[app.recipe], "response"]
        fields = read_fields(graph["nodes"][0], "data", "fields")
        assert [field["id"] for field in fields] == [entry.key for entry in app.inputs]
        assert all(("options" in field) == (field["type"] == "select") for field in fields)


def test_options_come_with_labels_where_the_app_has_them() -> None:
    """Or as plain strings; how a request field writes them is not known."""
    poster = read_fields(build_graph(build_workflow(POSTER), FIRST)["nodes"][0], "data", "fields")
    assert poster[2] == PALETTE
    upscale = read_fields(build_graph(build_workflow(APPS[0]), FIRST)["nodes"][0], "data", "fields")
    assert upscale[1]["options"] == ["2", "4"]


@pytest.mark.parametrize(
    ("graph", "path"),
    [("data.fields", ("data", "fields")), ("data.requestFields", ("data", "requestFields")), ("fields", ("fields",))],
)
async def test_fields_lie_where_the_switch_says(magica: MagicaClient, graph: str, path: tuple[str, ...]) -> None:
    """No graph is published, so a client must look in all three places."""
    await magica.switch(graph=graph)
    found = read_fields((await magica.find("Retro Poster"))["nodes"][0], *path)
    assert found[2] == PALETTE


async def test_a_graph_may_report_no_fields(magica: MagicaClient) -> None:
    """Then it reports the request node's id alone."""
    await magica.switch(graph="none")
    node = (await magica.find("Retro Poster"))["nodes"][0]
    assert (node["type"], node["data"]) == ("request", {})


async def test_a_graph_may_not_be_served_at_all(magica: MagicaClient) -> None:
    """The path itself is inferred; the lists and the runs go on."""
    await magica.switch(graph="missing")
    assert (await magica.ask("GET", "/v1/system-workflows/retro-poster")).status_code == 404
    assert len((await magica.get("/v1/system-workflows"))["items"]) > 0


@pytest.mark.parametrize(
    ("switch", "field"),
    [
        ({"field_key": "fieldId"}, {"fieldId": "mood", "name": "Mood", "type": "text", "value": None}),
        ({"field_key": "name"}, {"name": "Mood", "type": "text", "value": None}),
        ({"default_key": "default"}, {"id": "mood", "name": "Mood", "type": "text", "default": None}),
        (
            {"has_details": True},
            {"id": "mood", "name": "Mood", "type": "text", "value": None, "required": True, "max": 10_000},
        ),
    ],
)
async def test_a_field_is_written_as_the_switch_says(
    magica: MagicaClient, switch: dict[str, Any], field: dict[str, Any]
) -> None:
    """Names and places of ids and defaults differ between those who have seen them."""
    await magica.switch(**switch)
    assert read_fields((await magica.find("Clip and Jingle"))["nodes"][0], "data", "fields") == [field]


async def test_a_run_names_fields_as_the_graph_does(magica: MagicaClient) -> None:
    """Where a field has only a name, its values are keyed by the name."""
    await magica.switch(field_key="name")
    assert (await magica.run("Clip and Jingle", Mood="merry")).status_code == 202
    assert (await magica.run("Clip and Jingle", mood="merry")).status_code == 400


async def test_nodes_may_have_a_node_type(magica: MagicaClient) -> None:
    """As the nodes of a run have in the shape that live consumers read."""
    await magica.switch(type_key="nodeType")
    nodes = (await magica.find("Clip and Jingle"))["nodes"]
    assert [node["nodeType"] for node in nodes] == ["request", "image_to_video", "music", "response"]


def test_details_report_the_bounds_of_numbers() -> None:
    """In the words of the models' fields."""
    graph = build_graph(build_workflow(APPS[0]), MagicaDialect(has_details=True))
    field = read_fields(graph["nodes"][0], "data", "fields")[2]
    assert (field["required"], field["min"], field["max"]) == (False, 0, 5)


async def test_every_type_of_the_documentation_can_be_asked_for(magica: MagicaClient) -> None:
    """Behind the app's own fields, each with something saved or empty."""
    await magica.switch(has_all_types=True, has_details=True)
    fields = read_fields((await magica.find("Clip and Jingle"))["nodes"][0], "data", "fields")
    assert {field["type"] for field in fields} == {
        "text",
        "number",
        "boolean",
        "select",
        "image",
        "video",
        "audio",
        "avmedia",
        "media",
        "file",
        "any",
    }
    assert [field["required"] for field in fields] == [True] + [False] * 12
    run = await magica.finish(
        "Clip and Jingle",
        mood="merry",
        extra_boolean=True,
        extra_select="wild",
        extra_number=2.5,
        extra_any={"a": [1]},
        extra_images=[],
        extra_image=None,
    )
    assert run["status"] == "COMPLETED"


async def test_a_renamed_workflow_keeps_its_slug(magica: MagicaClient) -> None:
    """A slug is an id: what it stands for does not change with the name."""
    await magica.post("/_sandbox/catalogue", {"rename": {IDS["Retro Poster"]: "Old Poster"}})
    assert (await magica.get("/v1/system-workflows/retro-poster"))["name"] == "Old Poster"


def test_an_id_stands_for_one_workflow() -> None:
    """Ids look like those that were seen, and only the account's own workflows have one."""
    own = [build_workflow(app) for app in APPS if app.is_own]
    assert all(len(workflow.id) == 25 and workflow.id.startswith("cm") for workflow in own)
    assert [find_workflow(APPS, workflow.id) for workflow in own] == own
    assert find_workflow(APPS, "") is None
    assert [build_item(workflow)["id"] for workflow in own] == [workflow.id for workflow in own]


def test_a_list_of_texts_has_no_type_of_its_own() -> None:
    """The documentation names none that fits."""
    app = next(app for app in APPS if any(entry.type is InputType.LIST for entry in app.inputs))
    assert [field.type for field in build_workflow(app).fields] == ["text", "any"]
