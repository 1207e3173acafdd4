"""Running the sandbox: two origins on the loopback interface, in one event loop, until cancelled."""

import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import anyio
import anyio.abc
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from flowport.runtime.http_server import HttpServer
from flowport.sandbox.access import guard_host
from flowport.sandbox.answering import EXCEPTION_HANDLERS
from flowport.sandbox.api import build_api_routes
from flowport.sandbox.apps import APPS
from flowport.sandbox.file_origin import build_files_app
from flowport.sandbox.files import FileStore
from flowport.sandbox.late_face import MAGICA_PREFIX, LateFace
from flowport.sandbox.magica.state import MagicaState
from flowport.sandbox.retention import tidy
from flowport.sandbox.runs import RunStore
from flowport.sandbox.state import SandboxOptions, SandboxState, Speech
from flowport.sandbox.storage import MemoryStorage, Storage
from flowport.sandbox.switches import build_switch_routes
from flowport.sandbox.traffic import Traffic
from flowport.sandbox.uploads import UploadStore
from flowport.sandbox.webhooks import WebhookSender
from flowport.sandbox.wire import TransportProtocol
from flowport.sandbox.world_switches import build_world_routes

__all__ = ["SandboxAddresses", "SandboxOptions", "serve"]

_LOG = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"

_PORTS: Final = "ports"
_ORIGIN: Final = "origin"
"""The kinds of two sorts of records: the ports of the last process, and every origin from which files were served."""

MAX_FORMER_ORIGINS: Final = 20
_MAX_PORT: Final = 65_535
_LASTING_PORTS: Final = range(20_000, 32_000)
_PORT_TRIES: Final = 5

WORKER_THREADS: Final = 2
"""Pictures made at the same time; more would only slow each other down on a small machine."""


@dataclass(frozen=True, slots=True)
class SandboxAddresses:
    """Where a sandbox listens; neither ends with a slash."""

    api_url: str
    files_url: str
    former_files_urls: tuple[str, ...] = ()
    """Where earlier processes of the same folder served files; their links are still good."""


async def serve(
    options: SandboxOptions, on_ready: Callable[[SandboxAddresses], None], storage: Storage | None = None
) -> None:
    """Serve until cancelled; then both origins are closed within a second, open connections included.

    Args:
        options: How it is to be.
        on_ready: Called once, when connections are accepted at the addresses it is given.
        storage: What outlives this process; the ports of the last one are taken again where they are free.

    Raises:
        OSError: A wanted port is taken.
    """
    storage = storage or MemoryStorage()
    last = storage.load(_PORTS).get("last", {})
    with (
        _listen(options.port, _choose_ports(storage, last.get("api"))) as api_socket,
        _listen(options.files_port, _choose_ports(storage, last.get("files"))) as files_socket,
    ):
        api_port, files_port = api_socket.getsockname()[1], files_socket.getsockname()[1]
        addresses = SandboxAddresses(f"http://{LOOPBACK}:{api_port}", f"http://{LOOPBACK}:{files_port}")
        former = _note_addresses(storage, addresses, {"api": api_port, "files": files_port})
        addresses = replace(addresses, former_files_urls=former)
        async with anyio.create_task_group() as tasks:
            state = _build_state(options, addresses, tasks, storage)
            state.runs.restore(APPS)
            if options.tidies_by_itself:
                tidy(state, time.time())
            api = Starlette(
                routes=[
                    *build_api_routes(state),
                    *build_switch_routes(state),
                    *build_world_routes(state),
                    Mount(MAGICA_PREFIX, app=LateFace(state)),
                ],
                exception_handlers=EXCEPTION_HANDLERS,
            )
            servers = {
                _build_server(guard_host(api, api_port)): api_socket,
                _build_server(guard_host(build_files_app(state), files_port)): files_socket,
            }
            for server, listener in servers.items():
                tasks.start_soon(_serve_to_the_end, server, listener)
            try:
                # The sockets listen already, so a client that comes now waits in their queues.
                on_ready(addresses)
                await anyio.sleep_forever()
            finally:
                for server in servers:
                    server.should_exit = True


def _choose_ports(storage: Storage, last: object) -> Iterator[int]:
    """Return the ports to try where any will do: the last process's, so that its links lead somewhere.

    The first one is chosen below those that systems give to outgoing connections, so that it is free the next day.
    """
    if isinstance(last, int) and 0 < last <= _MAX_PORT:
        yield last
    if not isinstance(storage, MemoryStorage):
        yield from (secrets.choice(_LASTING_PORTS) for _ in range(_PORT_TRIES))


def _listen(port: int, candidates: Iterator[int]) -> socket.socket:
    """Listen at a port; for 0 at the first candidate that is free, else at any."""
    for candidate in candidates if port == 0 else ():
        with contextlib.suppress(OSError):
            return socket.create_server((LOOPBACK, candidate), backlog=128)
    return socket.create_server((LOOPBACK, port), backlog=128)


def _note_addresses(storage: Storage, addresses: SandboxAddresses, ports: dict[str, int]) -> tuple[str, ...]:
    """Write down where this process listens, and return where earlier ones have served files."""
    former = [origin for origin in storage.load(_ORIGIN) if origin != addresses.files_url]
    try:
        if storage.load(_PORTS).get("last") != ports:
            storage.put(_PORTS, "last", dict(ports))
            storage.put(_ORIGIN, addresses.files_url, {})
        for origin in former[:-MAX_FORMER_ORIGINS]:
            storage.remove(_ORIGIN, origin)
    except OSError as exc:
        _LOG.warning("Where the sandbox listens was not written down: %s", exc.strerror)
    return tuple(former[-MAX_FORMER_ORIGINS:])


def _build_state(
    options: SandboxOptions,
    addresses: SandboxAddresses,
    tasks: anyio.abc.TaskGroup,
    storage: Storage,
) -> SandboxState:
    files = FileStore(addresses.files_url, options.link_seconds, storage=storage)
    limiter = anyio.CapacityLimiter(WORKER_THREADS)
    runs = RunStore(files, tasks, limiter, storage=storage)
    return SandboxState(
        options,
        files,
        runs,
        limiter,
        Traffic(options.requests_per_minute, minute_seconds=options.minute_seconds),
        Speech(options.dialect),
        UploadStore(addresses.files_url, storage=storage),
        WebhookSender(runs, files, tasks),
        MagicaState(
            options.magica_key,
            addresses.files_url,
            runs,
            per_minute=options.magica_requests_per_minute,
            per_day=options.magica_requests_per_day,
        ),
        storage,
    )


def _build_server(app: ASGIApp) -> HttpServer:
    # What goes wrong here is either meant to or shown by the run; standard error belongs to the parent's log.
    return HttpServer(app, log_level=logging.CRITICAL, lifespan="off", http=TransportProtocol)


async def _serve_to_the_end(server: HttpServer, listener: socket.socket) -> None:
    """Serve until told to exit; a cancellation alone would leave uvicorn's connections open."""
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[listener])
