"""Both origins of the sandbox: the documented API of Magnific's flows with its uploads, and the files behind signed links."""

from typing import Any, Final, assert_never

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.sandbox.apps import APPS, AppInput, InputType, OptionShape, SandboxApp
from flowport.sandbox.files import CONTENT_TYPES, FILES_PREFIX, MAX_FILES, MAX_KEPT_BYTES, UPLOAD_PREFIX, Files
from flowport.sandbox.runs import Runs
from flowport.sandbox.web import EXCEPTION_HANDLERS, Refused, get_message, read_bytes, read_object

MAX_SEARCH_CHARACTERS: Final = 200
_ROOT: Final = "/v1/ai"


class Api:
    """The API's origin."""

    def __init__(self, runs: Runs, files: Files) -> None:
        """Serve these runs and files."""
        self._runs = runs
        self._files = files

    def build(self) -> Starlette:
        """Build the application."""
        routes = [
            Route(f"{_ROOT}/uploads/request-url", self._request_uploads, methods=["POST"]),
            Route(f"{_ROOT}/uploads", self._list_uploads),
            Route(f"{_ROOT}/flows", self._list_flows),
            Route(f"{_ROOT}/me/flows", self._list_own_flows),
            Route(f"{_ROOT}/flows/runs/{{run_id}}", self._show_run),
            Route(f"{_ROOT}/flows/{{app_id}}", self._show_flow),
            Route(f"{_ROOT}/flows/{{app_id}}/run", self._start_run, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)

    async def _list_flows(self, request: Request) -> Response:
        search = request.query_params.get("search", "")
        if len(search) > MAX_SEARCH_CHARACTERS:
            raise Refused(400, "Parameter 'search' is not valid")
        found = [app for app in APPS if app.is_published and search.casefold() in app.name.casefold()]
        return JSONResponse({"data": [build_summary(app) for app in found]})

    async def _list_own_flows(self, _: Request) -> Response:
        return JSONResponse({"data": [build_own_summary(app) for app in APPS if app.is_own]})

    async def _show_flow(self, request: Request) -> Response:
        return JSONResponse({"data": build_definition(_find_app(request))})

    async def _start_run(self, request: Request) -> Response:
        app, body = _find_app(request), await read_object(request)
        if not isinstance(body.get("inputs"), dict):
            raise Refused(400, "Parameter 'inputs' is not valid")
        if body.get("webhook") is not None:
            raise Refused(422, "The sandbox calls no webhooks")
        run_id = await self._runs.accept(app, body["inputs"])
        # Not wrapped in `data`, unlike every other answer, and "running" whatever the run does.
        return JSONResponse({"status": "running", "workflow_run_identifier": run_id}, 202)

    async def _show_run(self, request: Request) -> Response:
        run = self._runs.describe(request.path_params["run_id"])
        if run is None:
            raise Refused(404, get_message(404))
        return JSONResponse({"data": run})

    async def _request_uploads(self, request: Request) -> Response:
        wanted = (await read_object(request)).get("files")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_FILES:
            raise Refused(400, "Parameter 'files' is not valid")
        types = [item.get("content_type") if isinstance(item, dict) else None for item in wanted]
        known = [kind for kind in types if isinstance(kind, str) and kind in CONTENT_TYPES]
        if len(known) < len(types):
            raise Refused(400, "Parameter 'content_type' is not valid")
        return JSONResponse({"files": self._files.request_uploads(known)})

    async def _list_uploads(self, _: Request) -> Response:
        return JSONResponse({"files": self._files.list_uploads()})


def build_files_app(files: Files) -> Starlette:
    """Build the application of the files' origin. It takes no key: the links are signed."""

    async def show_file(request: Request) -> Response:
        """Return a file."""
        product = files.open_link(request.url.path, request.query_params.get("token", ""))
        return Response(product.data, media_type=product.mime_type, headers={"cache-control": "private"})

    async def take_upload(request: Request) -> Response:
        """Keep a file."""
        upload_id = request.path_params["upload_id"]
        files.check_put(upload_id, request.query_params.get("signature", ""), request.headers)
        files.put(upload_id, await read_bytes(request, MAX_KEPT_BYTES))
        return Response()

    routes = [
        Route(f"{FILES_PREFIX}{{file_id}}/{{name}}", show_file),
        Route(f"{UPLOAD_PREFIX}{{upload_id}}", take_upload, methods=["PUT"]),
    ]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)


def _find_app(request: Request) -> SandboxApp:
    app = next((app for app in APPS if app.id == request.path_params["app_id"]), None)
    if app is None:
        raise Refused(404, get_message(404))
    return app


def build_summary(app: SandboxApp) -> dict[str, Any]:
    """Describe an app as the list of published ones does (Magnific API 1.0.0, list-flows)."""
    return {"sqid": app.id, "name": app.name, "tool_metadata": _build_metadata(app)}


def build_own_summary(app: SandboxApp) -> dict[str, Any]:
    """Describe an app as the account's own list does: without a price (Magnific API 1.0.0, list-my-flows)."""
    return {"sqid": app.id, "name": app.name}


def build_definition(app: SandboxApp) -> dict[str, Any]:
    """Describe an app with its inputs (Magnific API 1.0.0, get-flow)."""
    inputs = [_build_input(app, entry) for entry in app.inputs]
    return {"sqid": app.id, "name": app.name, "inputs": inputs, "tool_metadata": _build_metadata(app)}


def _build_input(app: SandboxApp, entry: AppInput) -> dict[str, Any]:
    mode = "textarea" if entry.is_long else "input"
    return {
        "id": app.build_input_id(entry),
        "api_key": entry.key,
        "key": entry.key,
        "type": entry.type,
        "label": entry.label,
        "config": _build_config(entry),
        "nodeId": app.build_node_id(entry),
        "default": entry.default,
        "required": entry.is_required,
        "presentation": {"mode": mode, "type": "text"} if entry.type is InputType.TEXT else None,
    }


def _build_config(entry: AppInput) -> dict[str, Any] | None:
    if entry.is_media:
        return {"mediaType": entry.media_type}
    return build_options(entry, entry.option_shape) if entry.type is InputType.SELECT else None


def build_options(entry: AppInput, shape: OptionShape) -> dict[str, Any] | None:
    """Describe the choices of a select in one of the shapes."""
    values = [value for value, _ in entry.options]
    labelled = [{"value": value, "label": label} for value, label in entry.options]
    match shape:
        case OptionShape.STRINGS | OptionShape.LABELLED:
            return {"options": values if shape is OptionShape.STRINGS else labelled}
        case OptionShape.CHOICES:
            return {"choices": values}
        case OptionShape.NONE:
            return None
        case _:
            assert_never(shape)


def _build_metadata(app: SandboxApp) -> dict[str, Any]:
    shown = {"icon": "workflow", "category": "general", "sort_order": 999, "total_cost": app.cost_credits}
    return {**shown, "description_key": None, "translation_key": None}
