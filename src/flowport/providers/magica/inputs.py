"""What a Magica workflow takes: the fields of its request node, from whichever source has them. Pure.

Source: "Core concepts" and the MCP pages `tools` and `runs` of magica.com/docs for field types and for values by node and
field. The shape of a workflow's graph is not published: the names that are read here were inferred from clients.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from flowport.domain.errors import AppUnsupported
from flowport.domain.models import Input, InputKind, JsonValue
from flowport.domain.text import clean_line
from flowport.providers.options import (
    MAX_TEXT_LENGTH,
    check_input_count,
    drop_long_default,
    find_options,
    parse_options,
)
from flowport.providers.parsing import is_number

MAX_ID_LENGTH: Final = 200

_KINDS: Final = {
    **dict.fromkeys(("text", "textarea", "string"), InputKind.TEXT),
    **dict.fromkeys(("number", "integer", "float", "slider"), InputKind.NUMBER),
    **dict.fromkeys(("boolean", "bool", "toggle", "switch", "checkbox"), InputKind.BOOLEAN),
    **dict.fromkeys(("select", "composite_select", "dropdown", "enum"), InputKind.SELECT),
    "image": InputKind.IMAGE,
    "video": InputKind.VIDEO,
    "audio": InputKind.AUDIO,
    "avmedia": InputKind.AVMEDIA,
    **dict.fromkeys(("media", "file"), InputKind.MEDIA),
    "any": InputKind.ANY,
}
"""The port types of "Core concepts", and the field types of the model catalogue."""

_ID_KEYS: Final = ("id", "fieldId", "field_id", "key", "zodExpectedName", "name")
_NODE_KEYS: Final = ("nodeId", "node_id", "requestNodeId")
_FIELDS_KEYS: Final = ("fields", "requestFields")
_VALUES_KEYS: Final = ("values", "fields", "requestFields", "inputs")
_WRAPPERS: Final = ("workflow", "data", "item", "graph", "definition", "result")
_DEFAULT_KEYS: Final = ("value", "default", "defaultValue")
_OPTIONS_KEYS: Final = ("options", "choices", "enum")
_ITEMS_KEYS: Final = ("maxItems", "max_items", "maxImages", "maxFiles")
_LIST_KEYS: Final = ("isList", "isArray", "multiple", "list")
_DESCRIPTION_KEYS: Final = ("description", "helpText", "help")
_PLACEHOLDER_KEYS: Final = ("placeholder",)
_OPEN_KEYS: Final = ("allowCustom", "allow_custom", "custom")


@dataclass(frozen=True, slots=True)
class RequestField:
    """One field of a request node, as a run names it."""

    node_id: str
    field_id: str
    definition: Mapping[str, Any]
    """Its label, type, default and bounds, under the source's own names."""


def find_nodes(body: Any) -> list[Mapping[str, Any]] | None:
    """Return the nodes of a workflow; None when the body holds no graph."""
    for holder in _unwrap(body, depth=3):
        nodes = holder.get("nodes")
        if isinstance(nodes, list):
            return [node for node in nodes if isinstance(node, Mapping)]
    return None


def get_node_type(node: Mapping[str, Any]) -> str:
    """Return what kind of node it is, as it is written there; empty when it does not say."""
    data = node.get("data")
    holders = (node, data) if isinstance(data, Mapping) else (node,)
    # `type` may hold a drawing library's name for the shape of a box.
    words = [word for key in ("nodeType", "type") for holder in holders if isinstance(word := holder.get(key), str)]
    return next((word for word in words if word.lower() in {"request", "response"}), next(iter(words), ""))


def find_graph_fields(body: Any) -> tuple[RequestField, ...] | None:
    """Return the fields of a graph's request nodes; None when the graph does not list them."""
    requests = [node for node in find_nodes(body) or () if get_node_type(node).lower() == "request"]
    found: list[RequestField] = []
    for node in requests:
        node_id, data = _read_id(node, ("id", *_NODE_KEYS)), node.get("data")
        holders = (data, node) if isinstance(data, Mapping) else (node,)
        fields = next(
            (one[key] for one in holders for key in _FIELDS_KEYS if isinstance(one.get(key), list | dict)), None
        )
        if fields is None or not node_id:
            return None
        found += _read_fields(fields, node_id)
    return tuple(found) if requests else None


def find_tool_fields(body: Any) -> tuple[RequestField, ...] | None:
    """Return the fields that `start_run` without values lists; None when it names none with its node.

    The page promises names, types and defaults. Lists of fields, alone or under their nodes, are read, and values by
    node and field.
    """
    for holder in _unwrap(body, depth=2):
        nodes = holder.get("nodes")
        grouped = [node for node in nodes if isinstance(node, Mapping)] if isinstance(nodes, list) else [holder]
        found = [field for group in grouped for field in _read_group(group)]
        if found and all(field.node_id for field in found):
            return tuple(found)
    return None


def _read_group(group: Mapping[str, Any]) -> list[RequestField]:
    node_id = _read_id(group, _NODE_KEYS) or (_read_id(group, ("id",)) if "fields" in group else "")
    for key in _VALUES_KEYS:
        given = group.get(key)
        if isinstance(given, list) and given:
            return list(_read_fields(given, node_id))
        if isinstance(given, Mapping) and given and all(isinstance(inner, Mapping) for inner in given.values()):
            # By node and then by field, as a run is given them.
            return [field for node, inner in given.items() for field in _read_fields(inner, str(node))]
    return []


def _read_fields(fields: Any, node_id: str) -> Iterator[RequestField]:
    if isinstance(fields, Mapping):
        for field_id, given in fields.items():
            definition = given if isinstance(given, Mapping) else {"value": given}
            yield RequestField(node_id, str(field_id), definition)
        return
    for item in fields:
        definition = item if isinstance(item, Mapping) else {}
        yield RequestField(_read_id(definition, _NODE_KEYS) or node_id, _read_id(definition, _ID_KEYS), definition)


def _unwrap(body: Any, *, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the object and those that it is wrapped around."""
    if isinstance(body, Mapping):
        yield body
        for key in _WRAPPERS if depth else ():
            yield from _unwrap(body.get(key), depth=depth - 1)


def _read_id(holder: Mapping[str, Any], keys: Sequence[str]) -> str:
    found = (holder[key] for key in keys if isinstance(holder.get(key), str | int))
    return next((str(value) for value in found if str(value).strip() and not isinstance(value, bool)), "")


def build_inputs(app_id: str, fields: Sequence[RequestField]) -> tuple[Input, ...]:
    """Return the inputs that these fields make, in their order.

    Raises:
        AppUnsupported: One cannot be read, or they are more or longer than a tool can take.
    """
    keys: set[str] = set()
    inputs: list[Input] = []
    for field in fields:
        is_long = max(len(field.node_id), len(field.field_id)) > MAX_ID_LENGTH
        if not field.node_id or not field.field_id or is_long:
            raise AppUnsupported(clean_line(app_id), "one of its inputs cannot be read")
        inputs += _build_field(app_id, field, keys)
    check_input_count(app_id, len(inputs))
    return tuple(inputs)


def split_input_id(input_id: str) -> tuple[str, str]:
    """Return the node and the field that an input's id names."""
    node_id, _, field_id = input_id.partition("/")
    return unquote(node_id), unquote(field_id)


def _build_field(app_id: str, field: RequestField, keys: set[str]) -> list[Input]:
    """Return the input of a field, and those of the fields that belong to an option of its own making."""
    definition = field.definition
    kind, is_list = _read_kind(definition)
    default = _read_default(definition, kind)
    given = find_options(definition) if kind is InputKind.SELECT else _get_first(definition, _OPTIONS_KEYS)
    options = parse_options(app_id, given)
    if options and kind in {InputKind.TEXT, InputKind.NUMBER, InputKind.ANY}:
        kind = InputKind.SELECT
    low, high = (_read_number(definition, keys) for keys in (("min", "minimum"), ("max", "maximum")))
    longest = _read_number(definition, ("maxLength", "max_length")) or (high if kind is InputKind.TEXT else None)
    label = _read_label(definition, field.field_id)
    built = Input(
        id=f"{quote(field.node_id, safe='')}/{quote(field.field_id, safe='')}",
        run_key=_name_key(label or field.field_id, keys),
        kind=kind,
        label=label,
        is_required=_is_required(definition, kind, default),
        default=default,
        options=options if kind is InputKind.SELECT else (),
        minimum=low if kind is InputKind.NUMBER else None,
        maximum=high if kind is InputKind.NUMBER else None,
        is_list=is_list,
        name=field.field_id,
        max_length=_read_count(longest),
        max_items=_read_count(_read_number(definition, _ITEMS_KEYS)),
        is_open=kind is InputKind.SELECT and _has_flag(definition, _OPEN_KEYS),
        description=_read_words(definition, _DESCRIPTION_KEYS),
        placeholder=_read_words(definition, _PLACEHOLDER_KEYS),
    )
    return [built, *_build_custom_fields(app_id, field, label, keys)]


def _build_custom_fields(app_id: str, field: RequestField, label: str, keys: set[str]) -> Iterator[Input]:
    """Yield the inputs that count when the option for a custom value is chosen, which are therefore never required."""
    customs = field.definition.get("customFields")
    for item in customs if isinstance(customs, list) else ():
        if not isinstance(item, Mapping) or not (field_id := _read_id(item, _ID_KEYS)) or len(field_id) > MAX_ID_LENGTH:
            raise AppUnsupported(clean_line(app_id), "one of its inputs cannot be read")
        owner = str(field.definition.get("customValue") or "custom")
        given = {**item, "label": f"{_read_label(item, field_id) or field_id}, for {label or field.field_id} {owner}"}
        given |= {"required": False, "customFields": None}
        yield from _build_field(app_id, RequestField(field.node_id, field_id, given), keys)


def _name_key(text: str, keys: set[str]) -> str:
    """Return a key for the call that no other field has; a run is started by node and field."""
    stem = text[:MAX_ID_LENGTH]
    key, n = stem, 1
    while key in keys:
        n += 1
        key = f"{stem} {n}"
    keys.add(key)
    return key


def _read_label(definition: Mapping[str, Any], field_id: str) -> str:
    found = _get_first(definition, ("label", "name", "title"))
    label = found[:MAX_TEXT_LENGTH] if isinstance(found, str) else ""
    return "" if label == field_id else label


def _read_words(definition: Mapping[str, Any], keys: Sequence[str]) -> str:
    found = _get_first(definition, keys)
    return found[:MAX_TEXT_LENGTH] if isinstance(found, str) else ""


def _read_kind(definition: Mapping[str, Any]) -> tuple[InputKind, bool]:
    """Return the kind of a field and whether it takes several values."""
    names = (_get_first(definition, keys) for keys in (("type", "fieldType", "portType"), ("dataType", "data_type")))
    words = [str(name).strip().lower().replace("-", "_") for name in names if isinstance(name, str)]
    is_list = any(word.endswith("[]") for word in words) or _has_flag(definition, _LIST_KEYS)
    # A field that does not say so takes several values where its saved value is a list, even an empty one.
    is_list = is_list or isinstance(_get_first(definition, _DEFAULT_KEYS), list)
    for word in words:
        single = word.removesuffix("[]")
        if single in _KINDS:
            return _KINDS[single], is_list
        plural = _KINDS.get(single.removesuffix("s"))
        if plural is not None and plural.is_media:
            return plural, True
    return InputKind.ANY, is_list


def _read_default(definition: Mapping[str, Any], kind: InputKind) -> JsonValue:
    value = _get_first(definition, _DEFAULT_KEYS)
    if kind.is_media and isinstance(value, Mapping):
        value = value.get("url")
    return None if value in ("", [], {}) else drop_long_default(value)


def _is_required(definition: Mapping[str, Any], kind: InputKind, default: JsonValue) -> bool:
    """Check whether a value must be given. Where nothing says so, a field without a saved default has to be filled."""
    required = definition.get("required")
    if isinstance(required, bool):
        return required
    return default is None and kind is not InputKind.BOOLEAN


def _get_first(holder: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the first value that is there, looking into `config` last."""
    config = holder.get("config")
    holders = (holder, config) if isinstance(config, Mapping) else (holder,)
    return next((value for one in holders for key in keys if (value := one.get(key)) is not None), None)


def _has_flag(definition: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return any(definition.get(key) is True for key in keys)


def _read_number(definition: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    value = _get_first(definition, keys)
    return float(value) if is_number(value) else None


def _read_count(number: float | None) -> int | None:
    return int(number) if number is not None and number >= 1 else None
