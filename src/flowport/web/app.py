"""Build the web application of a server from its parts: the MCP endpoint, and one line for each other part.

Around all routes stand, from the outside in: the log, trusted proxies, the public path, the gate of the shutdown, and Host and
Origin; around the endpoint the limit of addresses without a token, authentication, and the limit of a person. Middleware that has
nothing to do afterwards returns what the application returns instead of awaiting it: thousands of calls wait, and each
coroutine counts (`python scripts/bench waiting_calls`).
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.bootstrap import Assembly
from flowport.domain.errors import ConfigurationError
from flowport.server.server import FlowportServer
from flowport.server.shutdown import End
from flowport.server.stdio_streams import MAX_MESSAGE_BYTES
from flowport.settings.http_settings import HttpSettings
from flowport.web.access_log import RequestLog, Traffic, note_route
from flowport.web.auth import Authentication, Authenticator
from flowport.web.bodies import BodyReader
from flowport.web.elsewhere import ElsewhereWords
from flowport.web.event_stream import use_lean_streams
from flowport.web.files import OUTPUTS_PATH, build_file_routes
from flowport.web.gallery_sessions import build_gallery_part
from flowport.web.health import HEALTH_PATHS, build_health_routes
from flowport.web.http_requests import RequestWatch
from flowport.web.limits import AddressLimit, ClosingGate, PersonLimit, RateLimit, SessionLimit
from flowport.web.listen_address import Address, HostCheck
from flowport.web.metrics import PATH as METRICS_PATH
from flowport.web.metrics import build_metrics_routes
from flowport.web.open_calls import OpenCalls
from flowport.web.proxies import ForwardedHeaders, PublicPath
from flowport.web.resource_metadata import build_metadata_routes, find_paths
from flowport.web.signing import Signer, load_signer
from flowport.web.site import Site
from flowport.web.team import watch_team
from flowport.web.uploads import build_upload_routes
from flowport.web.webhooks import build_webhook_routes

logger = logging.getLogger(__name__)

PATH: Final = "/mcp"

IDLE_SECONDS: Final = 30 * 60.0
"""After this time without a request or a stream the session of an older client ends; the client begins another."""

BuildRoutes: TypeAlias = Callable[[Site], Sequence[Route]]
Guard: TypeAlias = Callable[[ASGIApp, Site], ASGIApp]

PARTS: Final[tuple[BuildRoutes, ...]] = (
    build_health_routes,
    build_metadata_routes,
    build_file_routes,
    build_metrics_routes,
    build_upload_routes,
    build_webhook_routes,
    build_gallery_part,
)
"""Routes beside the MCP endpoint. What they serve is public, or they check by themselves who asks."""

MONITORING: Final[tuple[BuildRoutes, ...]] = (build_health_routes, build_metrics_routes)
"""What a worker serves."""

GUARDS: Final[tuple[Guard, ...]] = (AddressLimit, Authentication, PersonLimit)
"""ASGI middleware around the MCP endpoint, the outermost first: who asks, and whether that person may go on."""


def build_site(assembly: Assembly, address: Address, end: End, authenticator: Authenticator) -> Site:
    """Return what the parts of the web server work on."""
    workspace = assembly.workspace
    return Site(
        settings=workspace.settings,
        public_url=workspace.settings.http.public_url or address.origin,
        tenants=assembly.tenants,
        signer=_open_signer(workspace.settings.home),
        get_now=workspace.clock.now,
        end=end,
        authenticator=authenticator,
        rate_limit=RateLimit(workspace.settings.http.requests_per_minute),
        used_marks=None if assembly.cluster is None else assembly.cluster.used_marks,
        team=None if assembly.cluster is None else watch_team(assembly.cluster),
    )


@dataclass(frozen=True, slots=True)
class WebApp:
    """The web application of a server."""

    serve: ASGIApp
    """Serves one request."""
    traffic: Traffic
    sessions: StreamableHTTPSessionManager
    calls: OpenCalls

    def count_sessions(self) -> int:
        """Return how many sessions of older clients are open."""
        # The library keeps them to itself.
        return len(getattr(self.sessions, "_server_instances", ()))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; or hold the sessions of older clients, where the web server is what begins and ends them."""
        return self._hold_sessions(receive, send) if scope["type"] == "lifespan" else self.serve(scope, receive, send)

    async def _hold_sessions(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.sessions.run():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def build_app(server: FlowportServer, address: Address, site: Site | None, end: End | None = None) -> WebApp:
    """Return the web application of a server, for requests that name this address or the public one.

    Host and Origin are checked because a web page's own name can resolve to this computer (DNS rebinding).

    Args:
        site: What the parts work on; None for a server that only says what is wrong in its configuration.
        end: The shutdown of this process; None for that of the site.
    """
    end = end or (End() if site is None else site.end)
    http = HttpSettings() if site is None else site.settings.http
    # Checked once for all routes, below.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    sessions = StreamableHTTPSessionManager(
        server,
        security_settings=security,
        max_request_body_size=MAX_MESSAGE_BYTES,
        max_sessions=http.max_sessions,
        session_idle_timeout=IDLE_SECONDS,
    )
    calls = OpenCalls(http.max_waiting_calls)
    server.middleware.append(calls.track)
    _leave_out_spans(server)
    use_lean_streams()
    traffic = Traffic() if site is None else site.traffic
    # An invalid message never gets an id of its own.
    inner = SessionLimit(sessions.asgi_app.app, sessions, traffic, http.max_sessions)
    endpoint = BodyReader(RequestWatch(inner), security=security, max_bytes=MAX_MESSAGE_BYTES)
    routes: list[Route] = [_guard(Route(PATH, endpoint), site)]
    if site is not None:
        server.middleware.append(ElsewhereWords(site.settings))
        routes += [route for build in PARTS for route in build(site)]
    app = _surround(_Shortcut(_build_router(routes), routes[0]), address, http, end)
    return WebApp(RequestLog(app, traffic), traffic, sessions, calls)


def build_monitoring_app(site: Site, address: Address) -> ASGIApp:
    """Return the web application of a worker, which answers how it does and nothing else."""
    routes = [route for build in MONITORING for route in build(site)]
    app = _surround(_build_router(routes), address, site.settings.http, site.end)
    return RequestLog(app, site.traffic)


def _build_router(routes: Sequence[Route]) -> Router:
    for route in routes:
        route.app = _NotedRoute(route.app, route.path)
    return Router(routes=routes)


def _surround(app: ASGIApp, address: Address, http: HttpSettings, end: End) -> ASGIApp:
    """Put around all routes what each request passes first."""
    app = HostCheck(
        app,
        address,
        PATH,
        public_url=http.public_url,
        open_paths=HEALTH_PATHS | {METRICS_PATH},
        page_paths=frozenset(find_paths(http.public_url)),
        page_folders=(OUTPUTS_PATH,),
    )
    app = ClosingGate(app, end, HEALTH_PATHS)
    app = PublicPath(app, http.public_url)
    return ForwardedHeaders(app, http.trusted_proxies)


class _Shortcut:
    """ASGI middleware that takes requests to one exact path to its route; the router would add to each waiting call."""

    def __init__(self, app: ASGIApp, route: Route) -> None:
        self._app = app
        self._route = route

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        is_meant = scope["type"] == "http" and scope["path"] == self._route.path
        return (self._route.app if is_meant else self._app)(scope, receive, send)


def _leave_out_spans(server: FlowportServer) -> None:
    """Make no spans where nothing collects them: each waiting call holds one."""
    if isinstance(get_tracer_provider(), ProxyTracerProvider):
        server.middleware[:] = [one for one in server.middleware if not isinstance(one, OpenTelemetryMiddleware)]


class _NotedRoute:
    """ASGI middleware that notes by which route a request is served."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        note_route(scope, self._path)
        return self._app(scope, receive, send)


def _guard(route: Route, site: Site | None) -> Route:
    """Put the guards around a route."""
    if site is not None:
        for guard in reversed(GUARDS):
            route.app = guard(route.app, site)
    return route


def _open_signer(home: Path) -> Signer:
    """Return the signer of a home; one that ends with this process where the home cannot be used."""
    try:
        return load_signer(home)
    except ConfigurationError as exc:
        logger.warning("%s Until then signed addresses end with this process.", exc)
        return Signer([secrets.token_hex(32).encode()])
