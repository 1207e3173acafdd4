"""Believe what reverse proxies say of a request, if they are trusted by name, and take a public path off its beginning.

Middleware that only passes on returns what the application returns: a coroutine of its own would occupy memory for as long as a
call waits, in each of thousands of calls.
"""

import ipaddress
from collections.abc import Awaitable, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.settings.http_settings import Network

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

FORWARDED_KEY: Final = "flowport.is_forwarded"
"""Where the scope of a request says that a proxy passed it on, trusted or not."""

_CLAIMS: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
    }
)
"""Headers by which a proxy speaks of its client, and by which a client can lie."""
_SCHEMES: Final = frozenset({"http", "https"})
_MAX_HOPS: Final = 32


class ForwardedHeaders:
    """ASGI middleware that sets client and scheme by the headers of trusted proxies, and removes those headers.

    The client is the last hop that is not a trusted proxy, counted from us: what stands before it was written by itself.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        """Wrap an application; without trusted proxies every such header is ignored."""
        self._app = app
        self._trusted = tuple(trusted)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and any(name in _CLAIMS for name, _ in scope["headers"]):
            scope = self._read(scope)
        return self._app(scope, receive, send)

    def _read(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        kept = [(name, value) for name, value in scope["headers"] if name not in _CLAIMS]
        read = {**scope, "headers": kept, FORWARDED_KEY: True}
        peer = scope.get("client")
        if peer is None or not is_trusted(peer[0], self._trusted):
            return read
        hops = [hop for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
        schemes = [one.strip().lower() for line in headers.getlist("x-forwarded-proto") for one in line.split(",")]
        read["client"] = (find_client(peer[0], hops, self._trusted), 0)
        if schemes and schemes[-1] in _SCHEMES:
            read["scheme"] = schemes[-1]
        return read


def find_client(peer: str, hops: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the nearest address that is not a trusted proxy, else the farthest trusted one.

    Args:
        peer: Who is connected to us.
        hops: The addresses of X-Forwarded-For, ours last; what is not an address ends them.
    """
    client = peer
    for hop in list(reversed(hops))[:_MAX_HOPS]:
        if not is_trusted(client, trusted):
            break
        address = _parse_hop(hop)
        if address is None:
            break
        client = str(address)
    return client


def is_trusted(host: str, trusted: Sequence[Network]) -> bool:
    """Return whether an address belongs to a trusted proxy."""
    address = parse_ip(host)
    return address is not None and any(address in network for network in trusted)


def parse_ip(text: str) -> IpAddress | None:
    """Return an IP address, an IPv4 one also where it is written as IPv6; None for any other text."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _parse_hop(text: str) -> IpAddress | None:
    """Return the address of a hop, which some proxies write with a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_ip(text)


class PublicPath:
    """ASGI middleware that serves the paths below that of the public URL; a proxy may have taken it off already."""

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        """Wrap an application."""
        self._app = app
        self._prefix = urlsplit(public_url).path.rstrip("/")

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] == "http" and self._prefix and path.startswith(f"{self._prefix}/"):
            scope = {**scope, "path": path[len(self._prefix) :], "raw_path": b""}
        return self._app(scope, receive, send)
