"""Run the sandbox: two origins on the loopback interface, in one event loop, until cancelled or no program uses it any more.

Each program that shares a sandbox holds a connection; the end of the last one ends the process. It may send a line with a
JSON list of the runs that it still needs: older ones are then deleted.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.abc
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from flowport.runtime.http_server import HttpServer
from flowport.sandbox.api import Api, build_files_app
from flowport.sandbox.files import Files
from flowport.sandbox.runs import Retention, Runs, tidy
from flowport.sandbox.storage import Storage
from flowport.sandbox.web import guard

GRANTED: Final = b"ok\n"
OTHERS_REMAIN: Final = b"others\n"  # sent to a program that leaves while others remain
HANDSHAKE_SECONDS: Final = 5.0
MAX_LINE_BYTES: Final = 1_000_000


class Leases:
    """Counts the programs that hold a connection."""

    def __init__(self, key: str, on_end: Callable[[], None]) -> None:
        """Listen. A program must send the key first; `on_end` ends the process."""
        self._key = key.encode()
        self._on_end = on_end
        self._on_tidy: Callable[[Collection[str]], object] = list
        self._count, self._was_leased = 0, False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]

    async def serve(self, on_tidy: Callable[[Collection[str]], object]) -> None:
        """Accept programs until cancelled; `on_tidy` gets the runs that one still needs."""
        self._on_tidy = on_tidy
        # A server that starts by itself gives the loop a turn before it is returned: cancelled there, it would never close.
        server = await asyncio.start_server(self._hold, sock=self.listener, limit=MAX_LINE_BYTES, start_serving=False)
        try:
            await server.start_serving()
            await anyio.sleep_forever()
        finally:
            server.close()

    def note_parent_gone(self) -> None:
        """End the process unless a program has held a connection: the one that started it may have died before."""
        if not self._was_leased:
            self._on_end()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), HANDSHAKE_SECONDS)
            if hmac.compare_digest(line.rstrip(b"\n"), self._key):
                self._count += 1
                self._was_leased = True
                await self._listen(reader, writer)
                self._count -= 1
                if not self._count:
                    self._on_end()
                writer.write(OTHERS_REMAIN)
        except (OSError, ValueError, TimeoutError):
            pass  # a program that was killed, or another one that found the port
        finally:
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(GRANTED)
            while line := await reader.readline():
                self._on_tidy([str(run_id) for run_id in json.loads(line)])
                writer.write(GRANTED)
        except (OSError, ValueError, TypeError):
            pass  # a program that was killed, or sent something else


_LOG = logging.getLogger(__name__)
LOOPBACK: Final = "127.0.0.1"
_LASTING_PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to outgoing connections, so that a port is free the next day."""
_PORT_TRIES: Final = 5
WORKER_THREADS: Final = 2  # pictures made at the same time; more would only slow each other down on a small machine


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How a sandbox runs."""

    key: str = field(repr=False)  # the only API key that it accepts
    port: int = 0
    files_port: int = 0  # 0: any free port
    link_seconds: float = 43_200.0  # how long a result link works; the real provider's are good for 12 hours
    speed: float = 1.0  # multiplies the time that runs take; 0: no longer than the work itself
    retention: Retention = field(default_factory=Retention)
    tidies_at_start: bool = False
    """Whether it forgets old runs when it starts; otherwise its client says when, and what it still needs."""


@dataclass(frozen=True, slots=True)
class SandboxAddresses:
    """Where a sandbox listens; no URL ends with a slash."""

    api_url: str
    files_url: str
    former_files_urls: tuple[str, ...] = ()
    """Where earlier processes of the same folder served files; their links are still good."""


class TransportProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1 protocol without a delay between head and body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Turn off Nagle's algorithm, which asyncio does only for sockets that name their protocol; it costs 40 ms."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def serve(
    options: SandboxOptions,
    on_ready: Callable[[SandboxAddresses], None],
    storage: Storage | None = None,
    leases: Leases | None = None,
) -> None:
    """Serve until cancelled; then both origins close within a second. Raises `OSError` for a port that is taken.

    `on_ready` is called once, when connections are accepted. The last ports of a storage are taken again if they are free.
    """
    is_lasting, storage = storage is not None, storage or Storage()
    last = json.loads(storage.get_setting("ports") or "{}")
    with (
        listen(options.port, _choose_ports(last.get("api"), is_lasting=is_lasting)) as api_socket,
        listen(options.files_port, _choose_ports(last.get("files"), is_lasting=is_lasting)) as files_socket,
        contextlib.nullcontext() if leases is None else leases.listener,
    ):
        ports = {"api": api_socket.getsockname()[1], "files": files_socket.getsockname()[1]}
        api_url, files_url = (f"http://{LOOPBACK}:{port}" for port in ports.values())
        addresses = SandboxAddresses(api_url, files_url, _note_addresses(storage, files_url, ports))
        async with anyio.create_task_group() as tasks:
            files = Files(files_url, storage, options.link_seconds)
            runs = Runs(storage, files, tasks, anyio.CapacityLimiter(WORKER_THREADS), options.speed)
            runs.resume()

            def forget(needed: Collection[str] = ()) -> None:
                tidy(storage, options.retention, time.time(), needed)

            if options.tidies_at_start:
                forget()
            if leases is not None:
                tasks.start_soon(leases.serve, forget)
            origins = [
                (guard(Api(runs, files).build(), ports["api"], options.key), api_socket),
                (guard(build_files_app(files), ports["files"]), files_socket),
            ]
            await serve_origins(tasks, origins, lambda: on_ready(addresses))


async def serve_origins(
    tasks: anyio.abc.TaskGroup,
    origins: Collection[tuple[ASGIApp, socket.socket]],
    on_ready: Callable[[], None],
    protocol: type[H11Protocol] = TransportProtocol,
) -> None:
    """Serve applications at sockets that listen, until cancelled."""
    servers = [(_build_server(app, protocol), listener) for app, listener in origins]
    for server, listener in servers:
        tasks.start_soon(_serve_to_the_end, server, listener)
    try:
        # The sockets listen already, so a client that comes now waits in their queues.
        on_ready()
        await anyio.sleep_forever()
    finally:
        for server, _ in servers:
            server.should_exit = True


def _choose_ports(last: object, *, is_lasting: bool) -> Iterator[int]:
    """Return the ports to try where any will do: the last process's, so that its links lead somewhere."""
    if isinstance(last, int):
        yield last
    if is_lasting:
        yield from (secrets.choice(_LASTING_PORTS) for _ in range(_PORT_TRIES))


def listen(port: int, candidates: Iterable[int] = ()) -> socket.socket:
    """Listen at a port; for 0 at the first candidate that is free, else at any."""
    for candidate in candidates if port == 0 else ():
        with contextlib.suppress(OSError, OverflowError):
            return socket.create_server((LOOPBACK, candidate), backlog=128)
    return socket.create_server((LOOPBACK, port), backlog=128)


def _note_addresses(storage: Storage, files_url: str, ports: dict[str, int]) -> tuple[str, ...]:
    """Write down where this process listens, and return where earlier ones have served files."""
    known = json.loads(storage.get_setting("origins") or "[]")
    former = [origin for origin in known if origin != files_url][-20:]
    try:
        if json.loads(storage.get_setting("ports") or "{}") != ports:
            storage.set_setting("ports", json.dumps(ports))
            storage.set_setting("origins", json.dumps([*former, files_url]))
    except OSError as exc:
        _LOG.warning("Where the sandbox listens was not written down: %s", exc.strerror)
    return tuple(former)


def _build_server(app: ASGIApp, protocol: type[H11Protocol]) -> HttpServer:
    # Standard error belongs to the parent's log.
    return HttpServer(app, log_level=logging.CRITICAL, lifespan="off", http=protocol)


async def _serve_to_the_end(server: HttpServer, listener: socket.socket) -> None:
    """Serve until it should exit; a cancellation alone would leave uvicorn's connections open."""
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[listener])
