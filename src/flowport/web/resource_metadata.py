"""Serve the metadata of the MCP endpoint (RFC 9728), from which clients learn which issuer to ask for a token."""

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from flowport.settings.http_settings import HttpSettings

if TYPE_CHECKING:
    from flowport.web.site import Site

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
PATH: Final = "/mcp"
"""Of the MCP endpoint."""
_METHODS: Final = ["GET", "HEAD", "OPTIONS"]


def build_endpoint_url(public_url: str, scope: Scope) -> str:
    """Return the address of the MCP endpoint as the client knows it.

    Args:
        public_url: Empty for the host that the request names, which was checked.
    """
    return f"{public_url or 'http://' + Headers(scope=scope).get('host', '')}{PATH}"


def build_metadata_url(public_url: str, scope: Scope) -> str:
    """Return the address of the endpoint's metadata: the well-known path stands between its host and its path."""
    parts = urlsplit(build_endpoint_url(public_url, scope))
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}"


def build_metadata_routes(site: "Site") -> list[Route]:
    """Return the routes of the metadata, at every address that clients try."""
    settings, verifier = site.settings.http, site.authenticator.verifier

    async def answer(request: Request) -> Response:
        issuer = "" if verifier is None else await verifier.find_issuer()
        facts = build_metadata(build_endpoint_url(settings.public_url, request.scope), issuer, settings)
        # Browsers may read it, as pages that try servers do. It holds nothing of a person.
        return Response(json.dumps(facts), media_type="application/json", headers={"Cache-Control": "max-age=300"})

    return [_allow_pages(Route(path, answer, methods=_METHODS)) for path in find_paths(settings.public_url)]


def find_paths(public_url: str) -> tuple[str, ...]:
    """Return the paths at which clients look: by the standard, at the root of the host, and below the endpoint.

    A reverse proxy may pass the path of the public address on or leave it out, so both are served.
    """
    base = urlsplit(public_url).path.rstrip("/")
    endings = ("", PATH, base, f"{base}{PATH}", "/")
    starts = ("", PATH, base, f"{base}{PATH}")
    standard = [f"{start}{WELL_KNOWN}{ending}" for start in ("", base) for ending in endings]
    below = [f"{start}{WELL_KNOWN}" for start in starts]
    return tuple(dict.fromkeys((*standard, *below)))


def build_metadata(endpoint_url: str, issuer: str, settings: HttpSettings) -> dict[str, Any]:
    """Return the metadata; without an issuer only a token of this server's own helps."""
    facts: dict[str, Any] = {
        "resource": endpoint_url,
        "resource_name": "Flowport",
        "bearer_methods_supported": ["header"],
    }
    if issuer:
        facts["authorization_servers"] = [issuer]
    if settings.oauth_scopes:
        facts["scopes_supported"] = list(settings.oauth_scopes)
    return facts


def _allow_pages(route: Route) -> Route:
    """Let pages of any origin read what a route answers."""
    route.app = CORSMiddleware(route.app, allow_origins=["*"], allow_methods=_METHODS, allow_headers=["*"])
    return route
