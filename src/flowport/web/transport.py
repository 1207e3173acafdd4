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
from flowport.web.auth import open_authenticator
from flowport.web.listen_address import Address
from flowport.web.local_token import NAME
from flowport.web.site import Site

logger = logging.getLogger(__name__)


async def serve(
    listener: socket.socket,
    server: FlowportServer,
    tasks: anyio.abc.TaskGroup,
    end: End,
    assembly: Assembly | None = None,
    *,
    has_auth: bool = True,
) -> None:
    """Serve until shutdown begins, then close all connections.

    Args:
        assembly: What runs apps; None for a server that only says what is wrong in its configuration.
        has_auth: Whether each request has to prove who sends it.

    Raises:
        ConfigurationError: Other computers could use the server without a proof.
    """
    host, port = listener.getsockname()[:2]
    address = Address(host, port)
    site = None if assembly is None else await _open_site(assembly, address, end, has_auth=has_auth)
    # An open request that waits for its run would use up the time that closing the store needs; its run is on record.
    web = HttpServer(build_app(server, address, site), log_level=logging.WARNING, lifespan="on")
    is_over = anyio.Event()
    tasks.start_soon(_run, web, listener, end, is_over)
    # The socket accepts connections already, so an early client waits in its queue.
    _say(f"Flowport listens at {address.origin}{PATH}")
    if site is not None and site.authenticator.local_hash:
        advice = f"Clients send the token in {site.settings.home / NAME}, as the header Authorization: Bearer TOKEN."
        logger.warning("%s", advice)
        _say(advice)
    await end.asked.wait()
    server.close_streams()
    # The server logs each closed connection as an error; here it is intended.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    web.should_exit = True
    await is_over.wait()


async def _open_site(assembly: Assembly, address: Address, end: End, *, has_auth: bool) -> Site:
    workspace = assembly.workspace
    settings, verifier = workspace.settings, None
    if has_auth and settings.http.oauth_issuer:
        from flowport.web.oauth import build_verifier  # noqa: PLC0415 - loads cryptography

        verifier = build_verifier(settings.http, address, workspace.clock)
    authenticator = await open_authenticator(
        settings, workspace.store, address, workspace.clock.now, has_auth=has_auth, verifier=verifier
    )
    return build_site(assembly, address, end, authenticator)


def _say(line: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


async def _run(web: HttpServer, listener: socket.socket, end: End, is_over: anyio.Event) -> None:
    """Run the web server; if it ends unexpectedly, the process ends too."""
    try:
        await web.serve(sockets=[listener])
    finally:
        end.ask(code=1)
        is_over.set()
