"""Serve clients over Streamable HTTP, or monitoring of a worker. Imported only for `--http`, because it imports the web server."""

import logging
import socket
import sys
from dataclasses import replace
from typing import Final

import anyio
import anyio.abc
from starlette.types import ASGIApp

from flowport.bootstrap import Assembly
from flowport.runtime.clock import Clock
from flowport.runtime.http_server import HttpServer
from flowport.runtime.json_logs import ACCESS_LOG
from flowport.server.server import FlowportServer
from flowport.server.shutdown import End
from flowport.settings.http_settings import HttpSettings
from flowport.web.access_log import Traffic
from flowport.web.app import PATH, WebApp, build_app, build_monitoring_app, build_site
from flowport.web.auth import Authenticator, Verifier, open_authenticator
from flowport.web.confirmed_tokens import ConfirmedTokens
from flowport.web.connections import KEEP_ALIVE_SECONDS, build_protocol, find_limited
from flowport.web.listen_address import Address
from flowport.web.local_token import NAME
from flowport.web.site import Site

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
"""At the end, how long calls may take to come to a run that their answer can name."""

OTHER_FILES: Final = 256
"""Open files besides the connections of clients: the store, providers, results."""

HAND_OVER_SECONDS: Final = 0.5
"""How long a replica serves what comes over open connections, after it has ceased to take new ones."""

LAG_SECONDS: Final = 0.25
"""Between two measurements of the event loop."""

STREAM_SECONDS: Final = 0.5
"""At the end, how long streams may take to end by themselves."""


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
    address = _get_address(listener)
    site = None if assembly is None else await _open_site(assembly, address, end, has_auth=has_auth)
    app = build_app(server, address, site, end)
    http = HttpSettings() if site is None else site.settings.http
    web = _build_server(app, app.traffic, http)
    app.traffic.gauges |= {
        "http_sessions": ("Sessions of older clients.", app.count_sessions),
        "waiting_calls": ("Tool calls that are not answered yet.", lambda: app.calls.count),
    }
    is_drained, are_sessions_over, is_over = anyio.Event(), anyio.Event(), anyio.Event()
    await tasks.start(_run_sessions, app, is_drained, are_sessions_over)
    tasks.start_soon(_run, web, listener, end, is_over)
    tasks.start_soon(_watch_lag, app.traffic, is_over)
    # The socket accepts connections already, so an early client waits in its queue.
    _say(f"Flowport listens at {address.origin}{PATH}")
    if site is not None and site.authenticator.local_hash:
        advice = f"Clients send the token in {site.settings.home / NAME}, as the header Authorization: Bearer TOKEN."
        logger.warning("%s", advice)
        _say(advice)
    end.is_handing_over = assembly is not None and assembly.cluster is not None
    await end.begun.wait()
    if end.is_handing_over:
        await _hand_over(web, end)
    server.close_streams()
    async with anyio.create_task_group() as draining:
        draining.start_soon(_drain, app, assembly, draining.cancel_scope)
        await end.asked.wait()
        draining.cancel_scope.cancel()
    is_drained.set()
    with anyio.move_on_after(STREAM_SECONDS):
        await are_sessions_over.wait()
    _end(web)
    await is_over.wait()
    end.ask()


async def serve_monitoring(listener: socket.socket, assembly: Assembly, end: End) -> None:
    """Answer how a worker does, until its process ends. Other computers prove who they are where they read metrics."""
    workspace, address = assembly.workspace, _get_address(listener)
    verifier = _build_verifier(workspace.settings.http, address, workspace.clock)
    authenticator = Authenticator(workspace.store, workspace.clock.now, verifier=verifier)
    site = replace(build_site(assembly, address, end, authenticator), is_worker=True)
    web = _build_server(build_monitoring_app(site, address), site.traffic, site.settings.http)
    is_over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_run, web, listener, end, is_over)
        tasks.start_soon(_watch_lag, site.traffic, is_over)
        _say(f"Flowport answers how this worker does at {address.origin}/readyz")
        await end.asked.wait()
        _end(web)


def _get_address(listener: socket.socket) -> Address:
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _build_server(app: ASGIApp, traffic: Traffic, http: HttpSettings) -> HttpServer:
    web = HttpServer(
        app,
        log_level=logging.WARNING,
        lifespan="off",
        http=build_protocol(_raise_file_limit(http.max_connections)),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    traffic.gauges["http_connections"] = "Open connections.", lambda: len(web.server_state.connections)
    logging.getLogger(ACCESS_LOG).setLevel(logging.INFO)
    return web


def _end(web: HttpServer) -> None:
    # The server logs each closed connection as an error; here it is intended.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    web.should_exit = True


async def _hand_over(web: HttpServer, end: End) -> None:
    """Take no more connections, so that a balancer asks another replica, and serve what is already on its way here.

    A balancer repeats a request elsewhere only where no connection was made: one that is refused by an answer fails, and so does
    one that meets the end of a kept connection. So kept connections end with their next answer, which says so; after a moment
    those end over which none was sent.
    """
    for listener in getattr(web, "servers", ()):
        listener.close()
    for connection in find_limited(web.server_state.connections):
        connection.end_with_next_answer()
    with anyio.move_on_after(HAND_OVER_SECONDS):
        await end.asked.wait()
    for connection in find_limited(web.server_state.connections):
        connection.close_idle()
    end.is_handing_over = False


def _raise_file_limit(wanted: int) -> int:
    """Allow this process as many open files as the system does, and return how many connections that leaves room for."""
    if sys.platform == "win32":
        return wanted
    import resource  # noqa: PLC0415 - not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as exc:
            logger.warning("the limit of open files stays at %d: %s", soft, exc)
    if soft == resource.RLIM_INFINITY or soft >= wanted + OTHER_FILES:
        return wanted
    room = max(1, soft - OTHER_FILES)
    logger.warning("the system allows %d open files, so %d connections are taken instead of %d", soft, room, wanted)
    return room


async def _watch_lag(traffic: Traffic, is_over: anyio.Event) -> None:
    """Measure how late the event loop gives a turn that was asked for, until the end."""
    while not is_over.is_set():
        due_at = anyio.current_time() + LAG_SECONDS
        with anyio.move_on_after(LAG_SECONDS):
            await is_over.wait()
        traffic.lag_seconds = max(traffic.lag_seconds, anyio.current_time() - due_at)


async def _drain(app: WebApp, assembly: Assembly | None, scope: anyio.CancelScope) -> None:
    """Answer the calls that wait: those with a run name it, the others ask to call again."""
    async with anyio.create_task_group() as group:
        if assembly is not None:
            assembly.workspace.waiter.patience.end()
            group.start_soon(assembly.drain)
        await _answer_all(app)
    scope.cancel()


async def _answer_all(app: WebApp) -> None:
    with anyio.move_on_after(ANSWER_SECONDS):
        await app.traffic.wait_until_answered()
    app.calls.end()
    await app.traffic.wait_until_answered()


async def _run_sessions(
    app: WebApp,
    is_drained: anyio.Event,
    is_over: anyio.Event,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Hold the sessions of older clients until the end; leaving them ends their streams."""
    try:
        async with app.sessions.run():
            task_status.started()
            await is_drained.wait()
    finally:
        is_over.set()


async def _open_site(assembly: Assembly, address: Address, end: End, *, has_auth: bool) -> Site:
    workspace = assembly.workspace
    settings = workspace.settings
    verifier = _build_verifier(settings.http, address, workspace.clock) if has_auth else None
    authenticator = await open_authenticator(
        settings, workspace.store, address, workspace.clock.now, has_auth=has_auth, verifier=verifier
    )
    if assembly.cluster is not None:
        news = assembly.cluster.news
        authenticator = replace(authenticator, confirmed=ConfirmedTokens(is_cut_off=lambda: not news.is_connected))
    return build_site(assembly, address, end, authenticator)


def _build_verifier(http: HttpSettings, address: Address, clock: Clock) -> Verifier | None:
    if not http.oauth_issuer:
        return None
    from flowport.web.oauth import build_verifier  # noqa: PLC0415 - loads cryptography

    return build_verifier(http, address, clock)


def _say(line: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


async def _run(web: HttpServer, listener: socket.socket, end: End, is_over: anyio.Event) -> None:
    """Run the web server; if it ends unexpectedly, the process ends too."""
    try:
        await web.serve(sockets=[listener])
    finally:
        # An end that was not asked for.
        end.ask(code=0 if end.begun.is_set() else 1)
        is_over.set()
