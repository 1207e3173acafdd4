"""Arguments of a call: read, refused, sent on and compared."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowport.catalog.arguments import (
    build_canonical_digest,
    build_provider_inputs,
    build_raw_digest,
    find_unknown,
    name_arguments,
    parse_arguments,
)
from flowport.catalog.names import build_property_names
from flowport.catalog.schema import build_tool
from flowport.catalog.values import get_default, get_inputs
from flowport.domain.errors import AppUnsupported, ArgumentProblem, ArgumentsInvalid
from flowport.domain.models import App, InputKind, JsonValue, Option
from tests.support.app_builders import APPS, JSON_VALUES, build_app, build_input, build_select
from tests.support.laws import get_meant

IMAGE = build_input(InputKind.IMAGE, "image", label="Your photo", is_required=True)
PROMPT = build_input(InputKind.TEXT, "text_prompt", label="What to draw", is_required=True)
STRENGTH = build_input(InputKind.NUMBER, "strength", default="0.5", maximum=1.0)
NOTE = build_input(InputKind.TEXT, "note")
SCENES = build_input(InputKind.TEXT, "scenes", is_list=True)
APP = build_app(IMAGE, PROMPT, STRENGTH, NOTE, SCENES)
NAMES = {IMAGE.id: "image", PROMPT.id: "prompt", STRENGTH.id: "strength", NOTE.id: "note", SCENES.id: "scenes"}
GIVEN: dict[str, JsonValue] = {"image": "cat.png", "prompt": "a cat"}
TAKES = "It takes image, prompt, strength, note, scenes."


def parse(arguments: Mapping[str, JsonValue] | None, app: App = APP) -> dict[str, JsonValue]:
    """Return the values of the inputs under the names of the plain app, or fresh ones."""
    return parse_arguments(app, NAMES if app is APP else build_property_names(get_inputs(app)), arguments)


def find_problems(arguments: Mapping[str, JsonValue] | None, app: App = APP) -> tuple[ArgumentProblem, ...]:
    """Return what is wrong with the arguments."""
    with pytest.raises(ArgumentsInvalid) as refusal:
        parse(arguments, app)
    return refusal.value.problems


def test_values_come_in_the_order_of_the_app_with_defaults() -> None:
    """What is recorded, compared and sent must not depend on how the client ordered it."""
    values = parse({"scenes": '["a", "b"]', "prompt": 5, "image": "cat.png"})
    assert list(values.items()) == [
        (IMAGE.id, "cat.png"),
        (PROMPT.id, "5"),
        (STRENGTH.id, 0.5),
        (SCENES.id, ["a", "b"]),
    ]


@pytest.mark.parametrize("empty", [{"note": None}, {"note": ""}, {"scenes": []}, {"scenes": "[]"}, {"strength": ""}])
def test_an_optional_input_without_content_counts_as_not_given(empty: dict[str, JsonValue]) -> None:
    """Models fill in every argument they see, often with nothing."""
    assert parse(GIVEN | empty) == parse(GIVEN)


@pytest.mark.parametrize("arguments", [None, {}])
def test_an_app_without_inputs_takes_no_arguments_at_all(arguments: dict[str, JsonValue] | None) -> None:
    """Clients leave the arguments out when there are none."""
    assert parse(arguments, build_app()) == {}


def test_an_input_may_be_named_by_its_id_or_run_key() -> None:
    """People copy them from the provider's pages."""
    assert parse({IMAGE.id: "cat.png", "text_prompt": "a cat"}) == parse(GIVEN)


def test_an_argument_name_is_stronger_than_the_key_of_another_input() -> None:
    """A frozen name may equal what another input is called now."""
    app = build_app(NOTE, replace(PROMPT, run_key="words"))
    names = {NOTE.id: "words", PROMPT.id: "prompt"}
    assert parse_arguments(app, names, {"words": "x", "prompt": "y"}) == {NOTE.id: "x", PROMPT.id: "y"}


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    """Each round trip with a model costs seconds and money."""
    file = 'It takes an image (a path, an https URL, a data URI, run:ID#1 of a run, or "last").'
    assert find_problems({"text_prompt": {}, "strength": 2, "note": [], "promt": "x"}) == (
        ArgumentProblem("image", "is missing", file),
        ArgumentProblem("prompt", "was given an empty object", "It takes text."),
        ArgumentProblem("strength", "was given 2", "It takes a number of at most 1."),
        ArgumentProblem("note", "was given an empty list", "It takes text."),
        ArgumentProblem("promt", "is not an argument of this tool", TAKES),
    )


@pytest.mark.parametrize(
    ("sent", "problem"), [({}, "is missing"), ({"prompt": None}, "is missing"), ({"prompt": ""}, "is empty")]
)
def test_a_required_input_needs_content(sent: dict[str, JsonValue], problem: str) -> None:
    """An empty prompt would be paid for like a full one."""
    assert find_problems({"image": "cat.png"} | sent) == (ArgumentProblem("prompt", problem, "It takes text."),)


def test_a_required_list_needs_an_item() -> None:
    """An empty list is not content either."""
    app = build_app(replace(SCENES, is_required=True))
    assert find_problems({"scenes": "[]"}, app)[0].problem == "is empty"


def test_an_empty_option_can_be_chosen() -> None:
    """Some builders spell "none" as nothing."""
    item = build_select("", "a", labels=("None", "A"), is_required=True)
    assert parse({"style": ""}, build_app(item)) == {item.id: ""}


def test_an_input_that_is_given_twice_is_refused() -> None:
    """Which of the two was meant cannot be known."""
    problems = find_problems({"image": "cat.png", "prompt": "a", "text_prompt": "b"})
    assert problems == (ArgumentProblem("prompt", "was given 2 times, as prompt and text_prompt", ""),)


@pytest.mark.parametrize(("name", "meant"), [("promt", "prompt"), ("promts", "prompt"), ("zzz", "")])
def test_an_unknown_name_is_answered_with_the_one_that_is_meant(name: str, meant: str) -> None:
    """A silent guess could put the words into the wrong input."""
    hint = f"Did you mean {meant}? " if meant else ""
    unknown = find_problems({"image": "cat.png", name: "x"})[-1]
    assert unknown == ArgumentProblem(name, "is not an argument of this tool", hint + TAKES)


@pytest.mark.parametrize(
    "name",
    [
        "Prompt",
        "PROMPT",
        "What to draw",
        "what_to_draw",
        "Text-Prompt",
        "textPrompt",
        "text prompt",
        " prompt",
        "_prompt",
    ],
)
def test_every_spelling_that_means_one_argument_is_taken(name: str) -> None:
    """Models respell names (taylorwilsdon/google_workspace_mcp#918)."""
    assert parse({"image": "cat.png", name: "a cat"}) == parse(GIVEN)
    assert name_arguments(APP, NAMES, {"image": "cat.png", name: "a cat"}) == GIVEN


def test_an_argument_in_two_spellings_is_refused() -> None:
    """Which of the two was meant cannot be known."""
    given: dict[str, JsonValue] = {**GIVEN, "Prompt": "a dog"}
    expected = ArgumentProblem("prompt", "was given 2 times, as prompt and Prompt", "")
    assert find_problems(given) == (expected,)
    assert name_arguments(APP, NAMES, given) == given


def test_a_spelling_that_could_mean_two_arguments_is_refused() -> None:
    """A guess could put the words into the wrong input."""
    app = build_app(replace(NOTE, id="one", run_key="a_b"), replace(NOTE, id="two", run_key="ab"))
    assert parse({"ab": "x"}, app) == {"two": "x"}
    assert find_problems({"AB": "x"}, app)[0].argument == "AB"


CLIENTS = {
    "n8n": {"toolCallId": "call_1", "sessionId": "s", "action": "sendMessage", "chatInput": "hi"},
    "Cline": {"task_progress": "- [x] look"},
    "Gemini CLI": {"wait_for_previous": True},
    "Antigravity": {"toolAction": "Running", "toolSummary": "Run", "waitForPreviousTools": False},
    "OpenHands": {"security_risk": "LOW"},
    "Cursor": {"random_string": "x"},
    "LangChain": {"tool_call_id": "call_1", "run_manager": None},
    "a proxy": {"_auth_auth_type": "admin", "_meta": {"progressToken": 1}},
}


@pytest.mark.parametrize("added", CLIENTS.values(), ids=CLIENTS)
def test_what_a_client_adds_by_itself_is_passed_over(added: dict[str, JsonValue]) -> None:
    """No model can leave it out (n8n-io/n8n#21500, cline/cline#9951, MemPalace/mempalace#322)."""
    assert parse(GIVEN | added) == parse(GIVEN)
    assert name_arguments(APP, NAMES, GIVEN | added) == GIVEN


def test_a_name_of_megabytes_is_refused_without_being_compared() -> None:
    """A client may send anything, and everybody else waits meanwhile (bloknayrb/tandem#1795)."""
    (problem,) = find_problems(GIVEN | {"x" * 5_000_000: 1})
    assert problem.argument == "x" * 39 + "\u2026"


@pytest.mark.parametrize("name", ["action", "session_id", "sessionId", "Session ID"])
def test_an_input_that_is_called_like_a_clients_argument_is_an_input(name: str) -> None:
    """What the app asks for counts more than what a client is known to add."""
    item = build_input(InputKind.TEXT, "action" if name == "action" else "session_id")
    assert parse({name: "x"}, build_app(item)) == {item.id: "x"}


def test_a_tool_that_only_reads_passes_over_what_resembles_no_argument() -> None:
    """Nothing is spent by it; a name that resembles one is refused, or the answer would be to another question."""
    assert parse_arguments(APP, NAMES, GIVEN | {"verbose": True}, ignores_unknown=True) == parse(GIVEN)
    assert find_unknown(APP, NAMES, GIVEN | {"verbose": True, "toolCallId": "x"}) == ["verbose"]
    with pytest.raises(ArgumentsInvalid) as refusal:
        parse_arguments(APP, NAMES, GIVEN | {"strenght": 1}, ignores_unknown=True)
    assert [problem.argument for problem in refusal.value.problems] == ["strenght"]


def test_an_unknown_name_is_shown_clean_and_short() -> None:
    """It may come from anywhere and ends in our sentence."""
    names = [problem.argument for problem in find_problems(GIVEN | {"x\u202e" + "y" * 50: 1, "\u200b": 2})]
    assert names == ["x" + "y" * 38 + "…", '""']


def test_long_lists_in_a_refusal_are_capped() -> None:
    """An error must not fill the conversation."""
    app = build_app(*(build_input(InputKind.TEXT, f"key_{letter}") for letter in "abcdefghijklmno"))
    problems = find_problems({f"{n}": n for n in range(20)}, app)
    assert len(problems) == 8
    assert problems[0].expected.endswith("key_l and 3 more.")


def test_an_app_without_inputs_says_that_it_takes_none() -> None:
    """ "It takes ." would not help."""
    assert find_problems({"x": 1, "new_run": True}, build_app())[0].expected == "It takes no arguments."


def test_an_app_whose_definition_was_not_read_takes_no_call() -> None:
    """Without it nothing is known about the arguments."""
    with pytest.raises(AppUnsupported):
        parse_arguments(replace(APP, inputs=None), {}, {})


def test_the_provider_gets_the_values_by_run_key() -> None:
    """The names of arguments are ours alone."""
    assert build_provider_inputs(APP, parse(GIVEN)) == {"image": "cat.png", "text_prompt": "a cat", "strength": 0.5}


def test_the_raw_digest_ignores_only_the_order_of_keys() -> None:
    """A client's retry may write its keys in another order."""
    digest = build_raw_digest({"a": 1, "b": [2]})
    assert digest == build_raw_digest({"b": [2.0], "a": 1.0})
    assert digest != build_raw_digest({"a": "1", "b": [2]})


@pytest.mark.parametrize(
    "changed",
    [
        replace(APP, id="other"),
        replace(APP, inputs=(IMAGE, replace(PROMPT, run_key="words"), STRENGTH, NOTE, SCENES)),
        replace(APP, inputs=(IMAGE, replace(PROMPT, kind=InputKind.ANY), STRENGTH, NOTE, SCENES)),
        replace(APP, inputs=(IMAGE, replace(PROMPT, options=(Option("a", "a"),)), STRENGTH, NOTE, SCENES)),
        replace(APP, inputs=(IMAGE, PROMPT, STRENGTH, NOTE, replace(SCENES, is_list=False))),
        replace(APP, inputs=(IMAGE, PROMPT, STRENGTH, NOTE)),
    ],
)
def test_equal_values_mean_something_else_to_another_definition(changed: App) -> None:
    """A run of the app as it was before must not be handed out as one of the app as it is."""
    values = parse(GIVEN)
    assert build_canonical_digest(APP, values, {}) != build_canonical_digest(changed, values, {})


def test_labels_defaults_and_the_order_of_inputs_do_not_change_the_meaning() -> None:
    """A renamed label must not make a retry pay again."""
    changed = replace(
        APP, name="New", inputs=(SCENES, replace(PROMPT, label="New"), NOTE, replace(STRENGTH, default=1), IMAGE)
    )
    values = parse(GIVEN)
    assert build_canonical_digest(APP, values, {}) == build_canonical_digest(changed, values, {})


def test_a_file_counts_by_its_content() -> None:
    """The same picture under two paths is the same picture."""
    cat, dog = parse(GIVEN), parse({"image": "dog.png", "prompt": "a cat"})
    same = {IMAGE.id: "sha256:12", "no such input": "sha256:34"}
    assert build_canonical_digest(APP, cat, same) == build_canonical_digest(APP, dog, {IMAGE.id: "sha256:12"})
    assert build_canonical_digest(APP, cat, {}) != build_canonical_digest(APP, dog, {})


TYPED = st.text(min_size=1, max_size=20).filter(str.strip)


def build_values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for what the schema of one argument accepts and has content."""
    if schema["type"] == "array":
        return st.lists(build_values(schema["items"]), min_size=1, max_size=min(3, schema.get("maxItems", 3)))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "number":
        low, high = schema.get("minimum"), schema.get("maximum")
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    if schema["type"] == "boolean":
        return st.booleans()
    # The length counts characters, as Python does.
    return TYPED.map(lambda text: text[: schema.get("maxLength", len(text))]).filter(str.strip)


@given(APPS, st.data())
@settings(deadline=None, max_examples=200)
def test_what_the_schema_accepts_reaches_the_provider_unchanged(app: App, data: st.DataObject) -> None:
    """The schema is a promise to the client; breaking it here would refuse a correct call."""
    names = build_property_names(get_inputs(app))
    schema = build_tool(app, tool_name="t", property_names=names, provider_title="Magnific")["inputSchema"]
    properties = {name: build_values(inner) for name, inner in schema["properties"].items()}
    required = set(schema.get("required", []))
    arguments = data.draw(
        st.fixed_dictionaries(
            {name: values for name, values in properties.items() if name in required},
            optional={name: values for name, values in properties.items() if name not in required},
        )
    )
    Draft202012Validator(schema).validate(arguments)
    meant = {
        item.run_key: get_meant(item, arguments[names[item.id]]) if names[item.id] in arguments else get_default(item)
        for item in get_inputs(app)
    }
    expected = {run_key: value for run_key, value in meant.items() if value is not None}
    assert build_provider_inputs(app, parse_arguments(app, names, arguments)) == expected


@given(APPS, JSON_VALUES)
@settings(deadline=None, max_examples=100)
def test_what_no_kind_can_mean_is_refused_by_its_argument_name(app: App, wrong: JsonValue) -> None:
    """A wrong value must stop the call before it costs anything, and be named."""
    names = build_property_names(get_inputs(app))
    typed = [item for item in get_inputs(app) if item.kind is not InputKind.ANY]
    assume(typed)
    with pytest.raises(ArgumentsInvalid) as refusal:
        parse_arguments(app, names, {names[item.id]: {"wrong": wrong} for item in typed})
    assert {names[item.id] for item in typed} <= {problem.argument for problem in refusal.value.problems}


@given(APPS, st.data())
@settings(deadline=None, max_examples=100)
def test_the_same_meaning_has_the_same_digest(app: App, data: st.DataObject) -> None:
    """A retry is recognised by it, whichever way the client writes its numbers and keys."""
    numbers = {item.id: data.draw(st.integers(-(2**53), 2**53)) for item in get_inputs(app)}
    floats: dict[str, JsonValue] = {key: float(numbers[key]) for key in reversed(numbers)}
    assert build_canonical_digest(app, dict(numbers), {}) == build_canonical_digest(app, floats, {})


@given(APPS, st.data())
@settings(deadline=None, max_examples=200)
def test_any_arguments_are_digested_and_either_taken_or_refused(app: App, data: st.DataObject) -> None:
    """A call may hold anything, and what is taken must fit into a request."""
    names = build_property_names(get_inputs(app))
    arguments = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys([*names.values(), "x"], JSON_VALUES)))
    assert len(build_raw_digest(arguments)) == 64
    try:
        values = parse_arguments(app, names, arguments)
    except ArgumentsInvalid as refusal:
        assert refusal.problems  # noqa: PT017  # either outcome is right
    else:
        json.dumps(build_provider_inputs(app, values), allow_nan=False, ensure_ascii=False).encode()
        assert len(build_canonical_digest(app, values, {})) == 64
