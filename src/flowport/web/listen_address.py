"""Parse the address to listen at, open its socket, and check Host and Origin against it."""

import errno
import ipaddress
import re
import socket
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

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


_PORTS: Final = {"http": 80, "https": 443}
_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_MISDIRECTED: Final = 421
_FORBIDDEN: Final = 403


def build_authorities(address: Address, public_url: str = "") -> frozenset[str]:
    """Return the accepted values of a Host header, in lower case."""
    hosts = {format_host(address.host).lower(), *_LOCAL_HOSTS}
    return _name_all("http", hosts, address.port) | _find_public(public_url)[1]


def build_origins(address: Address, public_url: str = "") -> frozenset[str]:
    """Return the accepted values of an Origin header."""
    scheme, public = _find_public(public_url)
    own = frozenset(f"http://{authority}" for authority in build_authorities(address))
    return own | {f"{scheme}://{authority}" for authority in public}


def _name_all(scheme: str, hosts: Iterable[str], port: int) -> frozenset[str]:
    """Return the ways to name a port of these hosts; clients omit the default port."""
    named = {f"{host}:{port}" for host in hosts}
    return frozenset(named | set(hosts) if port == _PORTS[scheme] else named)


def _find_public(public_url: str) -> tuple[str, frozenset[str]]:
    """Return the scheme of a public URL and the ways to name its host; none without such a URL."""
    parts = urlsplit(public_url)
    if parts.hostname is None:
        return "", frozenset()
    port = parts.port or _PORTS[parts.scheme]
    return parts.scheme, _name_all(parts.scheme, [format_host(parts.hostname)], port)


class HostCheck:
    """ASGI middleware that refuses requests with a foreign Host or Origin and lower-cases both."""

    def __init__(
        self,
        app: ASGIApp,
        address: Address,
        path: str,
        *,
        public_url: str = "",
        open_paths: frozenset[str] = frozenset(),
        page_paths: frozenset[str] = frozenset(),
        page_folders: tuple[str, ...] = (),
    ) -> None:
        """Wrap an application that answers at a path of an address.

        Args:
            public_url: Where it answers too, behind a proxy; empty for nowhere.
            open_paths: Where any Host is served, because programs ask there that know no name of this server.
            page_paths: What pages of any origin may read.
            page_folders: The beginnings of paths below which each address is proof enough for pages of any origin.
        """
        self._app = app
        self._authorities = build_authorities(address, public_url)
        self._origins = build_origins(address, public_url)
        self._open_paths = open_paths
        self._page_paths = page_paths
        self._page_folders = page_folders
        self._remedy = f"Flowport answers at {public_url or address.origin}{path}."

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        headers = Headers(scope=scope)
        hosts = [host.lower() for host in headers.getlist("host")]
        origins = [origin.lower() for origin in headers.getlist("origin")]
        if not self._is_host_accepted(hosts, scope):
            problem = f"The request names another host than this one, or none. {self._remedy}"
            return PlainTextResponse(problem, _MISDIRECTED)(scope, receive, send)
        if not self._is_for_pages(scope["path"]) and any(one not in self._origins for one in origins):
            problem = f"The request comes from a page of another origin, and is not served. {self._remedy}"
            return PlainTextResponse(problem, _FORBIDDEN)(scope, receive, send)
        lowered = [(name, value.lower() if name in {b"host", b"origin"} else value) for name, value in scope["headers"]]
        return self._app(scope if lowered == scope["headers"] else {**scope, "headers": lowered}, receive, send)

    def _is_for_pages(self, path: str) -> bool:
        return path in self._page_paths or path.startswith(self._page_folders)

    def _is_host_accepted(self, hosts: list[str], scope: Scope) -> bool:
        if scope["path"] in self._open_paths:
            return True
        if len(hosts) != 1:
            return False
        # The address that was connected to. A page's own name that resolves to it would be named as that name.
        host, port = scope.get("server") or ("", None)
        return hosts[0] in self._authorities or (port is not None and hosts[0] == f"{format_host(host)}:{port}")
