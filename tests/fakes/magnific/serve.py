"""Run the fakes: the API of both providers and their files' origin on the loopback interface, until cancelled."""

from collections.abc import Callable

import anyio
import anyio.abc
from starlette.applications import Starlette
from starlette.routing import Mount

from flowport.sandbox.serve import LOOPBACK, WORKER_THREADS, SandboxAddresses, listen, serve_origins
from flowport.sandbox.web import EXCEPTION_HANDLERS, guard
from tests.fakes.magica.face import build_face
from tests.fakes.magica.state import MagicaState
from tests.fakes.magnific.api import build_api_routes
from tests.fakes.magnific.file_origin import build_files_app
from tests.fakes.magnific.files import FileStore
from tests.fakes.magnific.runs import RunStore, draw_small, make_pixel
from tests.fakes.magnific.state import FakeOptions, SandboxState, Speech
from tests.fakes.magnific.switches import build_switch_routes
from tests.fakes.magnific.traffic import Traffic
from tests.fakes.magnific.uploads import UploadStore
from tests.fakes.magnific.webhooks import WebhookSender
from tests.fakes.magnific.wire import RawProtocol
from tests.fakes.magnific.world_switches import build_world_routes

MAGICA_PREFIX = "/magica"
"""Under which Magica's API lies, at the port of Magnific's."""


async def serve(options: FakeOptions, on_ready: Callable[[SandboxAddresses], None]) -> None:
    """Serve until cancelled; then both origins are closed within a second, open connections included.

    Raises:
        OSError: A port that was asked for is taken.
    """
    with listen(options.port) as api_socket, listen(options.files_port) as files_socket:
        api_port, files_port = api_socket.getsockname()[1], files_socket.getsockname()[1]
        addresses = SandboxAddresses(f"http://{LOOPBACK}:{api_port}", f"http://{LOOPBACK}:{files_port}")
        async with anyio.create_task_group() as tasks:
            state = _build_state(options, addresses, tasks)
            api = Starlette(
                routes=[
                    *build_api_routes(state),
                    *build_switch_routes(state),
                    *build_world_routes(state),
                    Mount(MAGICA_PREFIX, app=build_face(state)),
                ],
                exception_handlers=EXCEPTION_HANDLERS,
            )
            origins = [
                (guard(api, api_port), api_socket),
                (guard(build_files_app(state), files_port), files_socket),
            ]
            await serve_origins(tasks, origins, lambda: on_ready(addresses), RawProtocol)


def _build_state(options: FakeOptions, addresses: SandboxAddresses, tasks: anyio.abc.TaskGroup) -> SandboxState:
    files = FileStore(addresses.files_url, options.link_seconds)
    limiter = anyio.CapacityLimiter(WORKER_THREADS)
    runs = RunStore(files, tasks, limiter, make=make_pixel if options.is_quick else draw_small)
    return SandboxState(
        options,
        files,
        runs,
        limiter,
        Traffic(options.requests_per_minute, minute_seconds=options.minute_seconds),
        Speech(options.dialect),
        UploadStore(addresses.files_url),
        WebhookSender(runs, files, tasks),
        MagicaState(
            options.magica_key,
            addresses.files_url,
            runs,
            per_minute=options.magica_requests_per_minute,
            per_day=options.magica_requests_per_day,
        ),
    )
