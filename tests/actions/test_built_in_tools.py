"""The tools that are always listed."""

import json

import jsonschema
import pytest

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.actions.run_app import RUN_APP
from flowport.actions.run_batch import RUN_BATCH
from flowport.actions.tool import BuiltInTool
from flowport.catalog.arguments import parse_arguments
from flowport.catalog.names import RESERVED_NAMES
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind, JsonValue
from flowport.server.results import build_wire_tool

TOOLS = pytest.mark.parametrize("tool", BUILT_IN_TOOLS.values(), ids=BUILT_IN_TOOLS)


def test_no_app_can_take_the_name_of_a_built_in_tool() -> None:
    """An app called "Get run" must not hide the tool that fetches results."""
    assert set(BUILT_IN_TOOLS) <= RESERVED_NAMES


@TOOLS
def test_each_schema_is_valid_and_plain(tool: BuiltInTool) -> None:
    """One bad schema costs several clients the whole list."""
    schema = build_wire_tool(tool)["inputSchema"]

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert {"anyOf", "oneOf", "allOf", "$ref"}.isdisjoint(json.dumps(schema))


@TOOLS
def test_what_the_schema_requires_is_refused_when_missing(tool: BuiltInTool) -> None:
    """Schema and parser must agree."""
    required = build_wire_tool(tool)["inputSchema"].get("required", [])

    if required:
        with pytest.raises(ArgumentsInvalid) as caught:
            parse_arguments(tool.app, tool.argument_names, {})
        assert [problem.argument for problem in caught.value.problems] == required
    else:
        assert parse_arguments(tool.app, tool.argument_names, {}) == {}


@TOOLS
def test_only_read_only_tools_are_marked_so(tool: BuiltInTool) -> None:
    """Clients ask the user before a tool that is not read-only, and should ask only there."""
    annotations = build_wire_tool(tool)["annotations"]

    assert bool(annotations.get("readOnlyHint")) == (tool.name not in {"run_app", "run_batch", "cancel_run"})


@TOOLS
def test_no_schema_has_constructs_that_clients_refuse(tool: BuiltInTool) -> None:
    """Converters refuse closed objects, objects without properties, enums without text, and arrays without items."""
    schema = build_wire_tool(tool)["inputSchema"]

    assert schema["properties"]
    assert "additionalProperties" not in json.dumps(schema)
    for inner in schema["properties"].values():
        value = inner.get("items", inner)
        assert value["type"] in {"string", "integer", "boolean"}
        assert all(isinstance(one, str) and one for one in value.get("enum", ["x"]))
        assert ("items" in inner) == (inner["type"] == "array")


@pytest.mark.parametrize("given", [{"motif": "cup"}, '{"motif": "cup"}', ' {"motif": "cup"}\n'])
def test_free_form_arguments_are_accepted_as_object_and_as_text(given: JsonValue) -> None:
    """The schema says text; some clients send the object itself."""
    run = parse_arguments(RUN_APP.app, RUN_APP.argument_names, {"app": "x", "arguments": given})
    rows: list[JsonValue] = [[given, given], given]
    found = [
        parse_arguments(RUN_BATCH.app, RUN_BATCH.argument_names, {"app": "x", "rows": one})["rows"] for one in rows
    ]

    assert run["arguments"] == {"motif": "cup"}
    assert found == [[{"motif": "cup"}] * 2, [{"motif": "cup"}]]


def test_every_argument_has_a_description() -> None:
    """These tools have no labels but ours."""
    inputs = [item for tool in BUILT_IN_TOOLS.values() for item in tool.inputs]

    assert all(item.label for item in inputs)
    assert not any(item.kind.is_media or item.kind is InputKind.MEDIA for item in inputs)
