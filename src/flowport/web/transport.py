"""Serve clients of this computer over Streamable HTTP. Imported only for `--http`, because it imports the web server."""

import logging
import socket
import sys

import anyio
import anyio.abc

from flowport.bootstrap import Assembly
from flowport.runtime.http_server import HttpServer
from flowport.server.server import FlowportServer
from flowport.server.shutdown import End
from flowport.web.app import PATH, build_app, build_site
from flowport.web.listen_address import Address


async def serve(
    listener: socket.socket,
    server: FlowportServer,
    tasks: anyio.abc.TaskGroup,
    end: End,
    assembly: Assembly | None = None,
) -> None:
    """Serve until shutdown begins, then close all connections.

    Args:
        assembly: What runs apps; None for a server that only says what is wrong in its configuration.
    """
    host, port = listener.getsockname()[:2]
    address = Address(host, port)
    site = None if assembly is None else build_site(assembly, address, end)
    # An open request that waits for its run would use up the time that closing the store needs; its run is on record.
    web = HttpServer(build_app(server, address, site), log_level=logging.WARNING, lifespan="on")
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


async def _run(web: HttpServer, listener: socket.socket, end: End, is_over: anyio.Event) -> None:
    """Run the web server; if it ends unexpectedly, the process ends too."""
    try:
        await web.serve(sockets=[listener])
    finally:
        end.ask(code=1)
        is_over.set()
