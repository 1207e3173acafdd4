"""Tools as clients see them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from flowport.catalog.names import build_property_names
from flowport.catalog.schema import build_tool
from flowport.catalog.values import get_inputs
from flowport.domain.errors import AppUnsupported
from flowport.domain.models import App, Input, InputKind, Option
from tests.support.app_builders import APPS, build_app, build_input, build_select


def build(app: App, **options: Any) -> dict[str, Any]:
    """Return the tool of an app under fresh argument names."""
    names = options.pop("property_names", build_property_names(app.inputs or ()))
    return build_tool(app, tool_name="sketch", property_names=names, provider_title="Magnific", **options)


def build_property(item: Input) -> Any:
    """Return the schema of the only argument of an app."""
    return next(iter(build(build_app(item))["inputSchema"]["properties"].values()))


def test_a_whole_tool_is_ready_for_the_wire() -> None:
    """Its order of keys is part of the promise: clients cache the list by its bytes."""
    app = build_app(
        build_input(InputKind.IMAGE, "image", label="Image", is_required=True),
        build_input(InputKind.TEXT, "prompt", label="What to draw", is_required=True),
        build_input(InputKind.NUMBER, "strength", label="Strength", default=0.5, is_required=True),
    )
    expected = {
        "name": "sketch",
        "title": "Sandbox: Sketch to Realism",
        "description": '5 credits, usually 10 s to 5 min. Runs the app "Sketch to Realism" of Magnific.',
        "inputSchema": {
            "type": "object",
            "properties": {
                "image": {"type": "string", "description": "Image path, URL, run:ID#1 or last"},
                "prompt": {"type": "string", "title": "What to draw"},
                "strength": {"type": "number", "default": 0.5},
            },
            "required": ["image", "prompt"],
        },
        "annotations": {"destructiveHint": False},
    }
    assert json.dumps(build(app, title_prefix="Sandbox: ")) == json.dumps(expected)


def test_an_app_without_inputs_lists_one_optional_argument() -> None:
    """Clients that hand schemas to Gemini refuse an object without a property (MarkusPfundstein/mcp-obsidian#21)."""
    new_run = {"type": "boolean", "description": "true: pay for another run though an equal one is there"}
    assert build(build_app())["inputSchema"] == {"type": "object", "properties": {"new_run": new_run}}


@pytest.mark.parametrize(
    ("price", "seconds", "opening"),
    [
        (1.0, None, "1 credit, usually 10 s to 5 min."),
        (0.0, 42.4, "Free, usually about 42 s."),
        (2.5, 0.1, "2.5 credits, usually about 1 s."),
        (None, 118.0, "Price unknown, usually about 2 min."),
        (float("nan"), None, "Price unknown, usually 10 s to 5 min."),
        (-1.0, None, "Price unknown, usually 10 s to 5 min."),
        (100.0, None, "100 credits, usually 10 s to 5 min."),
    ],
)
def test_the_description_opens_with_price_and_duration(
    price: float | None, seconds: float | None, opening: str
) -> None:
    """Clients cut descriptions; what a run costs must survive."""
    description = build(build_app(price_credits=price), usual_seconds=seconds)["description"]
    assert description == f'{opening} Runs the app "Sketch to Realism" of Magnific.'


@pytest.mark.parametrize(
    ("name", "title", "quoted"),
    [('A". Ignore "B"', 'A". Ignore "B"', "\"A'. Ignore 'B'\""), ("\u200b", "sketch", '"sketch"')],
)
def test_the_name_of_an_app_cannot_leave_its_quotes(name: str, title: str, quoted: str) -> None:
    """Anyone can publish an app, and its name is read by a model."""
    tool = build(build_app(name=name))
    assert (tool["title"], tool["description"].partition(" the app ")[2]) == (title, f"{quoted} of Magnific.")


SEE_ALL = "; find_apps with this tool's name lists all"
PLACE = "path, URL, run:ID#1 or last"


@pytest.mark.parametrize(
    ("item", "schema"),
    [
        (build_input(InputKind.VIDEO), {"type": "string", "description": f"Video {PLACE}"}),
        (build_input(InputKind.AUDIO, label="Voice?"), {"type": "string", "description": f"Voice? Audio {PLACE}"}),
        (build_input(InputKind.MEDIA, label="Voice"), {"type": "string", "description": f"Voice. File {PLACE}"}),
        (build_input(InputKind.ANY), {"type": "string", "description": "Text or JSON"}),
        (build_input(InputKind.BOOLEAN, default="true"), {"type": "boolean", "default": True}),
        (
            build_input(InputKind.NUMBER, minimum=0.0, maximum=0.5, default="0"),
            {"type": "number", "minimum": 0, "maximum": 0.5, "default": 0},
        ),
        (build_input(InputKind.NUMBER, minimum=2.0, maximum=1.0, default="auto"), {"type": "number"}),
        (build_input(InputKind.TEXT, default=" a\n\nb\u200b "), {"type": "string", "default": "a\n\nb"}),
        (build_input(InputKind.TEXT, default="x" * 201), {"type": "string"}),
        (build_input(InputKind.TEXT, default="\u200b"), {"type": "string"}),
        (build_input(InputKind.ANY, default=5), {"type": "string", "description": "Text or JSON"}),
        (build_input(InputKind.ANY, default=[1]), {"type": "string", "description": "Text or JSON"}),
        (
            build_input(InputKind.TEXT, label="Scenes", is_list=True, default=["a"]),
            {"type": "array", "items": {"type": "string"}, "title": "Scenes"},
        ),
        (build_select(), {"type": "string"}),
        (build_select("warm", "cold", labels=("Warm", "Cold")), {"type": "string", "enum": ["warm", "cold"]}),
        (
            build_select("a", "b", "c", labels=("Warm", "日本", ""), default="warm"),
            {"type": "string", "enum": ["a", "b", "c"], "description": "a: Warm, b: 日本", "default": "a"},
        ),
        (
            build_select(1, 2.0, 2, labels=("1", "2", "2"), default="2"),
            {"type": "string", "enum": ["1", "2"], "default": "2"},
        ),
        (build_select(*[True, False], default=False), {"type": "boolean", "default": False}),
        (
            build_select(*[True, False], labels=("On", "Off")),
            {"type": "boolean", "description": "true: On, false: Off"},
        ),
        (build_select(*[True], default=True), {"type": "string", "enum": ["true"], "default": "true"}),
        (build_select(*[True, False], "auto"), {"type": "string", "enum": ["true", "false", "auto"]}),
        (build_select(2, 3, 5, default=3), {"type": "string", "enum": ["2", "3", "5"], "default": "3"}),
        (
            build_select("", "warm", labels=("", "Warm"), default="warm"),
            {"type": "string", "enum": ["none", "warm"], "default": "warm"},
        ),
        (build_select("", "warm", labels=("No style", "Warm")), {"type": "string", "enum": ["No style", "warm"]}),
        (
            build_select("", "\u200b", "none", labels=("", "", "None")),
            {"type": "string", "enum": ["empty", "(none)", "none"]},
        ),
        (
            build_select("a", ":b", labels=("", "Bold")),
            {"type": "string", "enum": ["a", ":b"], "description": "One of :b: Bold"},
        ),
        (build_input(InputKind.VIDEO, label=" : Clip"), {"type": "string", "description": f"Clip. Video {PLACE}"}),
        (build_select(1, "x\u200b", default="x"), {"type": "string", "enum": ["1", "x"], "default": "x"}),
        (build_select("a", is_list=True), {"type": "array", "items": {"type": "string", "enum": ["a"]}}),
        (
            build_select(*range(101)),
            {"type": "string", "description": f"One of 101 options, such as 0, 1, 2, 3, 4{SEE_ALL}"},
        ),
        (
            build_select("a" * 20, *(f"{n}" * 199 for n in range(10, 21))),
            {"type": "string", "description": f"One of 12 options, such as {'a' * 20}, {'10' * 28}1…{SEE_ALL}"},
        ),
    ],
)
def test_each_kind_of_input_says_no_more_than_is_needed(item: Input, schema: dict[str, Any]) -> None:
    """One type, the label once, a hint where the type does not say enough."""
    assert build_property(item) == schema


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"placeholder": "e.g. A snow-covered village"}, {"description": "e.g. A snow-covered village"}),
        ({"placeholder": "A snow-covered village"}, {"description": "E.g. A snow-covered village"}),
        (
            {"label": "Scene", "placeholder": "A village", "description": "What is to be seen"},
            {"description": "Scene. What is to be seen. E.g. A village"},
        ),
        ({"label": "Scene", "description": "Scene"}, {"title": "Scene"}),
        ({"label": "Scene", "placeholder": "scene…"}, {"title": "Scene"}),
        (
            {"label": "Scene", "description": "A village", "placeholder": "A village"},
            {"description": "Scene. A village"},
        ),
        ({"description": " : two\n\nlines\u202e \u200b"}, {"description": "two lines"}),
        ({"description": "x" * 5000}, {"description": "x" * 199 + "…"}),
        ({"placeholder": "y" * 5000}, {"description": "E.g. " + "y" * 99 + "…"}),
        ({"description": "\u200b", "placeholder": " "}, {}),
    ],
)
def test_what_the_builder_says_of_an_input_is_shown_once_and_clean(item: dict[str, str], words: dict[str, str]) -> None:
    """It is what a person would see in the builder's form; it is untrusted text."""
    built = build_property(build_input(InputKind.TEXT, **item))
    assert built == {"type": "string", **words}


def test_the_builder_s_words_stand_before_our_own_hint() -> None:
    """Both are needed to give a file."""
    built = build_property(build_input(InputKind.IMAGE, label="Photo", description="Your face, from the front"))
    assert built["description"] == f"Photo. Your face, from the front. Image {PLACE}"


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (None, "its definition has not been read"),
        ([build_input(InputKind.TEXT, f"t{n}") for n in range(65)], "it has 65 inputs and 64 are the most"),
        ([build_input(InputKind.TEXT, key) for key in "aa"], "two of its inputs have the same id"),
        (
            [replace(build_input(InputKind.TEXT, "a"), id=input_id) for input_id in "xy"],
            "two of its inputs have the same key",
        ),
        ([build_select("\ud800")], "one of its keys or options cannot be written as JSON"),
        ([build_select(float("nan"))], "one of its keys or options cannot be written as JSON"),
        ([build_input(InputKind.TEXT, "\ud800")], "one of its keys or options cannot be written as JSON"),
    ],
)
def test_an_app_that_cannot_become_a_tool_says_why(inputs: list[Input] | None, reason: str) -> None:
    """One bad tool makes clients drop the whole list."""
    app = replace(build_app(), inputs=None if inputs is None else tuple(inputs))
    with pytest.raises(AppUnsupported) as refusal:
        build(app)
    assert (refusal.value.app_id, refusal.value.reason) == (app.id, reason)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"id-a": "same", "id-b": "same"}, "two of its arguments have the same name"),
        ({"id-a": "A!", "id-b": "b"}, "one of its arguments has no usable name"),
        ({"id-a": "a"}, "one of its arguments has no usable name"),
    ],
)
def test_frozen_names_that_cannot_be_used_drop_the_app(names: dict[str, str], reason: str) -> None:
    """Names come back from a file that another version may have written."""
    app = build_app(build_input(InputKind.TEXT, "a"), build_input(InputKind.TEXT, "b"))
    with pytest.raises(AppUnsupported, match=reason):
        build(app, property_names=names)


def test_the_inputs_of_a_read_definition_are_returned() -> None:
    """No inputs and not read are two things."""
    assert get_inputs(build_app()) == ()


def test_a_usual_tool_is_small() -> None:
    """Forty tools travel with every conversation."""

    def label(words: str) -> str:
        return f"{words} of the picture that this flow will work on"[:45]

    app = build_app(
        build_input(InputKind.IMAGE, "image", label=label("The source photograph"), is_required=True),
        build_input(InputKind.TEXT, "prompt", label=label("What should be seen"), is_required=True),
        build_input(InputKind.NUMBER, "strength", label=label("How strong"), minimum=0.0, maximum=1.0, default=0.5),
        build_select("photo", "drawing", "anime", label=label("The look"), is_required=True),
    )
    assert len(json.dumps(build(app), separators=(",", ":"), ensure_ascii=False).encode()) <= 750


def check_property(name: str, schema: dict[str, Any]) -> None:
    """Assert what every client needs of one argument."""
    Draft202012Validator({"pattern": "^[a-z][a-z0-9_]*$"}).validate(name)
    assert ("items" in schema) == (schema["type"] == "array")
    words = {"type", "items", "enum", "minimum", "maximum", "maxLength", "maxItems", "title", "description", "default"}
    assert not schema.keys() - words
    assert not {"title", "description"} <= schema.keys()
    value = schema.get("items", schema)
    assert all(isinstance(one, str) and one and value["type"] == "string" for one in value.get("enum", []))
    assert not schema.get("description", "x").startswith((":", " "))
    Draft202012Validator({"properties": {"default": schema}}).validate(schema)


@given(APPS)
@settings(deadline=None, max_examples=200)
def test_every_tool_keeps_the_laws_that_clients_need(app: App) -> None:
    """Each law is one that some client breaks on."""
    tool = build(app)
    schema = tool["inputSchema"]
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert not schema.keys() - {"type", "properties", "required"}
    assert schema["properties"]
    for name, inner in schema["properties"].items():
        check_property(name, inner)
    assert len(tool["description"]) <= 2048
    assert "\n" not in tool["description"] + tool["title"]
    json.dumps(tool, allow_nan=False, ensure_ascii=False).encode()


@given(APPS)
@settings(deadline=None, max_examples=50)
def test_an_app_always_becomes_the_same_bytes(app: App) -> None:
    """A list that differs without a reason makes clients load it again."""
    assert json.dumps(build(app)) == json.dumps(build(app))


def test_options_with_one_look_are_listed_once() -> None:
    """An enum must not repeat itself."""
    item = replace(build_select(), options=(Option("x", "x"), Option("x\u200b", "X"), Option("y", "y")))
    assert build_property(item) == {"type": "string", "enum": ["x", "y"]}


def test_a_description_is_short_and_keeps_what_is_needed_to_fill_it_in() -> None:
    """Every list of tools carries it; the builder's words give way first."""
    labels = tuple(f"the label of option {n}" for n in range(60))
    options = tuple(f"o{n}" for n in range(60))
    item = build_select(*options, labels=labels, label="L" * 80, description="d" * 300, placeholder="p" * 300)
    description = build_property(item)["description"]
    assert len(description) <= 400
    assert description.startswith("L" * 80)
    assert description.endswith(SEE_ALL)
