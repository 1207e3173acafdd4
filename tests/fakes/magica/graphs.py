"""How Magica's JSON describes a workflow: in a list, and as a graph. No graph is published; this one is inferred."""

from typing import Any, Final, assert_never

from flowport.sandbox.apps import MAX_TEXT_CHARACTERS, AppInput, InputType, OptionShape
from tests.fakes.magica.dialect import FieldKey, GraphShape, MagicaDialect
from tests.fakes.magica.workflows import EXTRA_OPTIONS, Field, Node, Workflow

UPDATED_AT: Final = "2026-08-01T10:00:00.000Z"


def build_item(workflow: Workflow) -> dict[str, Any]:
    """Describe a workflow as a list does: system ones have a slug, own ones an id."""
    name = {"slug": workflow.id} if workflow.is_system else {"id": workflow.id}
    return {**name, "name": workflow.app.name, "updatedAt": UPDATED_AT, "thumbnailUrl": None}


def build_graph(workflow: Workflow, dialect: MagicaDialect) -> dict[str, Any]:
    """Describe a workflow with its nodes and edges."""
    nodes = [_build_node(workflow, node, dialect) for node in workflow.nodes]
    return {**build_item(workflow), "nodes": nodes, "edges": _build_edges(workflow)}


def build_node_data(workflow: Workflow) -> dict[str, Any]:
    """Build what a processing node is set to; an estimate wants it back as it is."""
    return {"preset": workflow.app.id}


def build_field(field: Field, dialect: MagicaDialect) -> dict[str, Any]:
    """Describe one field of a request node."""
    name = {} if dialect.field_key is FieldKey.NAME else {str(dialect.field_key): field.id}
    return {
        **name,
        "name": field.name,
        "type": field.type,
        str(dialect.default_key): field.default,
        **_build_options(field),
        **(_build_details(field) if dialect.has_details else {}),
    }


def get_field_name(field: Field, dialect: MagicaDialect) -> str:
    """Return what the values of a run name a field by."""
    return field.name if dialect.field_key is FieldKey.NAME else field.id


def _build_node(workflow: Workflow, node: Node, dialect: MagicaDialect) -> dict[str, Any]:
    built: dict[str, Any] = {"id": node.id, str(dialect.type_key): node.type, "data": {}}
    if node is workflow.request:
        return built | _place_fields([build_field(field, dialect) for field in workflow.fields], dialect.graph)
    return built | {"data": build_node_data(workflow)} if node in workflow.processing else built


def _place_fields(fields: list[dict[str, Any]], shape: GraphShape) -> dict[str, Any]:
    match shape:
        case GraphShape.DATA_FIELDS:
            return {"data": {"fields": fields}}
        case GraphShape.DATA_REQUEST_FIELDS:
            return {"data": {"requestFields": fields}}
        case GraphShape.FIELDS:
            return {"fields": fields}
        case GraphShape.NO_FIELDS | GraphShape.MISSING:
            return {}
        case _:
            assert_never(shape)


def _build_options(field: Field) -> dict[str, Any]:
    entry = field.entry
    if entry is None:
        options = [{"value": value, "label": label} for value, label in EXTRA_OPTIONS]
        return {"options": options} if field.type == InputType.SELECT else {}
    if entry.type is not InputType.SELECT or entry.option_shape is OptionShape.NONE:
        return {}
    if entry.option_shape is OptionShape.LABELLED:
        return {"options": [{"value": value, "label": label} for value, label in entry.options]}
    return {"options": [value for value, _ in entry.options]}


def _build_details(field: Field) -> dict[str, Any]:
    """Return bounds in the words of the models' fields, where `max` of a text is its length."""
    entry = field.entry
    bounds = {} if entry is None else _build_bounds(entry)
    return {"required": field.is_required, **bounds}


def _build_bounds(entry: AppInput) -> dict[str, Any]:
    if entry.type is InputType.NUMBER:
        return {"min": entry.bounds[0], "max": entry.bounds[1]}
    return {"max": MAX_TEXT_CHARACTERS} if entry.type is InputType.TEXT else {}


def _build_edges(workflow: Workflow) -> list[dict[str, Any]]:
    into = [
        {
            "source": workflow.request.id,
            "sourceHandle": workflow.fields[0].id,
            "target": node.id,
            "targetHandle": "input",
        }
        for node in workflow.processing
    ]
    out = [
        {"source": node.id, "sourceHandle": "output", "target": workflow.nodes[-1].id, "targetHandle": "result"}
        for node in workflow.processing
    ]
    return [*into, *out]
