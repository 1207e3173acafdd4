"""Laws that every listed tool keeps, whatever an app's definition contains.

Some client fails on a breach of each law. The limits are the lowest of the known clients and of the checks of the
protocol's conformance suite.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final, TypeAlias

import mcp.types as t
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import SchemaError

from flowport.catalog.arguments import build_provider_inputs, parse_arguments
from flowport.catalog.names import RESERVED_NAMES
from flowport.catalog.readings import Choice, build_choices, find_option
from flowport.catalog.values import get_default, get_inputs, parse_value
from flowport.domain.models import App, Input, InputKind
from flowport.domain.text import MAX_LABEL_LENGTH
from flowport.providers.magica.api import Magica
from flowport.providers.magica.inputs import split_input_id
from flowport.providers.magnific import STYLES
from flowport.providers.magnific.api import Magnific
from tests.support.definitions import HOSTILE_TEXTS

Tool: TypeAlias = Mapping[str, Any]

MAX_DESCRIPTION_BYTES: Final = 2048
MAX_WORDS_LENGTH: Final = 400
"""Characters of an argument's description: the label, and the labels of its options."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PROTOCOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PROPERTY: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_OPENING: Final = re.compile(r"(Price unknown|Free|[0-9.]+ credits?), usually [^.]+\. Runs the app \"[^\"]*\" of \w+\.")
_ROOT_WORDS: Final = {"type", "properties", "required"}
_WORDS: Final = {
    *("type", "items", "enum", "minimum", "maximum", "maxLength", "maxItems", "title", "description", "default"),
}
_ITEM_WORDS: Final = _WORDS - {"items", "maxItems", "title", "description", "default"}
_TYPES: Final[Mapping[str, Any]] = {"string": str, "number": (int, float), "boolean": bool, "array": list}
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_IGNORABLE: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]")


def find_breaches(tool: Tool) -> list[str]:
    """Return the names of the laws that a tool breaks."""
    return [law.__name__.strip("_") for law in _LAWS if not law(tool)]


def is_clean(text: str) -> bool:
    """Return whether the text has no invisible character; line feeds are allowed."""
    hidden = any(unicodedata.category(character) in _INVISIBLE for character in text if character != "\n")
    return not hidden and not _IGNORABLE.search(text)


def iterate_texts(value: Any) -> Iterator[str]:
    """Yield every text in a value of JSON, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from (key, *iterate_texts(part))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from iterate_texts(part)


def _iterate_properties(tool: Tool) -> Iterator[tuple[str, Any]]:
    yield from tool["inputSchema"]["properties"].items()


def _every_client_takes_the_name(tool: Tool) -> bool:
    name = tool["name"]
    return bool(_NAME.fullmatch(name) and _PROTOCOL_NAME.fullmatch(name)) and name not in RESERVED_NAMES


def _the_title_is_one_short_line(tool: Tool) -> bool:
    return _is_label(tool["title"])


def _the_description_opens_with_price_and_duration(tool: Tool) -> bool:
    description = tool["description"]
    return bool(_OPENING.fullmatch(description)) and len(description.encode()) <= MAX_DESCRIPTION_BYTES


def _the_root_is_a_plain_object(tool: Tool) -> bool:
    schema = tool["inputSchema"]
    required = schema.get("required", [])
    return (
        schema["type"] == "object"
        and schema.keys() <= _ROOT_WORDS
        and bool(schema["properties"])
        and set(required) <= schema["properties"].keys()
        and len(set(required)) == len(required)
        and ("required" not in schema or bool(required))
    )


def _arguments_use_few_plain_words(tool: Tool) -> bool:
    # No combinators, no references, no formats, no headers; every array has items, and nothing else has.
    return all(
        _PROPERTY.fullmatch(name)
        and schema.keys() <= _WORDS
        and schema["type"] in _TYPES
        and ("items" in schema) == (schema["type"] == "array")
        and schema.get("items", {}).keys() <= _ITEM_WORDS
        and schema.get("items", {"type": "string"})["type"] in _TYPES.keys() - {"array"}
        for name, schema in _iterate_properties(tool)
    )


def _words_are_short_lines(tool: Tool) -> bool:
    return all(
        _is_label(schema.get("title", "x"))
        and "\n" not in schema.get("description", "")
        and len(schema.get("description", "")) <= MAX_WORDS_LENGTH
        and not {"title", "description"} <= schema.keys()
        for _, schema in _iterate_properties(tool)
    )


def _choices_are_distinct_texts(tool: Tool) -> bool:
    for _, schema in _iterate_properties(tool):
        value = schema.get("items", schema)
        enum = value.get("enum", ["x"])
        is_text = value["type"] == "string" or "enum" not in value
        if not is_text or not all(isinstance(one, str) and one for one in enum) or not enum:
            return False
        if len(set(enum)) != len(enum):
            return False
    return True


def _no_description_begins_with_a_colon(tool: Tool) -> bool:
    return not any(
        schema.get("description", "").startswith((":", "\uff1a", " ")) for _, schema in _iterate_properties(tool)
    )


def _bounds_and_defaults_hold(tool: Tool) -> bool:
    return all(
        ("minimum" not in schema or "maximum" not in schema or schema["minimum"] <= schema["maximum"])
        and ("default" not in schema or Draft202012Validator(schema).is_valid(schema["default"]))
        for _, schema in _iterate_properties(tool)
    )


def _the_schema_is_valid_in_old_and_new_drafts(tool: Tool) -> bool:
    try:
        Draft202012Validator.check_schema(tool["inputSchema"])
        Draft7Validator.check_schema(tool["inputSchema"])
    except SchemaError:
        return False
    return True


def _all_text_can_be_seen(tool: Tool) -> bool:
    return all(map(is_clean, iterate_texts(tool)))


def _the_wire_carries_it_unchanged(tool: Tool) -> bool:
    sent = json.dumps(tool, allow_nan=False, ensure_ascii=False).encode()
    read = t.Tool.model_validate_json(sent).model_dump(mode="json", by_alias=True, exclude_none=True)
    return bool(json.loads(sent) == tool == read)


def _is_label(text: str) -> bool:
    return 0 < len(text) <= MAX_LABEL_LENGTH and text == " ".join(text.split())


_LAWS: Final[Sequence[Callable[[Tool], bool]]] = (
    _every_client_takes_the_name,
    _the_title_is_one_short_line,
    _the_description_opens_with_price_and_duration,
    _the_root_is_a_plain_object,
    _arguments_use_few_plain_words,
    _words_are_short_lines,
    _choices_are_distinct_texts,
    _no_description_begins_with_a_colon,
    _bounds_and_defaults_hold,
    _the_schema_is_valid_in_old_and_new_drafts,
    _all_text_can_be_seen,
    _the_wire_carries_it_unchanged,
)


def build_arguments(app: App, tool: Tool, names: Mapping[str, str], chance: Random) -> dict[str, Any]:
    """Return arguments that the tool's schema accepts and that have content: the required ones, and some others.

    Of an input with too many options for a schema it chooses one.
    """
    schema = tool["inputSchema"]
    unlisted = {names[item.id]: build_choices(item) for item in get_inputs(app) if item.kind is InputKind.SELECT}
    return {
        name: _build_value(_add_options(inner, unlisted.get(name, ())), chance)
        for name, inner in schema["properties"].items()
        if name in schema.get("required", []) or chance.random() < 0.5
    }


def _add_options(schema: Any, choices: Sequence[Choice]) -> Any:
    return schema if not choices else {**schema, "enum": [choice.shown for choice in choices]}


_SENDABLE: Final = [
    text for text in HOSTILE_TEXTS if text.strip() and len(text) < 1000 and not re.search("[\ud800-\udfff]", text)
]


def _build_value(schema: Any, chance: Random) -> Any:
    if schema["type"] == "array":
        return [
            _build_value(schema["items"], chance) for _ in range(chance.randint(1, min(3, schema.get("maxItems", 3))))
        ]
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if schema["type"] == "number":
        low, high = schema.get("minimum", -float("inf")), schema.get("maximum", float("inf"))
        return min(max(chance.choice([0, 1, 0.5, -7, 1e300, 2**53, chance.random()]), low), high)
    if schema["type"] == "boolean":
        return chance.choice([True, False])
    # The shortest limit leaves one letter; blanks alone would count as no value.
    return chance.choice(_SENDABLE).strip()[: schema.get("maxLength", 1000)]


def reaches_the_provider(app: App, tool: Tool, names: Mapping[str, str], arguments: Mapping[str, Any]) -> bool:
    """Return whether arguments that the schema accepts reach the provider with their meaning, in both path families."""
    Draft202012Validator(tool["inputSchema"]).validate(arguments)
    meant = {
        item.run_key: get_meant(item, arguments[names[item.id]]) if names[item.id] in arguments else get_default(item)
        for item in get_inputs(app)
    }
    expected = {run_key: value for run_key, value in meant.items() if value is not None}
    found = build_provider_inputs(app, parse_arguments(app, names, arguments))
    keys = {item.run_key: {"flows": item.run_key, "apps": item.id} for item in get_inputs(app)}
    return found == expected and all(
        _read_sent(app, style, found) == {keys[key][style]: value for key, value in expected.items()}
        for style in STYLES
    )


def reaches_magica(app: App, tool: Tool, names: Mapping[str, str], arguments: Mapping[str, Any]) -> bool:
    """Return whether arguments that the schema accepts reach Magica under their node and field."""
    Draft202012Validator(tool["inputSchema"]).validate(arguments)
    meant = {
        item.id: get_meant(item, arguments[names[item.id]]) if names[item.id] in arguments else get_default(item)
        for item in get_inputs(app)
    }
    inputs = build_provider_inputs(app, parse_arguments(app, names, arguments))
    body = json.loads(json.dumps(Magica().build_start_request(app, inputs).body, allow_nan=False).encode())
    sent = {(node, field): value for node, fields in body["values"].items() for field, value in fields.items()}
    return sent == {split_input_id(key): value for key, value in meant.items() if value is not None}


def _read_sent(app: App, style: str, inputs: Mapping[str, Any]) -> Any:
    """Return the inputs that a start request would carry."""
    body = Magnific(styles=(style,)).build_start_request(app, inputs).body
    return json.loads(json.dumps(body, allow_nan=False, ensure_ascii=False).encode())["inputs"]


def get_meant(item: Input, sent: Any) -> Any:
    """Return what the provider should get for a value that the schema accepts."""
    if item.is_list:
        return [get_meant(replace(item, is_list=False), part) for part in sent]
    if item.options and item.kind is InputKind.SELECT:
        option = find_option(build_choices(item), sent)
        return option.value if option else sent if item.is_open else None
    return parse_value(item, sent) if item.kind is InputKind.ANY else sent
