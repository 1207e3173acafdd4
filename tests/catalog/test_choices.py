"""Options of a select input, shown and found again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.catalog.readings import (
    build_choices,
    find_option,
    format_choices,
    format_scalar,
    format_suggestion,
    is_same,
)
from flowport.domain.models import Input, InputKind, Option, Scalar
from tests.support.app_builders import OPTIONS, build_select


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1, 2.5), ["1", "2.5"]),
        ((1, "b", True), ["1", "b", "true"]),
        ((True, False), [True, False]),
        ((True,), ["true"]),
        (("", "a"), ["none", "a"]),
        (("none", " ", "a"), ["none", "empty", "a"]),
        (("none", "empty", "(none)", "(empty)", ""), ["none", "empty", "(none)", "(empty)", "(empty 2)"]),
        (("", ""), ["none", "none"]),
    ],
)
def test_options_are_shown_as_text_that_is_not_empty(values: tuple[Scalar, ...], shown: list[Scalar]) -> None:
    """Clients that hand schemas to Gemini refuse every other enum (sbroenne/mcp-server-excel#607)."""
    labels = ("",) * len(values)
    assert [choice.shown for choice in build_choices(build_select(*values, labels=labels))] == shown


@pytest.mark.parametrize("value", [2, "2", 2.5, True, "", " ", "a\u200b"])
def test_what_is_sent_keeps_the_type_of_its_option(value: Scalar) -> None:
    """The provider compares with its own values; each is found by what the schema shows and by itself."""
    choices = build_choices(build_select(value, "other", labels=("", "")))
    for sent in (choices[0].shown, value):
        option = find_option(choices, sent)
        assert option is not None
        assert is_same(option.value, value)


def test_an_option_that_is_empty_is_called_by_its_label() -> None:
    """Unless another option is called so, which would be chosen instead."""
    choices = build_choices(build_select("", "auto", labels=("Auto", "Automatic")))
    assert [choice.shown for choice in choices] == ["none", "auto"]
    choices = build_choices(build_select("", "a", labels=("Nothing", "A")))
    assert [choice.shown for choice in choices] == ["Nothing", "a"]


@pytest.mark.parametrize(
    ("values", "labels", "sent", "value"),
    [
        ((2, 4), (), "2", 2),
        (("2", "4"), (), 2, "2"),
        (("2", "4"), (), 2.0, "2"),
        ((2, "2"), (), "2", "2"),
        ((1, True), (), True, True),
        ((True, False), (), "True", True),
        (("w", "c"), ("Warm", "Cold"), "Warm", "w"),
        (("w", "c"), ("Warm", "Cold"), " warm ", "w"),
        (("a", "A"), (), "A", "A"),
        (("b", "a"), ("a", "b"), "a", "a"),
        (("x\u200b",), (), "x", "x\u200b"),
        (("l" * 300,), (), "l" * 199 + "…", "l" * 300),
    ],
)
def test_an_option_is_found_by_value_text_or_label(
    values: tuple[Scalar, ...], labels: tuple[str, ...], sent: Scalar, value: Scalar
) -> None:
    """Clients send numbers as text and copy the label that they see; the provider gets its own value."""
    option = find_option(build_choices(build_select(*values, labels=labels)), sent)
    assert option is not None
    assert is_same(option.value, value)


@pytest.mark.parametrize(
    ("values", "labels", "sent"), [(("a", "b"), ("Same", "Same"), "Same"), (("a", "A"), (), " a "), (("a",), (), "z")]
)
def test_what_could_mean_several_options_means_none(
    values: tuple[Scalar, ...], labels: tuple[str, ...], sent: Scalar
) -> None:
    """A guess would spend credits on the wrong picture."""
    assert find_option(build_choices(build_select(*values, labels=labels)), sent) is None


def test_a_shared_label_of_one_value_still_names_it() -> None:
    """Builders repeat options; the meaning is still clear."""
    option = find_option(build_choices(build_select("a", "a", labels=("Same", "Same"))), "same")
    assert option == Option("a", "Same")


def test_the_nearest_choice_is_suggested_as_it_is_shown() -> None:
    """The model should be able to copy it."""
    choices = build_choices(build_select("w", "", labels=("Warm", "Nothing")))
    hints = [format_suggestion(choices, given) for given in ("wram", "nothin", "zzz")]
    assert hints == [" Did you mean w?", " Did you mean Nothing?", ""]


def test_a_long_choice_is_shown_by_its_first_options() -> None:
    """An error sentence must stay readable."""
    assert (
        format_choices(build_choices(build_select(*range(10))))
        == "one of 0, 1, 2, 3, 4, 5, 6, 7 and 2 more, which find_apps lists"
    )


@pytest.mark.parametrize(("value", "text"), [("a ", "a "), (2.0, "2"), (0.5, "0.5"), (True, "true")])
def test_a_value_is_written_as_one_would_type_it(value: Scalar, text: str) -> None:
    """Two spellings of one number are one option."""
    assert format_scalar(value) == text


@given(st.lists(OPTIONS, min_size=1, max_size=6))
@settings(deadline=None, max_examples=200)
def test_every_choice_that_is_shown_can_be_sent_back(options: list[Option]) -> None:
    """An enum value that is refused would leave the model no way out."""
    item = Input("id", "key", InputKind.SELECT, "", is_required=False, options=tuple(options))
    choices = build_choices(item)
    assert len({type(choice.shown) for choice in choices}) <= 1
    assert all(choice.shown != "" for choice in choices)
    assert all(find_option(choices, choice.shown) is not None for choice in choices)
