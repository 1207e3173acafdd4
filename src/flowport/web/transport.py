"""Serve clients of this computer over Streamable HTTP. Imported only for `--http`, because it imports the web server."""

import logging
import socket
import sys
from typing import Final

import anyio
import anyio.abc
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

from flowport.runtime.http_server import HttpServer
from flowport.server.server import FlowportServer
from flowport.server.shutdown import End
from flowport.server.stdio_streams import MAX_MESSAGE_BYTES
from flowport.web.bodies import BodyReader
from flowport.web.http_requests import RequestWatch
from flowport.web.listen_address import Address, HostCheck, build_authorities, build_origins

PATH: Final = "/mcp"


async def serve(listener: socket.socket, server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until shutdown begins, then close all connections."""
    host, port = listener.getsockname()[:2]
    address = Address(host, port)
    # An open request that waits for its run would use up the time that closing the store needs; its run is on record.
    web = HttpServer(build_app(server, address), log_level=logging.WARNING, lifespan="on")
    is_over = anyio.Event()
    tasks.start_soon(_run, web, listener, end, is_over)
    # The socket accepts connections already, so an early client waits in its queue.
    if sys.stdout is not None:
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


async def _run(web: HttpServer, listener: socket.socket, end: End, is_over: anyio.Event) -> None:
    """Run the web server; if it ends unexpectedly, the process ends too."""
    try:
        await web.serve(sockets=[listener])
    finally:
        end.ask(code=1)
        is_over.set()
