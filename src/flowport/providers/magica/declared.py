"""Workflows whose inputs a person declares in the configuration file, because the provider does not list them.

    [[magica_workflows]]
    id = "cmonfiheh0000kz04dpoe8cjz"

    [[magica_workflows.inputs]]
    node = "node_1777671164161_request"
    field = "text_field"
    type = "text"
    label = "Prompt"
    default = "a llama on a bike"

Pure. A mistake is refused with its place: a field that is named wrongly would be left out of runs that cost money.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import get_nearest
from flowport.providers.registry import get_plugins
from flowport.settings.values import parse_boolean

WORKFLOWS_KEY: Final = "magica_workflows"

TYPES: Final = (
    "text",
    "number",
    "boolean",
    "select",
    "image",
    "video",
    "audio",
    "avmedia",
    "media",
    "file",
    "any",
)

_SWITCH: Final[tuple[type, ...]] = (bool, str, int)
"""A truth value, or a word or number for one."""

_SHAPES: Final[Mapping[str, tuple[type, ...]]] = {
    "node": (str,),
    "field": (str,),
    "type": (str,),
    "label": (str,),
    "description": (str,),
    "placeholder": (str,),
    "default": (str, int, float, bool, list),
    "options": (list,),
    "required": _SWITCH,
    "list": _SWITCH,
    "minimum": (int, float),
    "maximum": (int, float),
    "max_length": (int,),
    "max_items": (int,),
    "allow_custom": _SWITCH,
}
"""What each key of an input holds."""


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """One input of a workflow, as a person declared it."""

    node_id: str
    field_id: str
    definition: Mapping[str, Any]
    """Its type, label, default, options and bounds, by the keys of the file."""


@dataclass(frozen=True, slots=True)
class DeclaredWorkflow:
    """One workflow whose inputs a person has declared; it may take none."""

    workflow_id: str
    """Its id, or the slug of a system workflow."""
    inputs: tuple[DeclaredInput, ...]


def parse_declarations(found: Any) -> tuple[DeclaredWorkflow, ...]:
    """Return what the file declares.

    Raises:
        ConfigurationError: Everything that cannot be used, the first with the others beside it.
    """
    if not isinstance(found, list):
        raise _build_error(WORKFLOWS_KEY, "is not a list of tables", f"Write [[{WORKFLOWS_KEY}]] before each workflow.")
    declared: list[DeclaredWorkflow] = []
    problems: list[ConfigurationError] = []
    for n, item in enumerate(found, 1):
        try:
            declared.append(_parse_workflow(item, f"{WORKFLOWS_KEY} {n}"))
        except ConfigurationError as exc:
            problems.append(exc)
    if problems:
        raise ConfigurationError.unite(problems)
    ids = [one.workflow_id for one in declared]
    twice = next((one for one in ids if ids.count(one) > 1), None)
    if twice is not None:
        raise _build_error(f"{WORKFLOWS_KEY} {twice}", "is there twice", "Remove one of them.")
    return tuple(declared)


def _parse_workflow(item: Any, place: str) -> DeclaredWorkflow:
    workflow_id = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(workflow_id, str) or not workflow_id.strip():
        raise _build_error(place, "has no id", 'Write id = "..." with the id or slug of the workflow.')
    place = f"{WORKFLOWS_KEY} {workflow_id}"
    _refuse_unknown(item, ("id", "inputs"), place)
    inputs = item.get("inputs", [])
    if not isinstance(inputs, list):
        raise _build_error(place, "has inputs that are no list", f"Write [[{WORKFLOWS_KEY}.inputs]] before each.")
    parsed = tuple(_parse_input(one, f"{place}, input {n}") for n, one in enumerate(inputs, 1))
    return DeclaredWorkflow(workflow_id.strip(), parsed)


def _parse_input(item: Any, place: str) -> DeclaredInput:
    if not isinstance(item, Mapping):
        raise _build_error(place, "is not a table", f"Write [[{WORKFLOWS_KEY}.inputs]] before each.")
    _refuse_unknown(item, tuple(_SHAPES), place)
    for key in ("node", "field", "type"):
        if not str(item.get(key, "")).strip():
            raise _build_error(place, f"has no {key}", "Each input needs node, field and type.")
    switches = {
        key: parse_boolean(str(item[key])) for key, shape in _SHAPES.items() if shape is _SWITCH and key in item
    }
    for key, value in item.items():
        is_odd = (
            switches.get(key, True) is None
            or not isinstance(value, _SHAPES[key])
            or (isinstance(value, bool) and bool not in _SHAPES[key])
        )
        if is_odd:
            raise _build_error(place, f"has a {key} that cannot be used", "See docs/providers.md for an example.")
    if item["type"] not in TYPES:
        raise _build_error(place, f"is of type {item['type']!r}", f"It takes {', '.join(TYPES)}.")
    definition = {key: value for key, value in item.items() if key not in ("node", "field")}
    # A declared input is required only where the person says so.
    return DeclaredInput(item["node"], item["field"], {"required": False, **definition, **switches})


def _refuse_unknown(item: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for key in item:
        if key not in known:
            nearest = get_nearest(key, known)
            prefixes = ("flowport_", *(plugin.prefix.lower() for plugin in get_plugins()))
            if key.lower().startswith(prefixes):
                remedy = f"It is a setting of Flowport: write it above the first [[{WORKFLOWS_KEY}]]."
                raise _build_error(place, f"holds {key!r}", remedy)
            hint = f"Did you mean {nearest[0]}?" if nearest else f"It takes {', '.join(known)}."
            raise _build_error(place, f"has a key {key!r} that Flowport does not know", hint)


def _build_error(place: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(place, problem, remedy)
