"""Serve clients of this computer over Streamable HTTP. Imported only for `--http`, because it imports the web server."""

import contextlib
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Final

import anyio
import anyio.abc
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

from flowport.server.handlers import FlowportServer
from flowport.server.shutdown import End
from flowport.server.stdio_streams import MAX_MESSAGE_BYTES
from flowport.web.bodies import BodyReader
from flowport.web.http_requests import RequestWatch
from flowport.web.listen_address import Address, HostCheck, build_authorities, build_origins

PATH: Final = "/mcp"

GRACE_SECONDS: Final = 0
"""Seconds for open requests after shutdown began. A call that waits for its run would use up any grace period, which the store
needs; its run is on record."""


class _Web(uvicorn.Server):
    """Uvicorn without its signal handlers: signals belong to the command line."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(listener: socket.socket, server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until shutdown begins, then close all connections."""
    host, port = listener.getsockname()[:2]
    address = Address(host, port)
    web, is_over = _build_web(build_app(server, address)), anyio.Event()
    tasks.start_soon(_run, web, listener, end, is_over)
    # The socket accepts connections already, so an early client waits in its queue.
    sys.stdout.write(f"Flowport listens at {address.origin}{PATH}\n")
    sys.stdout.flush()
    await end.asked.wait()
    server.close_streams()
    # The server logs each closed connection as an error; here it is intended.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    web.should_exit = True
    await is_over.wait()


def build_app(server: FlowportServer, address: Address) -> Starlette:
    """Return the web application of a server, for requests that name this address.

    Host and Origin are checked because a web page's own name can resolve to this computer (DNS rebinding).
    """
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=sorted(build_authorities(address)),
        allowed_origins=sorted(build_origins(address)),
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH, transport_security=security, max_request_body_size=MAX_MESSAGE_BYTES
    )
    # The middleware added last runs first: an invalid message never gets an id of its own.
    app.add_middleware(RequestWatch)
    app.add_middleware(BodyReader, security=security, max_bytes=MAX_MESSAGE_BYTES)
    app.add_middleware(HostCheck, address=address, path=PATH)
    return app


def _build_web(app: Starlette) -> _Web:
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Web(config)


async def _run(web: _Web, listener: socket.socket, end: End, is_over: anyio.Event) -> None:
    """Run the web server; if it ends unexpectedly, the process ends too."""
    try:
        await web.serve(sockets=[listener])
    finally:
        end.ask(code=1)
        is_over.set()
