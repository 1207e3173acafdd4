"""From the `values` of a run request to checked values, or a 400 whose details say what is wrong as zod does."""

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, assert_never
from urllib.parse import urlsplit

from flowport.sandbox.apps import AppInput, InputType, SandboxApp, Values, parse_inputs
from flowport.sandbox.web import Refused
from tests.fakes.magica.dialect import MagicaDialect
from tests.fakes.magica.graphs import get_field_name
from tests.fakes.magica.refusals import Denied, deny_values
from tests.fakes.magica.workflows import EXTRA_OPTIONS, Field, Workflow
from tests.fakes.magnific.creations import Creations

MEDIA: Final = frozenset({"image", "video", "audio", "avmedia", "media", "file"})
URL_REQUIRED: Final = "HTTP_URL_REQUIRED"

_SIMPLE: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "text": (str, "string"),
    "select": (str, "string"),
    "number": ((int, float), "number"),
    "boolean": (bool, "boolean"),
}
"""What a value of a type must be, and zod's word for it."""


def parse_values(workflow: Workflow, values: Any, creations: Creations, dialect: MagicaDialect) -> Values:
    """Check the values of a run; what is left out falls back to what is saved. Decodes pictures: call it in a thread.

    Raises:
        Denied: 400 with a sentence and details about the first thing that is wrong.
    """
    inputs: dict[str, Any] = {}
    if values is None:
        return parse_fields(_fill_in(workflow.app), {}, creations, ["values", workflow.request.id])
    fields = {get_field_name(field, dialect): field for field in workflow.fields}
    for name, value in _read_node(workflow, values).items():
        path = ["values", workflow.request.id, name]
        if name not in fields:
            raise deny_values(path[:2], "unrecognized_keys", f"Unrecognized key: {ascii(name)[:80]}", keys=[name])
        field = fields[name]
        if value is None or (value == [] and field.default == []):
            continue  # null is what an empty field is saved as
        _check_type(field, value, path, creations)
        if field.entry is not None:
            inputs[field.entry.key] = value
    return parse_fields(workflow.app, inputs, creations, ["values", workflow.request.id])


def _fill_in(app: SandboxApp) -> SandboxApp:
    """Return the app as its fields are saved: the quickstart starts with the workflow's id alone.

    A field that was left empty is an empty text, the lowest number, the first option; a picture is still required.
    """
    return replace(app, inputs=tuple(_get_saved(entry) for entry in app.inputs))


def _get_saved(entry: AppInput) -> AppInput:
    if entry.default is not None:
        return entry
    match entry.type:
        case InputType.TEXT:
            return replace(entry, is_required=False, default="")
        case InputType.NUMBER:
            return replace(entry, is_required=False, default=entry.bounds[0])
        case InputType.SELECT:
            first = next((value for value, _ in entry.options), "")
            return replace(entry, is_required=False, default=first)
        case InputType.LIST | InputType.CREATION:
            return entry
        case _:
            assert_never(entry.type)


def parse_fields(app: SandboxApp, inputs: dict[str, Any], creations: Creations, path: list[str]) -> Values:
    """Check what an app's inputs are given; raises `Denied` with 400."""
    try:
        return parse_inputs(app, inputs, creations.find)
    except Refused as exc:
        raise deny_values(path, "custom", exc.message) from exc


def check_media(value: Any, path: list[str], creations: Creations) -> None:
    """Let public URLs pass; of those the sandbox itself fetches its own files alone. Raises `Denied` with 400."""
    if not isinstance(value, str):
        raise _deny_type("string", value, path)
    is_own = value.startswith(f"{creations.files.origin}/")
    if not is_own and not _is_public_url(value):
        where = ".".join(path)
        raise Denied(
            400,
            f"{where}: {URL_REQUIRED}: a public http(s) URL is required, no data URI and no base64",
            URL_REQUIRED,
            [{"code": "invalid_string", "validation": "url", "path": path, "message": URL_REQUIRED}],
        )
    if not is_own:
        raise deny_values(path, "custom", "the sandbox fetches nothing but its own files")


def _read_node(workflow: Workflow, values: Any) -> dict[str, Any]:
    """Return the fields of the request node, of which a workflow has one."""
    if not isinstance(values, dict):
        raise _deny_type("object", values, ["values"])
    for node_id, fields in values.items():
        if node_id != workflow.request.id:
            raise deny_values(
                ["values"], "unrecognized_keys", f"Unrecognized key: {ascii(node_id)[:80]}", keys=[node_id]
            )
        if not isinstance(fields, dict):
            raise _deny_type("object", fields, ["values", node_id])
    found: dict[str, Any] = values.get(workflow.request.id, {})
    return found


def _check_type(field: Field, value: Any, path: list[str], creations: Creations) -> None:
    if field.type in MEDIA:
        items = value if isinstance(value, list) and field.entry is None else [value]
        for item in items:
            check_media(item, path, creations)
        return
    if field.type not in _SIMPLE:
        return
    kind, word = _SIMPLE[field.type]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _deny_type(word, value, path)
    choices = [choice for choice, _ in EXTRA_OPTIONS]
    if field.entry is None and field.type == "select" and value not in choices:
        raise deny_values(path, "invalid_enum_value", f"must be one of: {', '.join(choices)}", options=choices)


def _deny_type(expected: str, value: Any, path: list[str]) -> Denied:
    received = _NAMES.get(type(value), "object")
    return deny_values(
        path,
        "invalid_type",
        f"Invalid input: expected {expected}, received {received}",
        expected=expected,
        received=received,
    )


_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
    type(None): "null",
}


def _is_public_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_global
    except ValueError:
        return "." in parts.hostname and not parts.hostname.endswith((".localhost", ".local", ".internal"))
