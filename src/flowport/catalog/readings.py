"""Read values as people and spreadsheets write them: the options of a select input, numbers, yes or no. Pure.

An option's value is untrusted text, so clients see it cleaned, and what they send is mapped back to the provider's own
value. Numbers may be written `0,4`, `1.234,5` or `1 234`; an ambiguous number is returned as both readings, and the caller
refuses it and names them.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, count
from typing import Final, TypeAlias

from flowport.domain.models import Input, JsonValue, Option, Scalar
from flowport.domain.text import build_slug, clean_line, get_nearest

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
    """Return whether the options are true and false, so that a boolean says all about them."""
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
    return f"{shown}: {label}" if is_informative(label, shown) else shown


def is_informative(label: str, shown: str) -> bool:
    """Return whether a label says more than its value."""
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
    """Return whether no text is one of the options: builders spell "none" so."""
    return any(not clean_line(format_scalar(option.value)) for option in item.options)


def is_same(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two values are equal in JSON."""
    # Python holds True to be 1; JSON does not.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


MAX_NUMBER_LENGTH: Final = 400
_MAX_LENGTH: Final = 1000

_PLAIN: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WITH_COMMA: Final = re.compile(r"(?P<sign>[+-]?)(?P<whole>\d*),(?P<part>\d+)(?P<power>(?:[eE][+-]?\d+)?)", re.ASCII)
_GROUPED: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[1-9]\d{0,2}(?:(?P<mark>[., '])\d{3})(?:(?P=mark)\d{3})*)(?:(?P<point>[.,])(?P<part>\d*))?",
    re.ASCII,
)
_SPACES: Final = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " ")
_LIKE_ASCII: Final = {
    **_SPACES,
    ord("\u2212"): "-",
    ord("\u2019"): "'",
    ord("\uff0e"): ".",
    ord("\uff0c"): ",",
    ord("\uff0d"): "-",
    ord("\uff0b"): "+",
    # As keyboards for Chinese and Japanese write them.
    **{0xFF10 + digit: str(digit) for digit in range(10)},
}
_QUOTES: Final = {'"': '"', "'": "'", "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c"}

_YES: Final = frozenset(
    {
        *("true", "t", "yes", "y", "on", "1", "1.0", "1,0", "enabled", "checked", "\u2713", "\u2714"),
        *("wahr", "ja", "vrai", "oui", "verdadero", "s\u00ed", "vero", "verdadeiro", "sim", "waar"),
        *(
            "prawda",
            "tak",
            "pravda",
            "ano",
            "igaz",
            "igen",
            "do\u011fru",
            "evet",
            "sant",
            "sand",
            "sann",
            "tosi",
            "adev\u0103rat",
        ),
        *("\u0434\u0430", "\u0438\u0441\u0442\u0438\u043d\u0430", "\u306f\u3044", "\u662f", "\u771f"),
    }
)
_NO: Final = frozenset(
    {
        *("false", "f", "no", "n", "off", "0", "0.0", "0,0", "disabled", "unchecked", "\u2717", "\u2718"),
        *("falsch", "nein", "faux", "non", "falso", "n\u00e3o", "onwaar", "nee"),
        *(
            "fa\u0142sz",
            "nie",
            "nepravda",
            "ne",
            "hamis",
            "nem",
            "yanl\u0131\u015f",
            "yanli\u015f",
            "hay\u0131r",
            "falskt",
            "falsk",
        ),
        *("usann", "ep\u00e4tosi", "fals", "nej", "nei"),
        *("\u043d\u0435\u0442", "\u043b\u043e\u0436\u044c", "\u3044\u3044\u3048", "\u5426", "\u5047"),
    }
)
"""In the languages of spreadsheets, which write their own words for true and false."""


@dataclass(frozen=True, slots=True)
class TwoReadings:
    """The two readings of an ambiguous number."""

    first: str
    second: str


Reading: TypeAlias = "int | float | TwoReadings | None"


def read_number(text: str) -> Reading:
    """Return the number in a text, both readings of an ambiguous one, or None."""
    if len(text) > _MAX_LENGTH:
        return None
    written = _unwrap(text).translate(_LIKE_ASCII)
    if len(written) > MAX_NUMBER_LENGTH:
        return None
    if _PLAIN.fullmatch(written):
        return _parse(written)
    if found := _WITH_COMMA.fullmatch(written):
        decimal = f"{found['sign']}{found['whole'] or '0'}.{found['part']}{found['power']}"
        # Three digits behind a comma may be thousands, unless the part before it cannot start a grouped number.
        is_group = len(found["part"]) == 3 and not found["power"] and re.fullmatch(r"[1-9]\d{0,2}", found["whole"])  # noqa: PLR2004 - a group has three
        return TwoReadings(f"{found['sign']}{found['whole']}{found['part']}", decimal) if is_group else _parse(decimal)
    if (found := _GROUPED.fullmatch(written)) and found["mark"] != found["point"]:
        whole = re.sub(r"\D", "", found["whole"])
        return _parse(f"{found['sign']}{whole}" + (f".{found['part']}" if found["point"] else ""))
    return None


def read_flag(text: str) -> bool | None:
    """Return whether a word means yes or no; None when it means neither."""
    word = _unwrap(text[:_MAX_LENGTH]).casefold()
    return True if word in _YES else False if word in _NO else None


def _unwrap(text: str) -> str:
    written = text.strip()
    if len(written) > 1 and _QUOTES.get(written[0]) == written[-1]:
        return written[1:-1].strip()
    # One apostrophe before it, by which a spreadsheet keeps a cell as text.
    return written.removeprefix("'") if written.count("'") == 1 else written


def _parse(digits: str) -> int | float:
    return int(digits) if digits.lstrip("+-").isdigit() else float(digits)
