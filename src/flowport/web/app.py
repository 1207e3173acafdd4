"""Build the web application of a server from its parts: the MCP endpoint, and one line for each other part."""

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from flowport.actions.tenants import Tenants
from flowport.bootstrap import Assembly
from flowport.domain.errors import ConfigurationError
from flowport.server.server import FlowportServer
from flowport.server.shutdown import End
from flowport.server.stdio_streams import MAX_MESSAGE_BYTES
from flowport.web.bodies import BodyReader
from flowport.web.health import build_health_routes
from flowport.web.http_requests import RequestWatch
from flowport.web.listen_address import Address, HostCheck, build_authorities, build_origins
from flowport.web.signing import Signer, load_signer
from flowport.web.site import Site

logger = logging.getLogger(__name__)

PATH: Final = "/mcp"

BuildRoutes: TypeAlias = Callable[[Site], Sequence[Route]]
Guard: TypeAlias = Callable[[ASGIApp, Site], ASGIApp]

OPEN_PARTS: Final[tuple[BuildRoutes, ...]] = (build_health_routes,)
"""Routes that anyone may ask: what they serve is public, or each address carries its own proof."""

GUARDED_PARTS: Final[tuple[BuildRoutes, ...]] = ()
"""Routes that pass the guards, as the MCP endpoint does."""

GUARDS: Final[tuple[Guard, ...]] = ()
"""ASGI middleware around each guarded route, the outermost first: who asks, and whether that person may go on."""


def build_site(assembly: Assembly, address: Address, end: End) -> Site:
    """Return what the parts of the web server work on."""
    workspace = assembly.workspace
    return Site(
        settings=workspace.settings,
        public_url=workspace.settings.http.public_url or address.origin,
        tenants=Tenants(workspace, _refuse_own_account),
        signer=_open_signer(workspace.settings.home),
        get_now=workspace.clock.now,
        end=end,
    )


def build_app(server: FlowportServer, address: Address, site: Site | None) -> ASGIApp:
    """Return the web application of a server, for requests that name this address.

    Host and Origin are checked because a web page's own name can resolve to this computer (DNS rebinding).

    Args:
        site: What the parts work on; None for a server that only says what is wrong in its configuration.
    """
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=sorted(build_authorities(address)),
        allowed_origins=sorted(build_origins(address)),
    )
    manager = StreamableHTTPSessionManager(server, security_settings=security, max_request_body_size=MAX_MESSAGE_BYTES)
    # An invalid message never gets an id of its own.
    endpoint = BodyReader(RequestWatch(manager.asgi_app), security=security, max_bytes=MAX_MESSAGE_BYTES)
    routes: list[BaseRoute] = [_guard(Route(PATH, endpoint), site)]
    if site is not None:
        routes += [route for build in OPEN_PARTS for route in build(site)]
        routes += [_guard(route, site) for build in GUARDED_PARTS for route in build(site)]

    @asynccontextmanager
    async def run_sessions(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    app = Starlette(routes=routes, lifespan=run_sessions)
    return HostCheck(app, address, PATH)


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


async def _refuse_own_account(_: str, __: str) -> str:
    raise NotImplementedError
