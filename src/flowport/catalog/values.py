"""Coerce one value to what an input accepts, or say what is wrong with it. Pure.

Clients send "0.5" for 0.5, "true" for true and a label for an option; what can only mean one thing is accepted. Schemas and
arguments both use this module.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from flowport.catalog.readings import (
    MAX_GIVEN_LENGTH,
    Choice,
    TwoReadings,
    build_choices,
    find_option,
    format_choices,
    format_scalar,
    format_suggestion,
    is_yes_or_no,
    read_flag,
    read_number,
)
from flowport.domain.errors import AppUnsupported
from flowport.domain.models import App, Input, InputKind, JsonValue, Option, Scalar
from flowport.domain.text import clean_line, format_quoted

MAX_TEXT_BYTES: Final = 200_000
"""The longest text of an input whose app names no longest length."""

MAX_ITEMS: Final = 10_000
"""The longest list or object of one argument; a batch has 2,000 rows at most."""

MAX_NESTING: Final = 32
"""Lists and objects inside each other; deeper values are refused before they can exhaust a stack."""

_MAX_BOUND: Final = 2**31
"""Of lengths; what is above it bounds nothing that could be sent, and not every reader of JSON can carry it."""
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
_OUT_OF_RANGE: Final = "was given a number that JSON cannot carry"
_FILE_FORMS: Final = 'a path, an https URL, a data URI, run:ID#1 of a run, or "last"'
_NOUNS: Final = {
    InputKind.IMAGE: f"an image ({_FILE_FORMS})",
    InputKind.VIDEO: f"a video ({_FILE_FORMS})",
    InputKind.AUDIO: f"a sound ({_FILE_FORMS})",
    InputKind.AVMEDIA: f"a video or a sound ({_FILE_FORMS})",
    InputKind.MEDIA: f"a file ({_FILE_FORMS})",
    InputKind.TEXT: "text",
    InputKind.BOOLEAN: "true or false",
    InputKind.SELECT: "text",
    InputKind.ANY: "text or JSON",
}


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """Why a value does not fit an input."""

    problem: str
    """The end of a sentence that begins with the argument's name, with the beginning of the value."""
    expected: str
    """What would fit, as one or two sentences; empty when the problem says it."""


Parsed: TypeAlias = "JsonValue | InvalidValue"
"""What the provider is sent, or why nothing can be."""


def parse_value(item: Input, value: JsonValue) -> Parsed:
    """Return the value as the provider wants it: a list where the input takes several, an option's own value."""
    flaw = find_flaw(value)
    if flaw:
        return InvalidValue(flaw, format_expected(item))
    return _parse_list(item, value) if item.is_list else _parse_single(item, value)


def find_flaw(value: JsonValue, depth: int = 0) -> str:
    """Return why no request could carry the value, as the end of a sentence; empty when one can."""
    match value:
        case None | bool():
            return ""
        case int() | float():
            return "" if _is_finite(value) else _OUT_OF_RANGE
        case str():
            return "was given text with a broken character" if _HALF_CHARACTER.search(value) else ""
        case list() | dict():
            if depth == MAX_NESTING:
                return "was given a value that is nested too deeply"
            if len(value) > MAX_ITEMS:
                return f"was given {len(value):,} items"
            parts = value if isinstance(value, list) else [*value, *value.values()]
            return next(filter(None, (find_flaw(part, depth + 1) for part in parts)), "")
        case _ as never:
            assert_never(never)


def get_default(item: Input) -> JsonValue:
    """Return what is sent when nothing is given; None for nothing.

    A default that does not fit the input is left to the provider, which knows it: if sent, it would be refused.
    """
    if item.default in (None, "", []) or find_flaw(item.default):
        return None
    # Start requests accept text and numbers; anything else is sent only when a caller gives it.
    if item.kind.is_media and not item.is_list and not isinstance(item.default, str):
        return None  # JSON from a caller wraps one file; JSON from a provider may be anything.
    parsed = parse_value(item, item.default)
    if isinstance(parsed, InvalidValue) or (item.kind is InputKind.ANY and not _is_sendable_default(item, parsed)):
        return None
    return parsed


def _is_sendable_default(item: Input, parsed: JsonValue) -> bool:
    """Return whether a default of any type is text or a number, or a list of them where the input takes several."""
    parts = parsed if item.is_list and isinstance(parsed, list) else [parsed]
    return not any(isinstance(part, bool | list | dict) for part in parts)


def get_bounds(item: Input) -> tuple[float | None, float | None]:
    """Return the inclusive bounds that can hold: finite ones, and none when they contradict each other."""
    low, high = (bound if bound is not None and _is_finite(bound) else None for bound in (item.minimum, item.maximum))
    return (None, None) if low is not None and high is not None and low > high else (low, high)


def get_max_length(item: Input) -> int | None:
    """Return the most characters of a text; None where there is no such bound, or an impossible one."""
    return item.max_length if item.max_length is not None and 0 < item.max_length < _MAX_BOUND else None


def get_max_items(item: Input) -> int | None:
    """Return the most values of a list; None where there is no such bound, or an impossible one."""
    return item.max_items if item.max_items is not None and 0 < item.max_items < _MAX_BOUND else None


def format_expected(item: Input) -> str:
    """Return what an input takes, as a sentence."""
    noun = _format_noun(item)
    return f"It takes a list, each item {noun}." if item.is_list else f"It takes {noun}."


def _format_noun(item: Input) -> str:
    if item.kind is InputKind.NUMBER:
        return _format_range(*get_bounds(item))
    if item.kind is InputKind.SELECT and item.options:
        return format_choices(build_choices(item)) + (", or other text" if item.is_open else "")
    longest = get_max_length(item) if item.kind is InputKind.TEXT else None
    return _NOUNS[item.kind] if longest is None else f"text of at most {longest} characters"


def _format_range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"a number from {format_scalar(low)} to {format_scalar(high)}"
    if low is not None:
        return f"a number of at least {format_scalar(low)}"
    if high is not None:
        return f"a number of at most {format_scalar(high)}"
    return "a number"


def _parse_single(item: Input, value: JsonValue) -> Parsed:
    if isinstance(value, str) and _is_too_long(item, value):
        problem = f"was given {len(value):,} characters"
        return InvalidValue(problem, f"{format_expected(item)} It takes at most {MAX_TEXT_BYTES // 1000} kB of text.")
    return _parse_kind(item, value)


def _parse_kind(item: Input, value: JsonValue) -> Parsed:
    match item.kind:
        case InputKind.IMAGE | InputKind.VIDEO | InputKind.AUDIO | InputKind.AVMEDIA | InputKind.MEDIA:
            return _parse_media(item, value)
        case InputKind.TEXT:
            return _parse_text(item, value)
        case InputKind.NUMBER:
            return _parse_number(item, value)
        case InputKind.BOOLEAN:
            return _parse_boolean(item, value)
        case InputKind.SELECT:
            return _parse_option(item, value) if item.options else _parse_text(item, value)
        case InputKind.ANY:
            parsed = _parse_sendable(value)
            return value if parsed is None else parsed
        case _ as never:
            assert_never(never)


def _is_too_long(item: Input, text: str) -> bool:
    """Return whether a text is longer than any input needs whose app names no longest length. Files inside a call are not."""
    is_text = not item.kind.is_media and get_max_length(item) is None
    return is_text and len(text) > MAX_TEXT_BYTES // 4 and len(text.encode()) > MAX_TEXT_BYTES


def _parse_list(item: Input, value: JsonValue) -> Parsed:
    decoded = _parse_sendable(value) if isinstance(value, str) else value
    parts = decoded if isinstance(decoded, list) else [value]
    most = get_max_items(item)
    if most is not None and len(parts) > most:
        return InvalidValue(f"was given {len(parts)} items", f"It takes at most {most}.")
    parsed: list[JsonValue] = []
    for n, part in enumerate(parts, 1):
        single = _parse_single(item, part)
        if isinstance(single, InvalidValue):
            return InvalidValue(f"{single.problem} as item {n}", single.expected)
        parsed.append(single)
    return parsed


def _parse_media(item: Input, value: JsonValue) -> Parsed:
    text = unwrap_file(value)
    if text is None:
        return _refuse_type(item, value)
    return text if text.strip() else InvalidValue("was given empty text", format_expected(item))


def _parse_text(item: Input, value: JsonValue) -> Parsed:
    if value is None or isinstance(value, list | dict):
        return _refuse_type(item, value)
    # A number keeps the form it came in: 5.0 may be a version.
    text = value if isinstance(value, str) else json.dumps(value)
    longest = get_max_length(item) if item.kind is InputKind.TEXT else None
    if longest is not None and len(text) > longest:
        return InvalidValue(f"was given {len(text)} characters", format_expected(item))
    return text


def _parse_number(item: Input, value: JsonValue) -> Parsed:
    number = read_number(value) if isinstance(value, str) else value
    if isinstance(number, TwoReadings):
        problem = f"was given {format_quoted(str(value), limit=MAX_GIVEN_LENGTH)}, which can mean two numbers"
        return InvalidValue(problem, f"{format_expected(item)} Write {number.first} or {number.second}.")
    if isinstance(number, bool) or not isinstance(number, int | float):
        return _refuse_type(item, value)
    if not _is_finite(number):
        return InvalidValue(_OUT_OF_RANGE, format_expected(item))
    low, high = get_bounds(item)
    if (low is not None and number < low) or (high is not None and number > high):
        given = clean_line(format_scalar(number), limit=MAX_GIVEN_LENGTH)
        return InvalidValue(f"was given {given}", format_expected(item))
    return number


def _parse_boolean(item: Input, value: JsonValue) -> Parsed:
    if isinstance(value, str):
        flag = read_flag(value)
        return _refuse_type(item, value) if flag is None else flag
    return bool(value) if value in (0, 1) else _refuse_type(item, value)


def _parse_option(item: Input, value: JsonValue) -> Parsed:
    if value is None or isinstance(value, list | dict):
        return _refuse_type(item, value)
    choices = build_choices(item)
    option = find_option(choices, value) or _find_option_as_written(item, choices, value)
    if option is not None:
        return option.value
    if item.is_open and value != "":
        return value
    given = format_quoted(format_scalar(value), limit=MAX_GIVEN_LENGTH)
    return InvalidValue(f"was given {given}", format_expected(item) + format_suggestion(choices, value))


def _find_option_as_written(item: Input, choices: tuple[Choice, ...], value: Scalar) -> Option | None:
    """Return the option that a number or a word for yes or no means, as people write them; None for none."""
    if not isinstance(value, str):
        return None
    if is_yes_or_no(item):
        flag = read_flag(value)
        return None if flag is None else find_option(choices, flag)
    number = read_number(value)
    return None if number is None or isinstance(number, TwoReadings) else find_option(choices, number)


def _refuse_type(item: Input, value: JsonValue) -> InvalidValue:
    match value:
        case None:
            given = "null"
        case str():
            given = format_quoted(value, limit=MAX_GIVEN_LENGTH)
        case bool() | int() | float():
            given = clean_line(format_scalar(value), limit=MAX_GIVEN_LENGTH)
        case list():
            given = f"a list ({_format_json(value)})" if value else "an empty list"
        case dict():
            given = f"an object ({_format_json(value)})" if value else "an empty object"
        case _ as never:
            assert_never(never)
    return InvalidValue(f"was given {given}", format_expected(item))


def _format_json(value: JsonValue) -> str:
    return clean_line(json.dumps(value, ensure_ascii=False), limit=MAX_GIVEN_LENGTH)


def _is_finite(number: float) -> bool:
    # math.isfinite raises on an integer beyond the floats; comparing is exact.
    return abs(number) <= sys.float_info.max


MAX_DEPTH: Final = 6

_NAMES: Final = frozenset(
    {
        *("url", "uri", "href", "src", "link", "path", "file", "file_path", "filepath", "filename", "local_path"),
        *("image", "image_url", "image_path", "photo", "picture", "video", "video_url", "audio", "audio_url"),
        *("source", "media", "value", "input", "content", "data", "base64", "blob"),
        *("file_uri", "fileuri", "file_url", "fileurl", "imageurl", "inline_data", "inlinedata", "resource"),
    }
)
_TYPES: Final = ("mimetype", "mime_type", "media_type", "mediatype", "content_type")


def unwrap_file(value: JsonValue, depth: int = 0) -> str | None:
    """Return the text that names the only file of a value; None where it names none or several."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, str):
        inner = _parse_container(value)
        found = None if inner is None else unwrap_file(inner, depth + 1)
        # Text that wraps nothing is a name, however odd.
        return value if found is None else found
    if isinstance(value, list):
        named = [one for one in value if one not in (None, "", [], {})]
        return unwrap_file(named[0], depth + 1) if len(named) == 1 else None
    return _unwrap_object(value, depth) if isinstance(value, dict) else None


def _unwrap_object(value: Mapping[str, JsonValue], depth: int) -> str | None:
    fields = {name.casefold(): one for name, one in value.items()}
    kind = next((fields[name] for name in _TYPES if isinstance(fields.get(name), str)), None)
    data = fields.get("data", fields.get("base64", fields.get("blob")))
    if isinstance(data, str) and isinstance(kind, str):
        return data if data.startswith("data:") else f"data:{kind};base64,{data}"
    named = [one for name, one in fields.items() if name in _NAMES and one]
    texts = {text for one in named if (text := unwrap_file(one, depth + 1))}
    return texts.pop() if len(texts) == 1 else None


def _parse_container(text: str) -> JsonValue:
    """Return the list or object that a text writes as JSON, or None. Quotes alone may belong to a name."""
    if not text.strip().startswith(("[", "{")):
        return None
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return None  # text that happens to begin like JSON
    return value


def _parse_sendable(value: JsonValue) -> JsonValue:
    """Return the list or object that a text writes as JSON, if a request could carry it; None for anything else."""
    parsed = _parse_container(value) if isinstance(value, str) else None
    return None if find_flaw(parsed) else parsed


def get_inputs(app: App) -> tuple[Input, ...]:
    """Return the inputs of an app whose definition has been read.

    Raises:
        AppUnsupported: It has not been read.
    """
    if app.inputs is None:
        raise AppUnsupported(clean_line(app.id), "its definition has not been read")
    return app.inputs
