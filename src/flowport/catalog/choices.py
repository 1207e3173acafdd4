"""Show the options of a select input to clients, and find the one that an answer means.

An option's value is untrusted text, so clients see it cleaned, and what they send is mapped back to the provider's own
value. Pure.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, count
from typing import Final

from flowport.catalog.names import build_slug
from flowport.domain.models import Input, JsonValue, Option, Scalar
from flowport.domain.text import clean_line, get_nearest

MAX_CHOICE_LENGTH: Final = 200
"""Characters of an option's value as it is shown."""

MAX_GIVEN_LENGTH: Final = 40
"""Characters of a value inside an error sentence."""

_MAX_LISTED: Final = 8
_EMPTY_SPELLINGS: Final = ("none", "empty", "(none)", "(empty)")
"""Names of an option without visible text, unless its label or another option has the word."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a select input as clients see it."""

    shown: Scalar
    """The cleaned value: text that is not empty, or a boolean where the options are true and false."""
    option: Option


def is_yes_or_no(item: Input) -> bool:
    """Tell whether the options are true and false, so that a boolean says all about them."""
    values = [option.value for option in item.options]
    return not item.is_open and all(isinstance(value, bool) for value in values) and set(values) == {True, False}


def build_choices(item: Input) -> tuple[Choice, ...]:
    """Return the options as clients see them, in the provider's order; two of them may look the same.

    Options that are true and false stay booleans. All others become text that is not empty: several clients refuse a
    tool whose enum holds anything else.
    """
    if is_yes_or_no(item):
        return tuple(Choice(option.value, option) for option in item.options)
    shown = [clean_line(format_scalar(option.value), limit=MAX_CHOICE_LENGTH) for option in item.options]
    labels = [clean_line(option.label) for option in item.options]
    spelled: dict[Scalar, str] = {}
    for text, label, option in zip(shown, labels, item.options, strict=True):
        if not text and option.value not in spelled:
            others = (one for one, owner in zip(labels, item.options, strict=True) if owner.value != option.value)
            taken = {word.casefold() for word in (*shown, *others, *spelled.values())}
            spelled[option.value] = _spell_empty(label, taken)
    return tuple(
        Choice(text or spelled[option.value], option) for text, option in zip(shown, item.options, strict=True)
    )


def _spell_empty(label: str, taken: Collection[str]) -> str:
    """Return a word for an option without visible text: its label, else a neutral one."""
    return next(word for word in _iterate_spellings(label) if word and word.casefold() not in taken)


def _iterate_spellings(label: str) -> Iterator[str]:
    yield from (label, *_EMPTY_SPELLINGS)
    yield from (f"(empty {n})" for n in count(2))


def format_scalar(value: Scalar) -> str:
    """Return a value as one would type it: true, 2 for 2.0, text as it is."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def format_choices(choices: tuple[Choice, ...]) -> str:
    """Return the first few choices as the end of "It takes"."""
    shown = [_format_shown(choice) for choice in choices[:_MAX_LISTED]]
    rest = len(choices) - len(shown)
    return f"one of {', '.join(shown)}" + (f" and {rest} more, which find_apps lists" if rest else "")


def describe_choice(choice: Choice) -> str:
    """Return a choice with its label, `v1: Rachel`; without it where it only respells the value."""
    shown, label = format_scalar(choice.shown), clean_line(choice.option.label)
    return f"{shown}: {label}" if is_telling(label, shown) else shown


def is_telling(label: str, shown: str) -> bool:
    """Tell whether a label says more than its value."""
    slug = build_slug(label)
    return bool(label) and label.casefold() != shown.casefold() and not (slug and slug == build_slug(shown))


def find_option(choices: tuple[Choice, ...], given: Scalar) -> Option | None:
    """Return the option that is meant, by value, as shown, by label or ignoring case; None when it is ambiguous."""
    own = (choice.option for choice in choices if is_same(choice.option.value, given))
    shown = (choice.option for choice in choices if is_same(choice.shown, given))
    exact = next(chain(own, shown), None)
    if exact is not None:
        return exact
    text = format_scalar(given)
    readings = (
        (fold, read) for fold in (str, _fold) for read in (_read_value, _read_shown, _read_label, describe_choice)
    )
    for fold, read_text in readings:
        near = [choice.option for choice in choices if fold(read_text(choice)) == fold(text)]
        # A label that several options share names none of them.
        if near and all(is_same(option.value, near[0].value) for option in near):
            return near[0]
    return None


def _read_value(choice: Choice) -> str:
    return format_scalar(choice.option.value)


def _read_shown(choice: Choice) -> str:
    return format_scalar(choice.shown)


def _read_label(choice: Choice) -> str:
    return clean_line(choice.option.label)


def _fold(text: str) -> str:
    return clean_line(text, limit=MAX_CHOICE_LENGTH).casefold()


def format_suggestion(choices: tuple[Choice, ...], given: Scalar) -> str:
    """Return " Did you mean ...?" with the nearest choice; empty when none is near."""
    shown = {_read_label(choice): choice for choice in reversed(choices)}
    shown |= {_read_shown(choice): choice for choice in reversed(choices)}
    shown |= {_read_value(choice): choice for choice in reversed(choices)}
    nearest = get_nearest(format_scalar(given), shown)
    if not nearest:
        return ""
    return f" Did you mean {_format_shown(shown[nearest[0]])}?"


def _format_shown(choice: Choice) -> str:
    return clean_line(format_scalar(choice.shown), limit=MAX_GIVEN_LENGTH)


def has_empty_choice(item: Input) -> bool:
    """Tell whether no text is one of the options: builders spell "none" so."""
    return any(not clean_line(format_scalar(option.value)) for option in item.options)


def is_same(one: JsonValue, other: JsonValue) -> bool:
    """Tell whether two values are equal in JSON."""
    # Python holds True to be 1; JSON does not.
    return one == other and isinstance(one, bool) == isinstance(other, bool)
