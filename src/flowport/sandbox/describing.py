"""How the provider's JSON describes an app, in each form of its API."""

from typing import Any, assert_never

from flowport.sandbox.apps import AppInput, InputType, SandboxApp, build_input_id, build_node_id
from flowport.sandbox.dialect import PLAIN, Dialect, Family, OptionShape


def build_summary(app: SandboxApp, dialect: Dialect = PLAIN) -> dict[str, Any]:
    """Describe an app as the list of published ones does (Magnific API 1.0.0, list-flows)."""
    return {"sqid": app.id, "name": app.name, **_build_metadata(app, dialect)}


def build_own_summary(app: SandboxApp) -> dict[str, Any]:
    """Describe an app as the account's own list does: without a price (Magnific API 1.0.0, list-my-flows)."""
    return {"sqid": app.id, "name": app.name}


def build_definition(app: SandboxApp, dialect: Dialect = PLAIN, family: Family = Family.FLOWS) -> dict[str, Any]:
    """Describe an app with its inputs (Magnific API 1.0.0, get-flow; in the older family get-app)."""
    inputs = [_build_input(app, entry, dialect, family) for entry in app.inputs]
    return {"sqid": app.id, "name": app.name, "inputs": inputs, **_build_metadata(app, dialect)}


def _build_input(app: SandboxApp, entry: AppInput, dialect: Dialect, family: Family) -> dict[str, Any]:
    mode = "textarea" if entry.is_long else "input"
    return {
        "id": build_input_id(app, entry),
        **({"api_key": entry.key} if dialect.shows_api_key(family) else {}),
        **({"key": entry.key} if dialect.has_key else {}),
        "type": entry.type,
        "label": entry.label,
        "config": _build_config(entry, dialect, family),
        "nodeId": build_node_id(app, entry),
        "default": entry.default,
        "required": entry.is_required,
        "presentation": {"mode": mode, "type": "text"} if entry.type is InputType.TEXT else None,
    }


def _build_config(entry: AppInput, dialect: Dialect, family: Family) -> dict[str, Any] | None:
    match entry.type:
        case InputType.CREATION:
            return {"mediaType": entry.media_type}
        case InputType.SELECT:
            return _build_options(entry, dialect.option_shape or entry.option_shape)
        case InputType.TEXT if family is Family.APPS:
            # The example of get-app has it so: a type must not be inferred from `config`.
            return {"mediaType": "image"}
        case InputType.TEXT | InputType.NUMBER | InputType.LIST:
            return None
        case _:
            assert_never(entry.type)


def _build_options(entry: AppInput, shape: OptionShape) -> dict[str, Any] | None:
    match shape:
        case OptionShape.STRINGS:
            return {"options": [value for value, _ in entry.options]}
        case OptionShape.LABELLED:
            return {"options": [{"value": value, "label": label} for value, label in entry.options]}
        case OptionShape.CHOICES:
            return {"choices": [value for value, _ in entry.options]}
        case OptionShape.NONE:
            return None
        case _:
            assert_never(shape)


def _build_metadata(app: SandboxApp, dialect: Dialect) -> dict[str, Any]:
    if not dialect.has_tool_metadata:
        return {}
    metadata = {
        "icon": "workflow",
        "description_key": None,
        "translation_key": None,
        "category": "general",
        "sort_order": 999,
        "total_cost": app.cost_credits,
    }
    return {"tool_metadata": metadata}
