"""The provider's API: both path families of Magnific's flows over one store, and its uploads."""

from functools import partial
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.sandbox.apps import SandboxApp, parse_inputs
from flowport.sandbox.files import CONTENT_TYPES, MAX_FILES
from flowport.sandbox.web import Refused, check_key, format_instant, get_message, read_object
from tests.fakes.magnific.answering import perform
from tests.fakes.magnific.describing import build_definition, build_own_summary, build_summary
from tests.fakes.magnific.dialect import Family
from tests.fakes.magnific.plans import build_plan
from tests.fakes.magnific.runs import Run, build_run
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation
from tests.fakes.magnific.webhooks import parse_webhook

MAX_SEARCH_CHARACTERS: Final = 200

_ROOT: Final = "/v1/ai"


def build_api_routes(state: SandboxState) -> list[Route]:
    """Build the routes of the contract. Those of a family that is not spoken at present answer 404."""
    uploads = [
        Route(f"{_ROOT}/uploads/request-url", partial(_request_uploads, state), methods=["POST"]),
        Route(f"{_ROOT}/uploads", partial(_list_uploads, state)),
        Route("/v1/creations/recent", partial(_list_recent, state)),
    ]
    return [*uploads, *(route for family in Family for route in _build_family_routes(state, family))]


def _build_family_routes(state: SandboxState, family: Family) -> list[Route]:
    return [
        Route(f"{_ROOT}/{family}", partial(_list_apps, state, family)),
        Route(f"{_ROOT}/me/{family}", partial(_list_own_apps, state, family)),
        Route(f"{_ROOT}/{family}/runs/{{run_id}}", partial(_show_run, state, family)),
        Route(f"{_ROOT}/{family}/{{app_id}}", partial(_show_app, state, family)),
        Route(f"{_ROOT}/{family}/{{app_id}}/run", partial(_start_run, state, family), methods=["POST"]),
    ]


async def _list_apps(state: SandboxState, family: Family, request: Request) -> Response:
    check_key(request, state.options.key)

    async def work() -> Response:
        search = request.query_params.get("search", "")
        if len(search) > MAX_SEARCH_CHARACTERS:
            raise Refused(400, "Parameter 'search' is not valid")
        found = [app for app in state.shelf.apps if app.is_published and search.casefold() in app.name.casefold()]
        return JSONResponse({"data": [build_summary(app, state.speech.dialect) for app in found]})

    return await perform(state, Operation.LIST, None, work, family=family)


async def _list_own_apps(state: SandboxState, family: Family, request: Request) -> Response:
    check_key(request, state.options.key)

    async def work() -> Response:
        return JSONResponse({"data": [build_own_summary(app) for app in state.shelf.apps if app.is_own]})

    return await perform(state, Operation.LIST_OWN, None, work, family=family)


async def _show_app(state: SandboxState, family: Family, request: Request) -> Response:
    check_key(request, state.options.key)
    app_id = request.path_params["app_id"]

    async def work() -> Response:
        return JSONResponse({"data": build_definition(_find_app(state, app_id), state.speech.dialect, family)})

    return await perform(state, Operation.GET, app_id, work, family=family)


async def _start_run(state: SandboxState, family: Family, request: Request) -> Response:
    check_key(request, state.options.key)
    app_id = request.path_params["app_id"]

    async def work() -> Response:
        run = await _accept_run(state, family, _find_app(state, app_id), request)
        # Not wrapped in `data`, unlike every other answer, and "running" whatever the run does.
        return JSONResponse({"status": "running", "workflow_run_identifier": run.id}, 202)

    return await perform(state, Operation.RUN, app_id, work, family=family)


async def _show_run(state: SandboxState, family: Family, request: Request) -> Response:
    check_key(request, state.options.key)
    run = state.runs.get(request.path_params["run_id"])

    async def work() -> Response:
        if run is None:
            raise Refused(404, get_message(404))
        return JSONResponse({"data": build_run(run, state.files)})

    return await perform(state, Operation.STATUS, run.app.id if run else None, work, family=family)


async def _accept_run(state: SandboxState, family: Family, app: SandboxApp, request: Request) -> Run:
    body = await read_object(request)
    inputs = body.get("inputs")
    if not isinstance(inputs, dict):
        raise Refused(400, "Parameter 'inputs' is not valid")
    webhook = parse_webhook(body.get("webhook"))
    values = await anyio.to_thread.run_sync(
        partial(parse_inputs, takes_keys=family is Family.FLOWS),
        app,
        inputs,
        state.creations.find,
        limiter=state.limiter,
    )
    plan = build_plan(app, state.plans.take(app.id), state.options.speed)
    state.traffic.count_accepted(app.id)
    run = state.runs.accept(app, values, plan)
    if isinstance(prompt := inputs.get("prompt"), str):
        state.prompts.append(prompt)
        state.prompt_runs[prompt] = run.id
    if webhook is not None:
        state.webhooks.watch(run, webhook)
    return run


def _find_app(state: SandboxState, app_id: str) -> SandboxApp:
    app = state.shelf.get(app_id)
    if app is None:
        raise Refused(404, get_message(404))
    return app


async def _request_uploads(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)

    async def work() -> Response:
        files = (await read_object(request)).get("files")
        if not isinstance(files, list) or not 1 <= len(files) <= MAX_FILES:
            raise Refused(400, "Parameter 'files' is not valid")
        types = [item.get("content_type") if isinstance(item, dict) else None for item in files]
        known = [kind for kind in types if isinstance(kind, str) and kind in CONTENT_TYPES]
        if len(known) < len(types):
            raise Refused(400, "Parameter 'content_type' is not valid")
        return JSONResponse({"files": state.uploads.request(known)})

    return await perform(state, Operation.REQUEST_UPLOAD, None, work)


async def _list_uploads(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)

    async def work() -> Response:
        return JSONResponse({"files": state.uploads.list_uploads()})

    return await perform(state, Operation.LIST_UPLOADS, None, work)


async def _list_recent(state: SandboxState, request: Request) -> Response:
    """List the newest files of the key's user, whatever made them."""
    check_key(request, state.options.key)

    async def work() -> Response:
        size = int(request.query_params.get("per_page", "20"))
        newest = sorted(state.files.get_all(), key=lambda file: file.created_at, reverse=True)
        items = [
            {
                "creation": {"identifier": file.id, "created_at": format_instant(file.created_at)},
                "url": state.files.get_url(file.id),
                "status": "completed",
            }
            for file in newest[:size]
        ]
        pages = {"current_page": 1, "per_page": size, "last_page": 1, "total": len(newest)}
        return JSONResponse({"data": items, "meta": {"pagination": pages}})

    return await perform(state, Operation.LIST_RECENT, None, work)
