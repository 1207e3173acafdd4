"""Show the options of a select input to clients, and find the one that an answer means.

An option's value is a stranger's text, so clients see it cleaned, and what they send is turned back into the
provider's own value. Pure.
"""

import json
import math
from dataclasses import dataclass
from itertools import chain
from typing import Final

from flowport.labels import clean_line
from flowport.model import Input, JsonValue, Option, Scalar
from flowport.naming import get_nearest

MAX_CHOICE_LENGTH: Final = 200
"""Characters of an option's value as it is shown."""

MAX_GIVEN_LENGTH: Final = 40
"""Characters of a value inside an error sentence."""

_MAX_LISTED: Final = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a select input as clients see it."""

    shown: Scalar
    """The cleaned value; all choices of an input have one JSON type."""
    option: Option


def get_choice_type(item: Input) -> str:
    """Return the JSON type that shows every option: "boolean", "number", else "string", which other values have too."""
    if item.is_open:
        return "string"
    types = {_get_scalar_type(option.value) for option in item.options}
    return types.pop() if len(types) == 1 else "string"


def build_choices(item: Input) -> tuple[Choice, ...]:
    """Return the options as clients see them, in the provider's order; two of them may look the same."""
    if get_choice_type(item) != "string":
        return tuple(Choice(option.value, option) for option in item.options)
    return tuple(
        Choice(clean_line(format_scalar(option.value), limit=MAX_CHOICE_LENGTH), option) for option in item.options
    )


def format_scalar(value: Scalar) -> str:
    """Return a value as one would type it: true, 2 for 2.0, text as it is."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def format_choices(choices: tuple[Choice, ...]) -> str:
    """Return the first few choices as the end of "It takes"."""
    shown = [_format_shown(choice) for choice in choices[:_MAX_LISTED]]
    rest = len(choices) - len(shown)
    return f"one of {', '.join(shown)}" + (f" and {rest} more" if rest else "")


def find_option(choices: tuple[Choice, ...], given: Scalar) -> Option | None:
    """Return the option that is meant, by value, as shown, by label or but for case; None when it is not plain."""
    own = (choice.option for choice in choices if is_same(choice.option.value, given))
    shown = (choice.option for choice in choices if is_same(choice.shown, given))
    exact = next(chain(own, shown), None)
    if exact is not None:
        return exact
    text = format_scalar(given)
    readings = ((fold, read) for fold in (str, _fold) for read in (_read_value, _read_label))
    for fold, read_text in readings:
        near = [choice.option for choice in choices if fold(read_text(choice)) == fold(text)]
        # A label that several options share names none of them.
        if near and all(is_same(option.value, near[0].value) for option in near):
            return near[0]
    return None


def _read_value(choice: Choice) -> str:
    return format_scalar(choice.option.value)


def _read_label(choice: Choice) -> str:
    return clean_line(choice.option.label)


def _fold(text: str) -> str:
    return clean_line(text, limit=MAX_CHOICE_LENGTH).casefold()


def format_suggestion(choices: tuple[Choice, ...], given: Scalar) -> str:
    """Return " Did you mean ...?" with the nearest choice; empty when none is near."""
    shown = {_read_label(choice): choice for choice in reversed(choices)}
    shown |= {_read_value(choice): choice for choice in reversed(choices)}
    nearest = get_nearest(format_scalar(given), shown)
    if not nearest:
        return ""
    return f" Did you mean {_format_shown(shown[nearest[0]])}?"


def _format_shown(choice: Choice) -> str:
    return clean_line(format_scalar(choice.shown), limit=MAX_GIVEN_LENGTH) or '""'


def is_same(one: JsonValue, other: JsonValue) -> bool:
    """Tell whether two values are equal in JSON."""
    # Python holds True to be 1; JSON does not.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _get_scalar_type(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) and abs(value) < math.inf else "string"
