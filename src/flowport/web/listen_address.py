"""Parse the address to listen at, open its socket, and check Host and Origin against it."""

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.domain.errors import ConfigurationError

FLAG: Final = "--http"
NO_AUTH: Final = "--no-auth"
_LOCALHOST: Final = "localhost"
_ADDRESS: Final = re.compile(r"(?:(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<name>[^\[\]:/@]+)):)?(?P<port>[0-9]{1,5})")
_REMEDY: Final = "It takes an address of this computer and a port: 127.0.0.1:8765."
_MAX_PORT: Final = 65_535
_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Address:
    """A host of this computer and a port of it."""

    host: str
    """An IP address, without brackets."""
    port: int
    """0 for any free port."""

    @property
    def origin(self) -> str:
        """The origin of the address."""
        return f"http://{format_host(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this computer can reach it directly."""
        return ipaddress.ip_address(self.host).is_loopback


def format_host(host: str) -> str:
    """Return the host as written in URLs, with brackets for IPv6."""
    return f"[{host}]" if ":" in host else host


def parse_address(text: str) -> Address:
    """Return the address that `HOST:PORT` or a port alone names.

    Raises:
        ConfigurationError: It is not an address.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > _MAX_PORT:
        raise ConfigurationError(FLAG, "is not an address with a port", _REMEDY)
    host = found["six"] or found["name"] or _LOCALHOST
    host = "127.0.0.1" if host.casefold() == _LOCALHOST else host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigurationError(FLAG, "names a host instead of an IP address", _REMEDY) from None
    return Address(host, int(found["port"]))


def is_private(address: Address, public_url: str) -> bool:
    """Return whether only programs on this computer reach a server: a public address means that others do."""
    return address.is_loopback and not public_url


def listen(address: Address, *, flag: str = FLAG) -> socket.socket:
    """Return a socket that accepts connections at the address, which `flag` named.

    Raises:
        ConfigurationError: Another program listens there, or listening is not allowed.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            remedy = "End that program or choose another port; port 0 takes any free one."
            raise ConfigurationError(flag, f"names port {address.port}, where another program listens", remedy) from exc
        raise ConfigurationError(flag, f"cannot be listened at: {exc.strerror}", _REMEDY) from exc
    # Only for sockets with this protocol the event loop sets TCP_NODELAY. Without it each answer on a kept connection takes 40 ms.
    return socket.socket(family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())


_HTTP_PORT: Final = 80
_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_MISDIRECTED: Final = 421
_FORBIDDEN: Final = 403
_OPEN_TO_PAGES: Final = "/.well-known/"
"""What pages of any origin may read."""


def build_authorities(address: Address) -> frozenset[str]:
    """Return the accepted values of a Host header, in lower case."""
    hosts = {format_host(address.host).lower(), *_LOCAL_HOSTS}
    named = {f"{host}:{address.port}" for host in hosts}
    # Clients omit the default port.
    return frozenset(named | hosts if address.port == _HTTP_PORT else named)


def build_origins(address: Address) -> frozenset[str]:
    """Return the accepted values of an Origin header."""
    return frozenset(f"http://{authority}" for authority in build_authorities(address))


class HostCheck:
    """ASGI middleware that refuses requests with a foreign Host or Origin and lower-cases both."""

    def __init__(self, app: ASGIApp, address: Address, path: str) -> None:
        """Wrap an application that answers at a path of an address."""
        self._app = app
        self._authorities = build_authorities(address)
        self._origins = build_origins(address)
        self._remedy = f"Flowport answers at {address.origin}{path}."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts = [host.lower() for host in headers.getlist("host")]
        origins = [origin.lower() for origin in headers.getlist("origin")]
        if len(hosts) != 1 or hosts[0] not in self._authorities:
            problem = f"The request names another host than this one, or none. {self._remedy}"
            await PlainTextResponse(problem, _MISDIRECTED)(scope, receive, send)
        elif not scope["path"].startswith(_OPEN_TO_PAGES) and any(one not in self._origins for one in origins):
            problem = f"The request comes from a page of another origin, and is not served. {self._remedy}"
            await PlainTextResponse(problem, _FORBIDDEN)(scope, receive, send)
        else:
            lowered = [
                (name, value.lower() if name in {b"host", b"origin"} else value) for name, value in scope["headers"]
            ]
            await self._app({**scope, "headers": lowered}, receive, send)
