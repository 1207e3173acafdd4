"""The fields of a request node in every shape in which they may come, and the inputs that they make."""

from typing import Any

import pytest

from flowport.domain.errors import AppUnsupported
from flowport.domain.models import MAX_INPUTS, Input, InputKind, Option
from flowport.providers.magica.inputs import (
    RequestField,
    build_inputs,
    find_graph_fields,
    find_nodes,
    find_tool_fields,
    get_node_type,
    split_input_id,
)
from flowport.providers.options import MAX_DEFAULT_LENGTH
from tests.providers import magica_examples as examples


def read(**definition: Any) -> Input:
    """Return the one input that a field makes."""
    (item,) = build_inputs("wf", [RequestField("n", "f", definition)])
    return item


@pytest.mark.parametrize("type_key", ["type", "nodeType"])
@pytest.mark.parametrize("id_key", ["id", "fieldId", "name"])
@pytest.mark.parametrize("place", ["data.fields", "data.requestFields", "fields", "requestFields"])
@pytest.mark.parametrize("wrapper", ["", "workflow", "data", "graph"])
def test_a_graph_is_read_in_every_variant(type_key: str, id_key: str, place: str, wrapper: str) -> None:
    """No page publishes it; these are the names that were inferred."""
    fields: Any = {place.rpartition(".")[2]: [{id_key: "prompt", "type": "text"}]}
    node = {"id": "n1", type_key: "Request", **({"data": fields} if "data." in place else fields)}
    body: Any = {"nodes": [node, {"id": "n2", type_key: "flux"}]}
    found = find_graph_fields({wrapper: body} if wrapper else body)
    assert found is not None
    assert [(one.node_id, one.field_id) for one in found] == [("n1", "prompt")]


def test_fields_may_stand_under_their_ids() -> None:
    """A mapping says as much as a list."""
    node = {"id": "n", "type": "request", "data": {"fields": {"a": {"type": "image"}, "b": 5}}}
    found = find_graph_fields({"nodes": [node]})
    assert found == (RequestField("n", "a", {"type": "image"}), RequestField("n", "b", {"value": 5}))


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"nodes": {}},
        {"nodes": []},
        {"nodes": [None, "x"]},
        {"nodes": [{"id": "n", "type": "flux", "data": {"fields": []}}]},
        {"nodes": [{"id": "n", "type": "request"}]},
        {"nodes": [{"id": "n", "type": "request", "data": {"fields": "text"}}]},
        {"nodes": [{"type": "request", "data": {"fields": []}}]},
        {"nodes": [{"id": True, "type": "request", "data": {"fields": []}}]},
    ],
)
def test_a_graph_that_does_not_report_is_reported_from_one_without_fields(body: Any) -> None:
    """The first leads on to the next source."""
    assert find_graph_fields(body) is None


def test_the_more_reporting_word_for_a_node_counts() -> None:
    """Drawing libraries have a `type` of their own."""
    assert get_node_type({"type": "custom", "data": {"nodeType": "request"}}) == "request"
    assert get_node_type({"type": "custom", "data": {"nodeType": "flux_2_pro"}}) == "flux_2_pro"
    assert (get_node_type({"type": 5}), find_nodes({"nodes": [5]})) == ("", [])


@pytest.mark.parametrize(
    "body",
    [
        {"fields": {"n": {"f": {"type": "text"}}}},
        {"values": {"n": {"f": {"type": "text"}}}},
        {"fields": [{"nodeId": "n", "fieldId": "f", "type": "text"}]},
        {"nodeId": "n", "fields": [{"name": "f", "type": "text"}]},
        {"nodes": [{"id": "n", "fields": [{"id": "f", "type": "text"}]}]},
        {"result": {"requestFields": [{"node_id": "n", "id": "f", "type": "text"}]}},
    ],
)
def test_the_tool_s_fields_are_read_in_every_shape(body: Any) -> None:
    """The page promises names, types and defaults, and shows no answer."""
    found = find_tool_fields(body)
    assert found is not None
    assert [(one.node_id, one.field_id, one.definition["type"]) for one in found] == [("n", "f", "text")]


@pytest.mark.parametrize("body", [None, [], {}, {"fields": []}, {"fields": [{"name": "f"}]}, {"values": {"n": "x"}}])
def test_fields_without_their_node_are_of_no_use(body: Any) -> None:
    """A run names both."""
    assert find_tool_fields(body) is None


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        *((kind.value, kind) for kind in InputKind),
        ("file", InputKind.MEDIA),
        ("textarea", InputKind.TEXT),
        ("slider", InputKind.NUMBER),
        ("composite-select", InputKind.SELECT),
        ("IMAGE", InputKind.IMAGE),
        ("unheard-of", InputKind.ANY),
        (5, InputKind.ANY),
        (None, InputKind.ANY),
    ],
)
def test_every_port_type_has_its_kind(type_name: Any, kind: InputKind) -> None:
    """The ten of "Core concepts", and those of the model catalogue."""
    assert (read(type=type_name).kind, read(type=type_name).is_list) == (kind, False)


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "image[]"},
        {"type": "images"},
        {"type": "image", "multiple": True},
        {"type": "image", "isList": True},
        {"type": "image", "dataType": "string[]"},
        {"type": "image", "default": ["https://x/y.png"]},
        {"type": "image", "value": []},
    ],
)
def test_several_files_go_into_one_field(definition: Any) -> None:
    """However it is said."""
    assert (read(**definition).kind, read(**definition).is_list) == (InputKind.IMAGE, True)


def test_the_fields_of_the_model_catalogue_become_inputs() -> None:
    """Lengths, labelled options, an option with fields of its own, bounds: as the readers of the live dump have them."""
    fields = [
        RequestField("n", one["zodExpectedName"], one)
        for one in examples.MODEL_CATALOG["models"]["gpt-image-2"]["subModels"][0]["inputFieldOptions"]
    ]
    prompt, size, width, n, compression = build_inputs("wf", fields)
    assert (prompt.kind, prompt.max_length, prompt.is_required, prompt.default) == (InputKind.TEXT, 4000, True, None)
    assert size.options[1] == Option("1024x1024", "…")
    assert (width.id, width.kind, width.is_required, width.label) == (
        "n/width",
        InputKind.NUMBER,
        False,
        "width, for size Custom",
    )
    assert (n.kind, n.options) == (InputKind.SELECT, (Option(1, "1"), Option(2, "2")))
    assert (compression.kind, compression.minimum, compression.maximum) == (InputKind.NUMBER, 0, 100)


@pytest.mark.parametrize("custom", [None, 5, {}, {"id": "x" * 201}])
def test_a_custom_field_that_cannot_be_read_leaves_the_app_out(custom: Any) -> None:
    """A choice that needs it would fail, and be charged."""
    with pytest.raises(AppUnsupported):
        build_inputs("wf", [RequestField("n", "f", {"type": "select", "customFields": [custom]})])


def test_an_open_choice_a_bound_of_items_and_options_in_config_are_read() -> None:
    """No one has published them for workflows."""
    item = read(type="text", config={"choices": ["a", "b"]}, allowCustom=True, multiple=True, maxImages=3)
    assert (item.kind, item.is_open, item.is_list, item.max_items) == (InputKind.SELECT, True, True, 3)


@pytest.mark.parametrize(
    ("definition", "is_required"),
    [
        ({"type": "text"}, True),
        ({"type": "text", "value": ""}, True),
        ({"type": "text", "value": "x"}, False),
        ({"type": "text", "required": False}, False),
        ({"type": "text", "required": True, "default": ""}, True),
        ({"type": "boolean"}, False),
        ({"type": "image", "required": "yes"}, True),
    ],
)
def test_what_has_no_saved_value_is_required(definition: Any, is_required: bool) -> None:
    """A run with an empty prompt costs as much as one with a full one; `required` has the last word."""
    assert read(**definition).is_required is is_required


@pytest.mark.parametrize(
    ("definition", "default"),
    [
        ({"type": "image", "value": {"url": "https://x/y.png"}}, "https://x/y.png"),
        ({"type": "image", "value": {}}, None),
        ({"type": "text", "value": "x" * (MAX_DEFAULT_LENGTH + 1)}, None),
        ({"type": "number", "default": 0}, 0),
        ({"type": "boolean", "value": False}, False),
    ],
)
def test_the_saved_value_is_the_default(definition: Any, default: Any) -> None:
    """One that is too long is left to Magica."""
    assert read(**definition).default == default


def test_fields_of_one_name_have_keys_of_their_own_and_reach_their_own_node() -> None:
    """Every first field is called `text_field`."""
    fields = [RequestField(node, "text_field", {"type": "text"}) for node in ("a/b", "c")]
    one, two = build_inputs("wf", fields)
    assert [one.run_key, two.run_key] == ["text_field", "text_field 2"]
    assert [split_input_id(item.id) for item in (one, two)] == [("a/b", "text_field"), ("c", "text_field")]


@pytest.mark.parametrize(("node", "field"), [("", "f"), ("n", ""), ("n" * 201, "f"), ("n", "f" * 201)])
def test_a_field_that_no_run_could_name_leaves_the_app_out(node: str, field: str) -> None:
    """Leaving the field out would start something else."""
    with pytest.raises(AppUnsupported):
        build_inputs("wf", [RequestField(node, field, {})])


def test_too_many_inputs_leave_the_app_out() -> None:
    """They would crowd out the other tools."""
    with pytest.raises(AppUnsupported):
        build_inputs("wf", [RequestField("n", str(n), {}) for n in range(MAX_INPUTS + 1)])


def test_what_the_builder_says_of_a_field_is_read() -> None:
    """In the field itself or in its configuration."""
    found = read(type="text", description="The scene", config={"placeholder": "A village"})
    assert (found.description, found.placeholder) == ("The scene", "A village")
    found = read(type="text", helpText="The scene", placeholder=5)
    assert (found.description, found.placeholder) == ("The scene", "")
