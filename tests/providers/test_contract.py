"""The comparison of answers with what is documented: names and types, never values."""

from typing import Any

import pytest

from flowport.providers.contract import Shape, describe_shape, find_differences
from flowport.providers.registry import get_plugin

INPUT = {"id": "input-1", "api_key": "image", "key": "image", "type": "creation", "label": "Image", "required": True}
FLOW: dict[str, Any] = {"sqid": "uqzQLDr2Aw", "name": "Sketch", "inputs": [INPUT]}


def load(provider: str) -> Any:
    """Return what a provider documents."""
    load_documented = get_plugin(provider).load_documented
    assert load_documented is not None
    return load_documented()


def compare(value: Any, shape: Shape) -> list[tuple[str, str, str]]:
    """Return the differences as plain tuples."""
    return [(one.path, one.kind, one.seen) for one in find_differences(value, shape)]


def test_the_documented_example_has_no_difference() -> None:
    """The answer of `get-flow` as its page shows it."""
    metadata = {"icon": "workflow", "description_key": None, "category": "general", "sort_order": 9, "total_cost": 5}
    details = {"config": {"mediaType": "image"}, "nodeId": "a1", "default": None, "presentation": None}

    assert (
        compare(
            {"data": {**FLOW, "inputs": [{**INPUT, **details}], "tool_metadata": metadata}}, load("magnific").definition
        )
        == []
    )


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"type": "list"}, ("data.inputs[].type", "unknown value", "list")),
        ({"type": "a prompt of a person"}, ("data.inputs[].type", "unknown value", "text")),
        ({"type": 4}, ("data.inputs[].type", "another type", "number")),
        ({"required": "yes"}, ("data.inputs[].required", "another type", "text")),
        ({"label": None}, ("data.inputs[].label", "another type", "null")),
        ({"config": {"options": ["a secret"]}}, ("data.inputs[].config.options", "not documented", "list of text")),
        ({"config": []}, ("data.inputs[].config", "another type", "list of nothing")),
        ({"a secret name": 1}, ("data.inputs[].[name]", "not documented", "number")),
        ({"cmonfiheh0000kz04": 1}, ("data.inputs[].[name]", "not documented", "number")),
        ({"bounds": {"min": 1, "max": None}}, ("data.inputs[].bounds", "not documented", "{max: null, min: number}")),
    ],
)
def test_each_kind_of_difference_is_found(change: dict[str, Any], difference: tuple[str, str, str]) -> None:
    """With its place, and without what stands there."""
    assert compare({"data": {**FLOW, "inputs": [{**INPUT, **change}]}}, load("magnific").definition) == [difference]


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        ([], ("", "another type", "list of nothing")),
        ({}, ("data", "missing", "")),
        ({"data": {}}, ("data", "another type", "{}")),
        ({"data": ["a secret"]}, ("data[]", "another type", "text")),
    ],
)
def test_a_list_of_another_form_is_one_difference(answer: Any, difference: tuple[str, str, str]) -> None:
    """The rest cannot be compared."""
    assert compare(answer, load("magnific").own_list) == [difference]


def test_the_settings_of_a_model_are_not_compared() -> None:
    """Only the fields of a request node become inputs."""
    node = {"id": "n", "type": "flux_2_pro", "data": {"a prompt": "of a person"}}
    request = {
        "id": "r",
        "type": "request",
        "data": {"fields": [{"id": "f", "name": "Prompt", "type": "select", "value": "x"}]},
    }
    graph = {"id": "wf", "name": "Shot", "nodes": [node, request], "edges": [{"anything": 1}]}

    assert compare(graph, load("magica").definition) == [("nodes[].data.fields[].type", "unknown value", "select")]


def test_a_shape_is_bounded() -> None:
    """An answer may be nested deeply, and have thousands of members."""
    nested: Any = "x"
    for _ in range(200):
        nested = {"a": [nested]}
    wide = {f"m{chr(97 + n % 26)}{chr(97 + n // 26)}": n for n in range(600)}

    assert describe_shape(nested) == "{a: list of {a: list}}"
    assert describe_shape(wide).count(":") == 30
