"""The choices of a select input, in whatever shape a builder reports them."""

from typing import Any

import pytest

from flowport.domain.errors import AppUnsupported
from flowport.domain.models import Option
from flowport.providers.options import MAX_OPTIONS, MAX_TEXT_LENGTH, find_options, parse_options
from tests.providers.test_magica_inputs import read as read_magica
from tests.providers.test_magnific_definitions import read_input as read_magnific

GROUPS: Any = [
    {"label": "Basics", "options": [{"value": "a", "label": "A"}, {"value": "b", "label": "B"}]},
    {"label": "More", "options": ["c"]},
]
ABC = (Option("a", "A"), Option("b", "B"), Option("c", "c"))
NESTED = [{"label": "All", "children": [{"name": "Warm", "items": [{"title": "Red", "values": ["a", "b"]}]}, "c"]}]
PLAIN = (Option("a", "a"), Option("b", "b"), Option("c", "c"))


@pytest.mark.parametrize(
    ("reported", "options"),
    [
        (GROUPS, ABC),
        (NESTED, PLAIN),
        ([{"label": "Basics", key: ["a", "b"]} for key in ("options",)] + ["c"], PLAIN),
        *(([{"label": "Basics", key: ["a", "b", "c"]}], PLAIN) for key in ("choices", "items", "children", "values")),
        *(([{"name": "Basics", key: ["a", "b", "c"]}], PLAIN) for key in ("enum", "oneOf", "optgroup")),
        ({"Basics": ["a", "b"], "More": ["c"]}, PLAIN),
        ({"Basics": GROUPS[0]["options"], "More": [{"label": "c"}]}, ABC),
        ({"values": ["a", "b"], "More": ["c"]}, PLAIN),
        ({"Basics": {"options": ["a", "b"]}, "More": {"Other": ["c"]}}, PLAIN),
        ({"options": GROUPS}, ABC),
        ({"enum": ["a", "b", "c"]}, PLAIN),
        ([["Basics", ["a", "b"]], ["More", ["c"]]], PLAIN),
        ([{"value": "basics", "label": "Basics", "options": ["a", "b", "c"]}], PLAIN),
        ([{"id": 1, "label": "Basics", "options": ["a", "b", "c"]}], PLAIN),
        ([{"label": "Basics", "disabled": True}, {"value": "a"}, {"value": "b"}, {"value": "c"}], PLAIN),
        ([{"value": "x", "label": "Basics", "isDisabled": True}, "a", "b", "c"], PLAIN),
        ([{"value": "x", "type": "header"}, "a", "b", "c"], PLAIN),
        ([{"label": "Basics"}, {"value": "a"}, {"value": "b"}, {"value": "c"}], PLAIN),
        ([{"label": "Basics", "options": []}, {"label": "More", "options": {}}, "a", "b", "c"], PLAIN),
        ([{"value": "a", "options": []}, {"value": "b", "children": None}, {"value": "c", "options": {"n": 1}}], PLAIN),
        ([{"const": "a", "title": "A"}, {"key": "b", "text": "B"}, {"id": "c"}], ABC),
        ([{"label": "a"}, {"label": "b"}, {"label": "c"}], PLAIN),
        *(([{"label": "Basics", key: ["a", "b", "c"]}], PLAIN) for key in ("entries", "list", "sub", "value")),
        (
            [{"label": "Basics", "whatever": [{"value": "a"}, {"value": "b"}]}, {"name": "More", "x": [{"id": "c"}]}],
            PLAIN,
        ),
        ([{"label": "Basics", "choices": None}, "a", "b", "c"], PLAIN),
        ([{"label": "a", "tags": ["x", "y"]}, {"label": "b", "models": []}, {"label": "c"}], PLAIN),
        ({"values": ["a", "b", "c"], "labels": ["A", "B", "c"]}, ABC),
        ({"type": "string", "enum": ["a", "b", "c"], "enumNames": ["A", "B", "c"]}, ABC),
        ({"options": ["a", "b", "c"], "labels": ["A"]}, PLAIN),
        ({"a": "First", "b": "Second"}, ()),
        ([["a", "b"], ["c", "d"]], ()),
    ],
)
def test_what_lies_below_a_heading_is_the_choice_and_never_the_heading(
    reported: Any, options: tuple[Option, ...]
) -> None:
    """Groups come in as many shapes as there are builders (ToolJet/ToolJet#17196); of two texts no one can know which is the value."""
    assert parse_options("app", reported) == options


def test_labels_that_several_choices_share_carry_their_headings() -> None:
    """Two called Small could not be distinguished."""
    reported = {
        "Cup": [{"value": 1, "label": "Small"}, {"value": 2, "label": "Large"}],
        "Pot": [{"value": 3, "label": "Small"}],
    }
    assert parse_options("app", reported) == (Option(1, "Cup: Small"), Option(2, "Large"), Option(3, "Pot: Small"))


def test_truth_and_one_are_two_choices() -> None:
    """Python holds them to be the same; the first label of a repeated value stays."""
    reported = [{"value": 1, "label": "One"}, {"value": True, "label": "Yes"}, {"value": 1, "label": "Uno"}]
    assert parse_options("app", reported) == (Option(1, "One"), Option(value=True, label="Yes"))


@pytest.mark.parametrize("key", ["options", "choices", "enum", "items", "children", "values"])
def test_both_providers_read_groups_wherever_they_stand(key: str) -> None:
    """One reader serves them."""
    assert read_magnific(type="select", config={key: GROUPS}).options == ABC
    assert read_magica(type="select", **{key: GROUPS}).options == ABC
    assert read_magica(type="dropdown", config={key: GROUPS}, options=[]).options == ABC


def test_a_text_with_items_is_not_a_select() -> None:
    """Only words that mean choices alone make one."""
    assert read_magica(type="text", items=["a"]).options == ()
    assert find_options({"options": "a,b", "config": {"choices": ["a"]}}) == ["a"]


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        ([{"label": str(n), "options": list(range(n * 1000, n * 1000 + 1000))} for n in range(3)], "has 3000 options"),
        ([{"label": "x", "options": ["y" * (MAX_TEXT_LENGTH + 1)]}], "one of its options is too long"),
    ],
)
def test_bounds_hold_below_headings_too(reported: Any, reason: str) -> None:
    """A heading must not hide what is too much."""
    assert MAX_OPTIONS < 3000
    with pytest.raises(AppUnsupported, match=reason):
        parse_options("app", reported)


def test_headings_without_end_make_their_app_unsupported() -> None:
    """The depth of untrusted object must not end in ours."""
    reported: Any = ["a"]
    for _ in range(400):
        reported = [{"label": "x" * 100, "options": reported}]
    with pytest.raises(AppUnsupported, match="lie too deep under headings"):
        parse_options("app", reported)
