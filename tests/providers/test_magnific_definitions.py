"""Definitions of flows: the published example word for word, and every shape in which an input may come."""

from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.errors import AppUnsupported, ProviderBroken
from flowport.domain.models import App, Input, InputKind, Option
from flowport.providers.options import MAX_OPTIONS, MAX_TEXT_LENGTH
from tests.providers import magnific_examples as examples
from tests.providers.magnific_samples import MAGNIFIC, NOW, SKETCH, answer


def describe(*inputs: object, **flow: Any) -> App:
    """Return the app of a `get-flow` answer with these inputs."""
    data = {"sqid": SKETCH.id, "name": "Sketch to Realism", "inputs": list(inputs), **flow}
    return MAGNIFIC.parse_app(answer({"data": data}), SKETCH, read_at=NOW)


def read_input(**fields: Any) -> Input:
    """Return one input; what is not named is as plain as can be."""
    found = describe({"id": "input-1", "api_key": "a", "type": "text", "label": "", "required": False, **fields}).inputs
    assert found is not None
    return found[0]


def test_a_definition_is_read_as_the_example_shows_it() -> None:
    """get-flow: `api_key` is the key to use in `inputs`."""
    image, text = "input-a1b2c3d4-e5f6-7890-abcd-ef1234567890-1", "input-4050c3f3-8a26-4953-97a8-cb97bceb4816-1"
    inputs = (
        Input(image, "image", InputKind.IMAGE, "Image", is_required=True, name="image"),
        Input(text, "text_prompt", InputKind.TEXT, "Text #1", is_required=True, name="text_prompt"),
    )
    read = MAGNIFIC.parse_app(answer(examples.FLOW), SKETCH, read_at=NOW)
    assert read == replace(SKETCH, inputs=inputs, read_at=NOW)


@pytest.mark.parametrize("is_own", [True, False])
def test_the_list_says_whose_app_it_is(*, is_own: bool) -> None:
    """get-flow does not."""
    app = replace(SKETCH, is_own=is_own)
    assert MAGNIFIC.parse_app(answer(examples.FLOW), app, read_at=NOW).is_own is is_own


def test_what_the_definition_leaves_out_the_list_has_said() -> None:
    """`tool_metadata` is optional in both."""
    read = describe(name="")
    assert (read.name, read.price_credits) == ("Sketch to Realism", 5.0)
    assert describe(tool_metadata={"total_cost": 0}).price_credits == 0.0


@pytest.mark.parametrize(
    ("keys", "run_key", "name"),
    [
        ({"api_key": "image", "key": "old"}, "image", "old"),
        ({"api_key": None, "key": "old"}, "input-1", "old"),
        ({"key": "old"}, "input-1", "old"),
        ({"api_key": "", "key": ""}, "input-1", ""),
        ({"api_key": 7, "key": 7}, "input-1", ""),
        ({}, "input-1", ""),
    ],
)
def test_a_run_uses_a_key_that_is_documented(keys: dict[str, object], run_key: str, name: str) -> None:
    """Those are `api_key` and, still accepted, `id`; `key` is a name and no more, and the live service drops it."""
    app = describe({"id": "input-1", "type": "text", "required": True, **keys})
    assert app.inputs == (Input("input-1", run_key, InputKind.TEXT, "", is_required=True, name=name),)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "creation", "config": {"mediaType": "image"}}, InputKind.IMAGE),
        ({"type": "creation", "config": {"mediaType": "video"}}, InputKind.VIDEO),
        ({"type": "creation", "config": {"mediaType": "audio"}}, InputKind.AUDIO),
        ({"type": "creation", "config": {"mediaType": "3d"}}, InputKind.MEDIA),
        ({"type": "creation", "config": {"mediaType": ["image"]}}, InputKind.MEDIA),
        ({"type": "creation", "config": None}, InputKind.MEDIA),
        ({"type": "creation", "config": []}, InputKind.MEDIA),
        ({"type": "text", "config": {"mediaType": "image"}}, InputKind.TEXT),
        ({"type": "number"}, InputKind.NUMBER),
        ({"type": "select"}, InputKind.SELECT),
        ({"type": "boolean"}, InputKind.BOOLEAN),
        ({"type": "list"}, InputKind.ANY),
        ({"type": "hologram"}, InputKind.ANY),
        ({"type": None}, InputKind.ANY),
        ({"type": 7}, InputKind.ANY),
    ],
)
def test_an_input_is_of_the_kind_that_its_type_says(fields: dict[str, Any], kind: InputKind) -> None:
    """`config` decides for creations only; an unknown type takes anything."""
    found = read_input(**fields)
    assert (found.kind, found.is_list) == (kind, fields["type"] == "list")


OPTIONS_AB = (Option("a", "a"), Option("b", "b"))
OPTIONS_LABELLED = (Option("a", "First"), Option("b", "b"))


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"options": ["a", "b"]}, OPTIONS_AB),
        ({"options": [{"value": "a", "label": "First"}, {"value": "b", "label": ""}]}, OPTIONS_LABELLED),
        ({"options": [{"id": "a", "name": "First"}, {"id": "b"}]}, OPTIONS_LABELLED),
        ({"options": [{"label": "a"}, {"label": "b"}]}, OPTIONS_AB),
        ({"choices": ["a", "b"]}, OPTIONS_AB),
        ({"options": None, "choices": ["a", "b"]}, OPTIONS_AB),
        ({"options": [], "choices": ["a", "b"]}, OPTIONS_AB),
        ({"options": ["a", {"value": "b"}]}, OPTIONS_AB),
        ({"options": ["a", "b", "a", None, [], {}, {"value": {}}]}, OPTIONS_AB),
        (
            {"options": [1, 2.5, {"value": True, "label": 3}, 1.0]},
            (Option(1, "1"), Option(2.5, "2.5"), Option(value=True, label="True")),
        ),
        ({"options": {"a": "First"}}, ()),
        ({"options": "a,b"}, ()),
        ({}, ()),
        (None, ()),
        ("x", ()),
    ],
)
def test_the_choices_of_a_select_are_read_in_every_shape(config: object, options: tuple[Option, ...]) -> None:
    """The shape of `config.options` is not published; where none is found, any text goes."""
    assert read_input(type="select", config=config).options == options


def test_only_a_select_has_choices() -> None:
    """A text input with options would be refused for what a person types."""
    assert read_input(type="text", config={"options": ["a"]}).options == ()


@pytest.mark.parametrize("default", [None, "", "a", 5, False, ["a"], {"a": 1}])
def test_a_default_is_passed_on_as_it_is(default: object) -> None:
    """What fits is for the schema to say."""
    assert read_input(default=default).default == default


@pytest.mark.parametrize("item", [None, "x", {}, {"id": 5}, {"id": None, "api_key": "a"}])
def test_an_input_that_cannot_be_read_makes_its_app_unsupported(item: object) -> None:
    """A tool that lacks an input would fail at every call."""
    with pytest.raises(AppUnsupported) as caught:
        describe({"id": "input-1", "required": True}, item)
    assert vars(caught.value) == {"app_id": SKETCH.id, "reason": "one of its inputs cannot be read"}


@pytest.mark.parametrize("required", [None, "perhaps", 1, []])
def test_an_odd_word_on_being_required_requires_nothing(required: object) -> None:
    """One odd word must not cost the whole app."""
    assert not read_input(required=required).is_required


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"options": list(range(60_000))}, "one of its inputs has 60000 options and 2000 are the most"),
        ({"options": ["x" * (MAX_TEXT_LENGTH + 1)]}, "one of its options is too long"),
    ],
)
def test_options_beyond_all_measure_make_their_app_unsupported(fields: dict[str, object], reason: str) -> None:
    """One app with endless options held everything up for half a minute."""
    with pytest.raises(AppUnsupported) as caught:
        read_input(type="select", config=fields)
    assert caught.value.reason == reason


def test_as_many_options_as_may_be_are_all_read() -> None:
    """The bound must not cost an honest list its end."""
    assert len(read_input(type="select", config={"options": list(range(MAX_OPTIONS))}).options) == MAX_OPTIONS


def test_more_inputs_than_a_tool_can_have_are_refused_unread() -> None:
    """A definition of a million inputs must not be walked through first."""
    with pytest.raises(AppUnsupported, match="it has 1000000 inputs and 64 are the most"):
        describe(*[None] * 1_000_000)


def test_endless_names_and_labels_are_cut_and_an_endless_default_is_left_to_the_provider() -> None:
    """Cleaning megabytes takes seconds; half a default would mean something else."""
    endless = "x" * 100_000
    app = MAGNIFIC.parse_app(
        answer({"data": {**examples.FLOW["data"], "name": endless, "inputs": []}}), SKETCH, read_at=NOW
    )
    found = read_input(
        type="select", label=endless, default=endless, config={"options": [{"value": 1, "label": endless}]}
    )

    assert (len(app.name), len(found.label), len(found.options[0].label)) == (MAX_TEXT_LENGTH,) * 3
    assert found.default is None


@pytest.mark.parametrize("fields", [{"id": "x" * 501}, {"api_key": "x" * 501}, {"key": "x" * 501}])
def test_an_endless_key_makes_its_app_unsupported(fields: dict[str, str]) -> None:
    """A key cannot be cut: it would be another."""
    with pytest.raises(AppUnsupported, match="one of its inputs cannot be read"):
        read_input(**fields)


@pytest.mark.parametrize("flow", [{"inputs": None}, {"inputs": {}}, {"inputs": "x"}])
def test_a_definition_without_inputs_makes_its_app_unsupported(flow: dict[str, object]) -> None:
    """It is not the same as an app that takes none."""
    with pytest.raises(AppUnsupported) as caught:
        describe(**flow)
    assert caught.value.reason == "its definition names no inputs"


def test_an_app_may_take_no_inputs() -> None:
    """It runs at a word."""
    assert describe().inputs == ()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"sqid": "n0LYQDBl58", "inputs": []}, "it described another app"),
        ({"name": "x", "inputs": []}, "its definition of the app cannot be read"),
        ([], "its definition of the app cannot be read"),
        (None, "its definition of the app cannot be read"),
    ],
)
def test_a_definition_of_something_else_is_the_providers_fault(data: object, problem: str) -> None:
    """A run of the wrong app would be paid for."""
    with pytest.raises(ProviderBroken) as caught:
        MAGNIFIC.parse_app(answer({"data": data}), SKETCH, read_at=NOW)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"presentation": {"mode": "textarea", "type": "text", "placeholder": "e.g. A village"}},
            ("", "e.g. A village"),
        ),
        ({"placeholder": "A village", "description": "The scene"}, ("The scene", "A village")),
        ({"config": {"placeholder": "A village", "description": "The scene"}}, ("The scene", "A village")),
        (
            {"presentation": {"placeholder": "one"}, "placeholder": "two", "config": {"placeholder": "three"}},
            ("", "one"),
        ),
        ({"presentation": {"placeholder": 5}, "placeholder": "two"}, ("", "two")),
        ({"presentation": "x", "placeholder": None, "description": ["x"]}, ("", "")),
        ({"presentation": {"placeholder": "x" * 10_000}}, ("", "x" * 4000)),
    ],
)
def test_what_the_builder_says_of_an_input_is_read(fields: dict[str, Any], words: tuple[str, str]) -> None:
    """No page shows either member; live clients read both."""
    found = read_input(type="text", **fields)
    assert (found.description, found.placeholder) == words
