"""Turn an app's definition into the tool that clients see.

Pure. Every tool list has every schema, so each byte counts: a label appears once, a hint only where the type does not say
it. The result uses the few JSON Schema keywords that all clients understand: one root
object with at least one named property, no combinators, no references, no formats, no `additionalProperties` (arguments
are checked here anyway, and some clients refuse the keyword), and enums of strings alone.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flowport.catalog.names import is_said_by
from flowport.catalog.readings import Choice, build_choices, describe_choice, format_scalar, is_same, is_yes_or_no
from flowport.catalog.values import (
    find_flaw,
    get_bounds,
    get_default,
    get_inputs,
    get_max_items,
    get_max_length,
    parse_value,
)
from flowport.domain.errors import AppUnsupported
from flowport.domain.models import MAX_INPUTS, App, Input, InputKind, JsonValue
from flowport.domain.text import clean_line, clean_text, format_quoted

_MAX_ENUM_OPTIONS: Final = 100
_MAX_ENUM_BYTES: Final = 2048
_MAX_EXAMPLES: Final = 5
_MAX_OPTION_LABELS_LENGTH: Final = 260
_SEE_ALL: Final = "; find_apps with this tool's name lists all"
_MAX_DEFAULT_LENGTH: Final = 200
_MAX_WORDS_LENGTH: Final = 400
_MAX_ADVICE_LENGTH: Final = 200
_MAX_EXAMPLE_LENGTH: Final = 100
_EXAMPLE: Final = re.compile(r"(?:e\.?\s?g\b|for example|for instance|ex\.|example|such as|like)", re.IGNORECASE)
_SENTENCE_ENDS: Final = (".", "?", "!", ":", "…")
_MINUTE_FROM_SECONDS: Final = 90
NEW_RUN: Final = "new_run"
"""The argument that pays for another run although an equal one exists. An app without inputs lists it: several clients
refuse an object without a property."""

NEW_RUN_LABEL: Final = "true: pay for another run though an equal one is there"

_PROPERTY_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

_COLONS: Final = ":\uff1a "
"""No description begins with one of these: a client that parses schemas as YAML fails on it."""

_TYPES: Final = {InputKind.NUMBER: "number", InputKind.BOOLEAN: "boolean"}
_HINTS: Final = {
    InputKind.IMAGE: "Image path, URL, run:ID#1 or last",
    InputKind.VIDEO: "Video path, URL, run:ID#1 or last",
    InputKind.AUDIO: "Audio path, URL, run:ID#1 or last",
    InputKind.AVMEDIA: "Video or audio path, URL, run:ID#1 or last",
    InputKind.MEDIA: "File path, URL, run:ID#1 or last",
    InputKind.ANY: "Text or JSON",
}


def build_tool(
    app: App,
    *,
    tool_name: str,
    property_names: Mapping[str, str],
    provider_title: str,
    usual_seconds: float | None = None,
    title_prefix: str = "",
) -> dict[str, Any]:
    """Return the MCP tool of an app, ready for the wire, its keys always in the same order.

    Args:
        app: Its definition must have been read.
        tool_name: From `names.build_tool_name`.
        property_names: The name of each input by its id.
        provider_title: The provider's name as people write it inside a sentence.
        usual_seconds: How long a run of this app usually takes; None when unknown.
        title_prefix: Put before the app's name in the title.

    Raises:
        AppUnsupported: No valid tool can be made of the definition.
    """
    inputs = get_inputs(app)
    _check_inputs(app, inputs, property_names)
    app_name = clean_line(app.name) or tool_name
    usual = _format_usual(usual_seconds)
    return {
        "name": tool_name,
        "title": clean_line(title_prefix + app_name),
        "description": f"{_format_price(app.price_credits)}, {usual}. "
        f"Runs the app {format_quoted(app_name)} of {provider_title}.",
        "inputSchema": _build_input_schema(inputs, property_names),
        "annotations": {"destructiveHint": False},
    }


def _check_inputs(app: App, inputs: tuple[Input, ...], property_names: Mapping[str, str]) -> None:
    names = [property_names.get(item.id, "") for item in inputs]
    reasons = {
        f"it has {len(inputs)} inputs and {MAX_INPUTS} are the most": len(inputs) > MAX_INPUTS,
        "two of its inputs have the same id": _has_repeats(item.id for item in inputs),
        "two of its inputs have the same key": _has_repeats(item.run_key for item in inputs),
        "two of its arguments have the same name": _has_repeats(names),
        "one of its keys or options cannot be written as JSON": any(map(_has_flaw, inputs)),
        "one of its arguments has no usable name": not all(map(_PROPERTY_NAME.fullmatch, names)),
    }
    reason = next((reason for reason, is_so in reasons.items() if is_so), "")
    if reason:
        raise AppUnsupported(clean_line(app.id), reason)


def _build_input_schema(inputs: tuple[Input, ...], property_names: Mapping[str, str]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {property_names[item.id]: _build_property(item, property_names[item.id]) for item in inputs}
        or {NEW_RUN: {"type": "boolean", "description": NEW_RUN_LABEL}},
    }
    required = [property_names[item.id] for item in inputs if item.is_required and get_default(item) is None]
    if required:
        schema["required"] = required
    return schema


def _build_property(item: Input, name: str) -> dict[str, Any]:
    choices = build_choices(item) if item.kind is InputKind.SELECT else ()
    is_boolean = bool(choices) and is_yes_or_no(item)
    enum = [] if item.is_open or is_boolean else _build_enum(choices)
    value: dict[str, Any] = {"type": "boolean" if is_boolean else _TYPES.get(item.kind, "string")}
    if item.kind is InputKind.TEXT and (longest := get_max_length(item)) is not None:
        value["maxLength"] = longest
    if enum:
        value["enum"] = enum
    if item.kind is InputKind.NUMBER:
        bounds = zip(("minimum", "maximum"), get_bounds(item), strict=True)
        value |= {word: _shorten(bound) for word, bound in bounds if bound is not None}
    schema: dict[str, Any] = {"type": "array", "items": value} if item.is_list else value
    if item.is_list and (most_items := get_max_items(item)) is not None:
        schema["maxItems"] = most_items
    own = _build_hint(item, choices, is_listed=bool(enum) or is_boolean)
    # The builder's text is cut first: the label and the hint are needed to fill the input in.
    room = max(_MAX_WORDS_LENGTH - len(clean_line(item.label)) - len(own) - 4, 0)
    hint = _join(clean_line(_build_advice(item, name), limit=room), own)
    return schema | _build_words(item.label, name, hint) | _build_default(item, choices)


def _build_hint(item: Input, choices: tuple[Choice, ...], *, is_listed: bool) -> str:
    if not choices:
        return _HINTS.get(item.kind, "")
    if is_listed:
        return _format_options(choices)
    return _format_suggestions(choices) if item.is_open else _format_examples(choices)


def _build_words(label: str, name: str, hint: str) -> dict[str, str]:
    # The label goes where it costs least: before an existing hint, else into the shorter keyword.
    words = clean_line(label).lstrip(_COLONS)
    if is_said_by(words, name):
        return {"description": hint} if hint else {}
    if not hint:
        return {"title": words}
    return {"description": _join(words, hint)}


def _join(*parts: str) -> str:
    """Return the parts one after the other, each a sentence of its own."""
    *others, last = [part for part in parts if part] or [""]
    return " ".join([*(part if part.endswith(_SENTENCE_ENDS) else f"{part}." for part in others), last])


def _build_advice(item: Input, name: str) -> str:
    """Return the builder's description and placeholder, where they say more than the label."""
    description = clean_line(item.description, limit=_MAX_ADVICE_LENGTH).lstrip(_COLONS)
    placeholder = clean_line(item.placeholder, limit=_MAX_EXAMPLE_LENGTH).lstrip(_COLONS)
    known = {clean_line(item.label).casefold()}
    advice = []
    for words, opening in ((description, ""), (placeholder, "E.g. ")):
        is_new = not is_said_by(words, name) and words.casefold().rstrip(".…") not in known
        if is_new:
            advice.append(words if not opening or _EXAMPLE.match(words) else f"{opening}{words}")
            known.add(words.casefold().rstrip(".…"))
    return _join(*advice)


def _build_enum(choices: tuple[Choice, ...]) -> list[str]:
    """Return the distinct values to choose from; empty when they are too many to list."""
    if len(choices) > _MAX_ENUM_OPTIONS:
        return []
    enum = list(dict.fromkeys(format_scalar(choice.shown) for choice in choices))
    return enum if len(json.dumps(enum, ensure_ascii=False).encode()) <= _MAX_ENUM_BYTES else []


def _format_options(choices: tuple[Choice, ...]) -> str:
    described = [(choice, describe_choice(choice)) for choice in choices]
    labels = ", ".join(text for choice, text in described if text != format_scalar(choice.shown))
    listed = clean_line(labels, limit=_MAX_OPTION_LABELS_LENGTH)
    if listed.startswith(tuple(_COLONS)):
        listed = f"One of {listed}"
    return listed + _SEE_ALL if len(labels) > _MAX_OPTION_LABELS_LENGTH else listed


def _format_examples(choices: tuple[Choice, ...]) -> str:
    examples = ", ".join(format_scalar(choice.shown) for choice in choices[:_MAX_EXAMPLES])
    return f"One of {len(choices)} options, such as {clean_line(examples)}{_SEE_ALL}"


def _format_suggestions(choices: tuple[Choice, ...]) -> str:
    examples = ", ".join(format_scalar(choice.shown) for choice in choices[:_MAX_EXAMPLES])
    return f"Such as {clean_line(examples)}, or another" + (_SEE_ALL if len(choices) > _MAX_EXAMPLES else "")


def _build_default(item: Input, choices: tuple[Choice, ...]) -> dict[str, JsonValue]:
    default = get_default(item)
    if item.is_list or default is None or parse_value(item, default) != default:
        return {}
    if choices:
        shown = next((choice.shown for choice in choices if is_same(choice.option.value, default)), None)
        return {} if shown is None else {"default": shown}
    if item.kind in _TYPES and isinstance(default, bool | int | float):
        return {"default": default if isinstance(default, bool) else _shorten(default)}
    # A number for an input of unknown type is left out: its schema says text.
    text = clean_text(default, limit=_MAX_DEFAULT_LENGTH + 1) if isinstance(default, str) else ""
    return {"default": text} if 0 < len(text) <= _MAX_DEFAULT_LENGTH else {}


def _shorten(number: float) -> float:
    return int(number) if number == int(number) else number


def _has_flaw(item: Input) -> bool:
    return any(map(find_flaw, [item.run_key, *(option.value for option in item.options)]))


def _has_repeats(values: Iterable[str]) -> bool:
    return any(n > 1 for n in Counter(values).values())


def _format_price(price_credits: float | None) -> str:
    if price_credits is None or not 0 <= price_credits < float("inf"):
        return "Price unknown"
    if price_credits == 0:
        return "Free"
    amount = f"{price_credits:.4f}".rstrip("0").rstrip(".")
    return f"{amount} credit" if amount == "1" else f"{amount} credits"


def _format_usual(usual_seconds: float | None) -> str:
    if usual_seconds is None:
        return "usually 10 s to 5 min"
    if usual_seconds < _MINUTE_FROM_SECONDS:
        return f"usually about {max(round(usual_seconds), 1)} s"
    return f"usually about {round(usual_seconds / 60)} min"
