"""Check every request that Flowport sends to a provider's API in this process against the provider's documentation.

The schemas are in `tests/sandbox/official_schemas.py` and `tests/sandbox/magica/official_schemas.py`, each with its source.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import jsonschema

from flowport.sandbox.apps import APPS, InputType
from tests.fakes.magica import official_schemas as magica
from tests.sandbox.official_schemas import LIST_VALUE, REQUEST_URL_REQUEST, RUN_REQUEST

_STRING: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_VALUES: Final[Mapping[InputType, Any]] = {
    InputType.CREATION: _STRING,
    InputType.TEXT: _STRING,
    InputType.NUMBER: _NUMBER,
    InputType.SELECT: {"oneOf": [_STRING, _NUMBER]},
    InputType.LIST: LIST_VALUE,
}
_ANY_VALUE: Final = {"oneOf": [_STRING, _NUMBER, LIST_VALUE]}
_SANDBOX_APPS: Final = {app.id: app for app in APPS}

_RUN: Final = re.compile(r"/v1/ai/(?:flows|apps)/([^/]+)/run")
_MAGICA: Final = {
    re.compile(r"/v1/runs"): magica.START_REQUEST,
    re.compile(r"/v1/runs/batch"): magica.BATCH_REQUEST,
    re.compile(r"/v1/(?:nodes/)?runs/[^/]+/cancel"): magica.NOTHING,
    re.compile(r"/v1/nodes/[^/]+/run"): magica.NODE_RUN_REQUEST,
}
_OPEN: Final = re.compile(r"/v1/workflows/estimate-credits")
"""Paths whose body is not documented."""


@dataclass
class RequestChecker:
    """The paths of the requests that were sent, and their breaches of the documentation."""

    problems: list[str] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def check(self, request: httpx2.Request) -> None:
        """Check one request against its schema."""
        # Only clients of a provider's API trace their requests; the sandbox also has paths of its own.
        if "trace" not in request.extensions or "/v1/" not in request.url.path:
            return
        # As sent, without the prefix that the path has where several APIs share an origin.
        path = re.sub(r"^.*?(?=/v1/)", "", request.url.raw_path.decode("ascii").partition("?")[0])
        self.paths.add(path)
        problem = find_problem(request.method, path, request.content)
        if problem:
            self.problems.append(f"{request.method} {path}: {problem}")


def find_problem(method: str, path: str, content: bytes) -> str:
    """Return how a request breaches its schema; empty if it does not."""
    if method == "GET":
        return "a GET has no body" if content else ""
    try:
        schema = find_schema(path)
        jsonschema.Draft202012Validator(schema).validate(json.loads(content))
    except (LookupError, jsonschema.ValidationError, ValueError) as exc:
        return str(exc).partition("\n")[0]
    return ""


def find_schema(path: str) -> Any:
    """Return the schema of a body; raises `LookupError` for an undocumented path."""
    if path == "/v1/ai/uploads/request-url":
        return REQUEST_URL_REQUEST
    if (run := _RUN.fullmatch(path)) is not None:
        return _build_run_schema(run[1])
    if _OPEN.fullmatch(path):
        return {}
    for pattern, schema in _MAGICA.items():
        if pattern.fullmatch(path):
            return schema
    raise LookupError("an undocumented path")


def _build_run_schema(app_id: str) -> Any:
    """Return the schema of a start request, with the type of each input if the app is known."""
    app = _SANDBOX_APPS.get(app_id)
    known = {} if app is None else {entry.key: _VALUES[entry.type] for entry in app.inputs}
    values = {"type": "object", "properties": known, "additionalProperties": _ANY_VALUE}
    return {**RUN_REQUEST, "properties": {**RUN_REQUEST["properties"], "inputs": values}, "additionalProperties": False}
