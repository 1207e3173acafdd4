"""The provider's HTTP interface: the flows family of the Magnific API 1.0.0, and the files origin beside it."""

from functools import partial
from typing import Any, Final, TypeAlias

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.sandbox.access import check_key
from flowport.sandbox.apps import APPS, APPS_BY_ID, SandboxApp, build_definition, build_own_summary, build_summary
from flowport.sandbox.bodies import read_object
from flowport.sandbox.faults import Work, enact
from flowport.sandbox.files import PATH_PREFIX, build_file_answer
from flowport.sandbox.inputs import parse_inputs
from flowport.sandbox.plans import build_plan
from flowport.sandbox.refusals import Refused, answer_refused, build_refusal, get_message
from flowport.sandbox.runs import Run, build_run
from flowport.sandbox.state import SandboxState
from flowport.sandbox.traffic import Operation

MAX_SEARCH_CHARACTERS: Final = 200

Handlers: TypeAlias = dict[Any, Any]
"""Exception handlers as Starlette wants them."""

EXCEPTION_HANDLERS: Final[Handlers] = {
    Refused: answer_refused,
    HTTPException: answer_refused,
    Exception: answer_refused,
}


def build_api_routes(state: SandboxState) -> list[Route]:
    """Build the routes of the contract."""
    root = "/v1/ai"
    return [
        Route(f"{root}/flows", partial(_list_apps, state)),
        Route(f"{root}/me/flows", partial(_list_own_apps, state)),
        Route(f"{root}/flows/runs/{{run_id}}", partial(_show_run, state)),
        Route(f"{root}/flows/{{app_id}}", partial(_show_app, state)),
        Route(f"{root}/flows/{{app_id}}/run", partial(_start_run, state), methods=["POST"]),
    ]


def build_files_app(state: SandboxState) -> Starlette:
    """Build the application of the files origin. Its links need no key: the token is the permission."""
    route = Route(f"{PATH_PREFIX}{{file_id}}/{{name}}", partial(_show_file, state))
    return Starlette(routes=[route], exception_handlers=EXCEPTION_HANDLERS)


async def _show_file(state: SandboxState, request: Request) -> Response:
    file = state.files.get(request.path_params["file_id"])

    async def work() -> Response:
        return build_file_answer(state.files, request)

    return await _perform(state, Operation.FILE, file.app_id if file else None, work)


async def _list_apps(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)

    async def work() -> Response:
        search = request.query_params.get("search", "")
        if len(search) > MAX_SEARCH_CHARACTERS:
            raise Refused(400, "Parameter 'search' is not valid")
        found = [app for app in APPS if app.is_published and search.casefold() in app.name.casefold()]
        return JSONResponse({"data": [build_summary(app) for app in found]})

    return await _perform(state, Operation.LIST, None, work)


async def _list_own_apps(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)

    async def work() -> Response:
        return JSONResponse({"data": [build_own_summary(app) for app in APPS if app.is_own]})

    return await _perform(state, Operation.LIST_OWN, None, work)


async def _show_app(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)
    app_id = request.path_params["app_id"]

    async def work() -> Response:
        return JSONResponse({"data": build_definition(_find_app(app_id))})

    return await _perform(state, Operation.GET, app_id, work)


async def _start_run(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)
    app_id = request.path_params["app_id"]

    async def work() -> Response:
        run = await _accept_run(state, _find_app(app_id), request)
        # Not wrapped in `data`, unlike every other answer, and "running" whatever the run does.
        return JSONResponse({"status": "running", "workflow_run_identifier": run.id}, 202)

    return await _perform(state, Operation.RUN, app_id, work)


async def _show_run(state: SandboxState, request: Request) -> Response:
    check_key(request, state.options.key)
    run = state.runs.get(request.path_params["run_id"])

    async def work() -> Response:
        if run is None:
            raise Refused(404, get_message(404))
        return JSONResponse({"data": build_run(run, state.files)})

    return await _perform(state, Operation.STATUS, run.app.id if run else None, work)


async def _accept_run(state: SandboxState, app: SandboxApp, request: Request) -> Run:
    body = await read_object(request)
    inputs = body.get("inputs")
    if not isinstance(inputs, dict):
        raise Refused(400, "Parameter 'inputs' is not valid")
    values = await anyio.to_thread.run_sync(parse_inputs, app, inputs, state.files, limiter=state.limiter)
    plan = build_plan(app, state.plans.take(app.id), state.options.speed)
    state.traffic.count_accepted(app.id)
    return state.runs.accept(app, values, plan)


async def _perform(state: SandboxState, operation: Operation, app_id: str | None, work: Work) -> Response:
    """Count a request, hold it to the limit, and do its work or what a fault makes of it."""
    state.traffic.count(operation)
    if operation is not Operation.FILE and not state.traffic.allow():
        response: Response = build_refusal(429, get_message(429))
    else:
        fault = state.faults.take(operation, app_id)
        response = await work() if fault is None else await enact(fault, work)
    state.traffic.count_answer(response.status_code)
    return response


def _find_app(app_id: str) -> SandboxApp:
    if app_id not in APPS_BY_ID:
        raise Refused(404, get_message(404))
    return APPS_BY_ID[app_id]
