"""The tools that are always there."""

import json

import jsonschema
import pytest

from flowport.arguments import parse_arguments
from flowport.errors import ArgumentsInvalid
from flowport.model import InputKind
from flowport.naming import RESERVED_NAMES
from flowport.standing_tools import STANDING_TOOLS, StandingTool, build_wire_tool

TOOLS = pytest.mark.parametrize("tool", STANDING_TOOLS.values(), ids=STANDING_TOOLS)


def test_no_app_can_take_the_name_of_a_standing_tool() -> None:
    """A flow called "Get run" must not hide the tool that fetches results."""
    assert set(STANDING_TOOLS) <= RESERVED_NAMES


@TOOLS
def test_each_schema_is_valid_and_plain(tool: StandingTool) -> None:
    """One bad schema costs several clients the whole list."""
    schema = build_wire_tool(tool)["inputSchema"]

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert {"anyOf", "oneOf", "allOf", "$ref"}.isdisjoint(json.dumps(schema))


@TOOLS
def test_what_the_schema_requires_is_refused_when_missing(tool: StandingTool) -> None:
    """Schema and parser must not drift apart."""
    required = build_wire_tool(tool)["inputSchema"].get("required", [])

    if required:
        with pytest.raises(ArgumentsInvalid) as caught:
            parse_arguments(tool.app, tool.argument_names, {})
        assert [problem.argument for problem in caught.value.problems] == required
    else:
        assert parse_arguments(tool.app, tool.argument_names, {}) == {}


@TOOLS
def test_only_tools_that_change_nothing_say_so(tool: StandingTool) -> None:
    """Clients ask the person before a tool that is not read-only, and only there should they."""
    annotations = build_wire_tool(tool)["annotations"]

    assert bool(annotations.get("readOnlyHint")) == (tool.name not in {"run_app", "run_batch", "cancel_run"})


def test_every_argument_says_what_it_is() -> None:
    """These tools have no labels but ours."""
    inputs = [item for tool in STANDING_TOOLS.values() for item in tool.inputs]

    assert all(item.label for item in inputs)
    assert not any(item.kind.is_media or item.kind is InputKind.MEDIA for item in inputs)
