"""Values of inputs: what is taken, in which form, and what is refused."""

import json

import pytest
from hypothesis import given, settings

from flowport.catalog.values import (
    MAX_ITEMS,
    MAX_TEXT_BYTES,
    InvalidValue,
    format_expected,
    get_bounds,
    get_default,
    parse_value,
)
from flowport.domain.models import Input, InputKind, JsonValue
from tests.support.app_builders import INPUTS, JSON_VALUES, build_input, build_select

TEXT = build_input(InputKind.TEXT)
NUMBER = build_input(InputKind.NUMBER)
BOOLEAN = build_input(InputKind.BOOLEAN)
ANY = build_input(InputKind.ANY)
IMAGE = build_input(InputKind.IMAGE)
STYLE = build_select("warm", "cold")
TEXTS = build_input(InputKind.TEXT, is_list=True)
NUMBERS = build_input(InputKind.NUMBER, is_list=True)


@pytest.mark.parametrize(
    ("item", "sent", "value"),
    [
        (NUMBER, "0.5", 0.5),
        (NUMBER, " 5 ", 5),
        (NUMBER, "-.5e1", -5.0),
        (NUMBER, 5, 5),
        (BOOLEAN, True, True),
        (BOOLEAN, "True", True),
        (BOOLEAN, "false", False),
        (BOOLEAN, 1, True),
        (BOOLEAN, 0, False),
        (BOOLEAN, 1.0, True),
        (BOOLEAN, "1", True),
        (BOOLEAN, "No", False),
        (NUMBER, "0,4", 0.4),
        (NUMBER, "1.234,5", 1234.5),
        (NUMBERS, ["0,5", "2"], [0.5, 2]),
        (build_select(0.4, 0.8), "0,4", 0.4),
        (build_select(*[True, False]), "yes", True),
        (build_select("yes", "no"), "yes", "yes"),
        (TEXT, " as is\n", " as is\n"),
        (TEXT, 5, "5"),
        (TEXT, 5.0, "5.0"),
        (TEXT, True, "true"),
        (IMAGE, "cat.png", "cat.png"),
        (STYLE, "Warm", "warm"),
        (build_select(), 5, "5"),
        (ANY, ' {"a": [1]}', {"a": [1]}),
        (ANY, "[not json", "[not json"),
        (ANY, "[1e999]", "[1e999]"),
        (ANY, "[" * 3000, "[" * 3000),
        (ANY, "5", "5"),
        (ANY, 5, 5),
        (TEXTS, '["a", 5]', ["a", "5"]),
        (TEXTS, "[a]", ["[a]"]),
        (TEXTS, ["a"], ["a"]),
        (NUMBERS, "5", [5]),
        (NUMBERS, 5, [5]),
        (NUMBERS, "[]", []),
    ],
)
def test_what_can_mean_one_thing_only_is_taken_as_that(item: Input, sent: JsonValue, value: JsonValue) -> None:
    """Clients are known to send numbers, booleans and lists as text."""
    parsed = parse_value(item, sent)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("sent", ["nan", "inf", "0x10", "1_000", "٣", "", "5 px", True, [5], {"a": 5}, None])
def test_a_number_is_a_decimal_number(sent: JsonValue) -> None:
    """Python reads more than JSON can say."""
    assert isinstance(parse_value(NUMBER, sent), InvalidValue)


@pytest.mark.parametrize("sent", ["1e400", "9" * 350, 10**400, float("inf"), float("nan")])
def test_a_number_that_json_cannot_carry_is_refused(sent: JsonValue) -> None:
    """It would become null or an error on the provider's side."""
    assert parse_value(NUMBER, sent) == InvalidValue("was given a number that JSON cannot carry", "It takes a number.")


@pytest.mark.parametrize(
    ("item", "sent", "misfit"),
    [
        (TEXT, {"a": 1}, InvalidValue('was given an object ({"a": 1})', "It takes text.")),
        (TEXT, [], InvalidValue("was given an empty list", "It takes text.")),
        (TEXT, "\ud800", InvalidValue("was given text with a broken character", "It takes text.")),
        (ANY, {"\udc00": 1}, InvalidValue("was given text with a broken character", "It takes text or JSON.")),
        (
            ANY,
            json.loads("[" * 40 + "]" * 40),
            InvalidValue("was given a value that is nested too deeply", "It takes text or JSON."),
        ),
        (NUMBER, "ten", InvalidValue('was given "ten"', "It takes a number.")),
        (NUMBER, False, InvalidValue("was given false", "It takes a number.")),
        (
            NUMBER,
            "1,234",
            InvalidValue('was given "1,234", which can mean two numbers', "It takes a number. Write 1234 or 1.234."),
        ),
        (NUMBER, "x" * 99, InvalidValue(f'was given "{"x" * 39}\u2026"', "It takes a number.")),
        (BOOLEAN, 2, InvalidValue("was given 2", "It takes true or false.")),
        (BOOLEAN, "perhaps", InvalidValue('was given "perhaps"', "It takes true or false.")),
        (TEXTS, ["a", None], InvalidValue("was given null as item 2", "It takes a list, each item text.")),
        (
            IMAGE,
            " ",
            InvalidValue(
                "was given empty text",
                'It takes an image (a path, an https URL, a data URI, run:ID#1 of a run, or "last").',
            ),
        ),
        (
            IMAGE,
            5,
            InvalidValue(
                "was given 5",
                'It takes an image (a path, an https URL, a data URI, run:ID#1 of a run, or "last").',
            ),
        ),
        (STYLE, [], InvalidValue("was given an empty list", "It takes one of warm, cold.")),
        (STYLE, 'w"arn', InvalidValue('was given "w\'arn"', "It takes one of warm, cold. Did you mean warm?")),
    ],
)
def test_a_refusal_says_what_came_and_what_would_fit(item: Input, sent: JsonValue, misfit: InvalidValue) -> None:
    """The model corrects itself from this sentence alone; what was wrong is repeated, but not at length."""
    assert parse_value(item, sent) == misfit


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, "It takes a number from 0 to 1."),
        (0.5, None, "It takes a number of at least 0.5."),
        (None, 1.0, "It takes a number of at most 1."),
        (None, float("nan"), "It takes a number."),
        (2.0, 1.0, "It takes a number."),
    ],
)
def test_bounds_are_stated_when_they_can_hold(low: float | None, high: float | None, expected: str) -> None:
    """Providers publish bounds that no number can keep; those are left to their own check."""
    assert format_expected(build_input(InputKind.NUMBER, minimum=low, maximum=high)) == expected


@pytest.mark.parametrize(("sent", "is_taken"), [(0, True), ("1", True), (1.5, False), (-1, False)])
def test_bounds_are_kept_inclusively(sent: JsonValue, *, is_taken: bool) -> None:
    """A run that the provider refuses costs a request and a minute."""
    parsed = parse_value(build_input(InputKind.NUMBER, minimum=0.0, maximum=1.0), sent)
    assert isinstance(parsed, InvalidValue) is not is_taken


@pytest.mark.parametrize(
    ("item", "value"),
    [
        (build_input(InputKind.NUMBER, default="0.5"), 0.5),
        (build_input(InputKind.NUMBER, default="auto"), None),
        (build_input(InputKind.NUMBER, default=True), None),
        (build_input(InputKind.NUMBER, default=7, maximum=5.0), None),
        (build_input(InputKind.BOOLEAN, default="maybe"), None),
        (build_input(InputKind.TEXT, default={"a": 1}), None),
        (build_input(InputKind.TEXT, default="long", max_length=3), None),
        (build_input(InputKind.TEXT, is_list=True, default=["a", "b"], max_items=1), None),
        (build_input(InputKind.IMAGE, default={"id": "x"}), None),
        (build_input(InputKind.IMAGE, default=["x"]), None),
        (build_input(InputKind.ANY, default={"id": "x"}), None),
        (build_input(InputKind.ANY, default="x"), "x"),
        (build_select("wool", default="zzz"), None),
        (build_input(InputKind.NUMBER, default=0), 0),
        (build_input(InputKind.TEXT, default=""), None),
        (build_input(InputKind.TEXT, default=[]), None),
        (build_input(InputKind.TEXT, default=None), None),
        (build_input(InputKind.ANY, default=float("nan")), None),
        (build_select("w", labels=("Warm",), default="Warm"), "w"),
    ],
)
def test_a_default_is_coerced_where_it_fits_and_else_left_to_the_provider(item: Input, value: JsonValue) -> None:
    """The provider has it; sent by us it would be refused, and the app be blamed (SDU-eScience/UCloud#2227)."""
    assert get_default(item) == value


@given(INPUTS, JSON_VALUES)
@settings(deadline=None, max_examples=200)
def test_what_is_taken_once_is_taken_again_unchanged(item: Input, sent: JsonValue) -> None:
    """Nothing escapes, everything taken can be written as strict JSON, and the canonical form is stable."""
    parsed = parse_value(item, sent)
    if not isinstance(parsed, InvalidValue) and parsed is not None:
        assert json.loads(json.dumps(parsed, allow_nan=False)) == parsed
        assert item.kind is InputKind.ANY or parse_value(item, parsed) == parsed
    low, high = get_bounds(item)
    assert low is None or high is None or low <= high


@pytest.mark.parametrize("kind", [InputKind.TEXT, InputKind.NUMBER, InputKind.BOOLEAN, InputKind.SELECT, InputKind.ANY])
@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}"])
def test_a_text_that_no_input_needs_is_refused(kind: InputKind, letter: str, *, is_list: bool) -> None:
    """Megabytes were searched, digested, stored and paid for."""
    item = build_input(kind=kind, is_list=is_list)
    longest = MAX_TEXT_BYTES // len(letter.encode())
    refused = parse_value(item, letter * (longest + 1))
    assert isinstance(refused, InvalidValue)
    assert f"was given {longest + 1:,} characters" in refused.problem
    assert refused.expected.endswith("It takes at most 200 kB of text.")


def test_the_longest_text_is_the_apps_own_where_it_names_one() -> None:
    """It knows better."""
    text = "x" * MAX_TEXT_BYTES * 2
    assert parse_value(build_input(kind=InputKind.TEXT), text[:MAX_TEXT_BYTES]) == text[:MAX_TEXT_BYTES]
    assert parse_value(build_input(kind=InputKind.TEXT, max_length=len(text)), text) == text


def test_a_file_inside_a_call_is_not_text() -> None:
    """It may have 10 MB, and is measured as a file."""
    uri = "data:image/png;base64," + "A" * MAX_TEXT_BYTES * 2
    assert parse_value(build_input(kind=InputKind.IMAGE), uri) == uri


def test_a_list_of_thousands_is_refused_before_it_is_looked_through() -> None:
    """Half a million rows took seconds."""
    item = build_input(kind=InputKind.ANY, is_list=True)
    assert not isinstance(parse_value(item, [{}] * MAX_ITEMS), InvalidValue)
    refused = parse_value(item, [{}] * (MAX_ITEMS + 1))
    assert isinstance(refused, InvalidValue)
    assert refused.problem == "was given 10,001 items"


@pytest.mark.parametrize("default", ['{"a": 1}', "[1]", {"a": 1}, [1], True, [{"a": 1}]])
@pytest.mark.parametrize("is_list", [True, False])
def test_a_default_that_no_start_request_carries_is_left_to_the_provider(default: JsonValue, is_list: bool) -> None:
    """Text that spells an object is one once it is read; the provider has its own default."""
    item = build_input(InputKind.ANY, default=default, is_list=is_list)
    sent = get_default(item)
    assert not isinstance(sent, dict | bool)
    assert not (isinstance(sent, list) and (not is_list or any(isinstance(one, dict | list | bool) for one in sent)))
