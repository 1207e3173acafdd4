"""Which names HTTP requests may use: a page in a browser can have its own name point at this computer."""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.serving.addresses import Address, format_host

_HTTP_PORT: Final = 80
_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_MISDIRECTED: Final = 421
_FORBIDDEN: Final = 403


def build_authorities(address: Address) -> frozenset[str]:
    """Return what a Host header may hold for an address, in lower case."""
    hosts = {format_host(address.host).lower(), *_LOCAL_HOSTS}
    named = {f"{host}:{address.port}" for host in hosts}
    # Clients leave out the port that is usual.
    return frozenset(named | hosts if address.port == _HTTP_PORT else named)


def build_origins(address: Address) -> frozenset[str]:
    """Return what an Origin header may hold."""
    return frozenset(f"http://{authority}" for authority in build_authorities(address))


class HostCheck:
    """An ASGI application around another one, which sees no request under a foreign name, and all names in lower case."""

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
        elif any(origin not in self._origins for origin in origins):
            problem = f"The request comes from a page of another origin, and is not served. {self._remedy}"
            await PlainTextResponse(problem, _FORBIDDEN)(scope, receive, send)
        else:
            lowered = [
                (name, value.lower() if name in {b"host", b"origin"} else value) for name, value in scope["headers"]
            ]
            await self._app({**scope, "headers": lowered}, receive, send)
