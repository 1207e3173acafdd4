"""The second origin, where results are fetched and uploads put. No key belongs here: the links are signed."""

from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowport.sandbox.files import MAX_KEPT_BYTES, UPLOAD_PREFIX
from flowport.sandbox.web import EXCEPTION_HANDLERS, read_bytes
from tests.fakes.magica.library import LIBRARY_PREFIX
from tests.fakes.magnific.answering import perform
from tests.fakes.magnific.files import PATH_PREFIX, build_content, build_file_answer
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation


def build_files_app(state: SandboxState) -> Starlette:
    """Build the application of the files origin."""
    routes = [
        Route(f"{PATH_PREFIX}{{file_id}}/{{name}}", partial(_show_file, state)),
        Route(f"{UPLOAD_PREFIX}{{upload_id}}", partial(_take_upload, state), methods=["PUT"]),
        Route(f"{UPLOAD_PREFIX}{{upload_id}}/asset", partial(_show_asset, state)),
        Route(f"{LIBRARY_PREFIX}{{file_id}}", partial(_show_library, state)),
    ]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)


async def _show_file(state: SandboxState, request: Request) -> Response:
    file = state.files.get(request.path_params["file_id"])

    async def work() -> Response:
        return build_file_answer(state.files, request)

    return await perform(state, Operation.FILE, file.app_id if file else None, work)


async def _take_upload(state: SandboxState, request: Request) -> Response:
    upload_id = request.path_params["upload_id"]

    async def work() -> Response:
        state.uploads.check_put(upload_id, request.query_params.get("signature", ""), request.headers)
        state.uploads.put(upload_id, await read_bytes(request, MAX_KEPT_BYTES))
        return Response()

    return await perform(state, Operation.UPLOAD, None, work)


async def _show_asset(state: SandboxState, request: Request) -> Response:
    async def work() -> Response:
        token = request.query_params.get("token", "")
        return build_content(state.uploads.open_asset(request.path_params["upload_id"], token))

    return await perform(state, Operation.FILE, None, work)


async def _show_library(state: SandboxState, request: Request) -> Response:
    async def work() -> Response:
        return state.magica.library.build_answer(request.path_params["file_id"])

    return await perform(state, Operation.FILE, None, work)
