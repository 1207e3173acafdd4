"""The models that Magica also runs one at a time: a public catalogue, a schema for each, and their runs."""

from collections.abc import Mapping
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowport.sandbox.apps import APPS, MAX_TEXT_CHARACTERS, AppInput, InputType, SandboxApp
from tests.fakes.magica.answering import FACE, Call, build_json
from tests.fakes.magica.api import build_route
from tests.fakes.magica.refusals import Denied, deny_values
from tests.fakes.magica.run_bodies import build_error, format_status, get_links
from tests.fakes.magica.starting import accept
from tests.fakes.magica.timestamps import format_instant
from tests.fakes.magica.values import check_media, parse_fields
from tests.fakes.magica.workflows import WRITER
from tests.fakes.magnific.generated import draw_anything
from tests.fakes.magnific.runs import RunStatus
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation

_BY_RECIPE: Final = {app.recipe: app for app in APPS}
_WRITER: Final = SandboxApp(
    "gPt5wRiTeR", "Writer", 1, draw_anything, (AppInput("prompt", InputType.TEXT, "Prompt", is_long=True),)
)
MODELS: Final[Mapping[str, tuple[str, SandboxApp]]] = {
    "text-to-image": ("text_to_image", _BY_RECIPE["picture"]),
    "image-upscaler": ("image_upscaler", _BY_RECIPE["upscale"]),
    "gpt-5": (WRITER, _WRITER),
}
"""Node type and what it does, by model id; the id and the node type differ, as with the real ones."""

_APPS: Final = dict(MODELS.values())


def build_model_routes(state: SandboxState) -> list[Route]:
    """Build the routes of models and of their runs."""

    async def show_catalogue(_request: Request) -> Response:
        """Answer without a key, as observed."""
        state.traffic.count(Operation.MODELS, FACE)
        return build_json({"version": "v1", "models": {name: _describe(name) for name in MODELS}})

    return [
        Route("/v1/models/catalog", show_catalogue),
        build_route(state, "GET", "/v1/models/{model_id}/schema", Operation.MODELS, _show_schema),
        build_route(state, "POST", "/v1/nodes/{node_type}/run", Operation.RUN, _start_run),
        build_route(state, "GET", "/v1/nodes/runs/{run_id}", Operation.STATUS, _show_run),
    ]


def _describe(model_id: str) -> dict[str, Any]:
    node_type, app = MODELS[model_id]
    fields = [{"zodExpectedName": entry.key, "type": _get_form(entry), **_build_field(entry)} for entry in app.inputs]
    cost = {"type": "per_text" if node_type == WRITER else "per_image", "value": app.cost_credits}
    sub_models = [{"subModelId": f"{model_id}-1", "inputFieldOptions": fields}]
    return {"nodeType": node_type, "cost": cost, "subModels": sub_models}


def _get_form(entry: AppInput) -> str:
    """Return how the web page shows a field, which is its `type` in the catalogue."""
    if entry.type is InputType.CREATION:
        return entry.media_type
    if entry.type is InputType.NUMBER:
        return "slider"
    return "textarea" if entry.is_long else str(entry.type)


def _build_field(entry: AppInput) -> dict[str, Any]:
    is_number = entry.type is InputType.NUMBER
    bounds: dict[str, Any] = {"max": MAX_TEXT_CHARACTERS} if entry.type is InputType.TEXT else {}
    if is_number:
        bounds = {"min": entry.bounds[0], "max": entry.bounds[1], "step": 0.1}
    options = {"options": [{"value": value, "label": label} for value, label in entry.options]}
    return {
        "dataType": "number" if is_number else "string",
        "required": entry.is_required,
        # What is required still has an empty default: it is the form's first value.
        "default": "" if entry.default is None else entry.default,
        **(options if entry.options else {}),
        **bounds,
    }


async def _show_schema(_state: SandboxState, call: Call) -> Response:
    model_id = call.path["model_id"]
    if model_id not in MODELS:
        raise Denied(404, "Model not found")
    fields = [{"name": entry.key, **_build_field(entry)} for entry in MODELS[model_id][1].inputs]
    return build_json({"modelId": model_id, "fields": fields})


async def _start_run(state: SandboxState, call: Call) -> Response:
    node_type, body = call.path["node_type"], call.get_object()
    app = _APPS.get(node_type)
    if app is None:
        raise Denied(404, "Node type not found")
    given = body.get("input")
    if not isinstance(given, dict):
        raise deny_values(["input"], "invalid_type", "Required", expected="object")
    for entry in app.inputs:
        if entry.type is InputType.CREATION and entry.key in given:
            check_media(given[entry.key], ["input", entry.key], state.creations)
    values = await anyio.to_thread.run_sync(parse_fields, app, given, state.creations, ["input"], limiter=state.limiter)
    run_id = accept(state, call.key, app, values, node_type=node_type, webhook=body.get("webhook"))
    return build_json({"runId": run_id}, 202)


async def _show_run(state: SandboxState, call: Call) -> Response:
    found = state.magica.records.find(call.path["run_id"], call.key)
    if found is None or found[0].workflow is not None:
        raise Denied(404, "Run not found")
    record, run = found
    used = record.used_microcredits if run.status.is_over else 0
    message = run.error_message if run.status is RunStatus.FAILED else None
    links = get_links(run.files, state.files)
    output = {"result": links, "resultMetadata": [{"mediaType": "image"} for _ in links], "creditUsed": used}
    written = {"output": record.text, "creditUsed": used}
    is_done = run.status is RunStatus.COMPLETED
    return build_json(
        {
            "id": run.id,
            "status": format_status(run.status, state.magica.dialect),
            "createdAt": format_instant(record.created_at),
            "output": (written if record.node_type == WRITER else output) if is_done else None,
            "creditUsed": used,
            "error": None if message is None else build_error(message, state.magica.dialect),
            "userMessage": None if message is None else "The model could not finish this run.",
        }
    )
