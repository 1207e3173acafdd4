"""Limit what one person, one address and all of them together may ask of the web server."""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowport.domain.principal import LOCAL
from flowport.server.clients import PRINCIPAL_KEY
from flowport.server.shutdown import End
from flowport.web.access_log import note_principal
from flowport.web.proxies import parse_ip

if TYPE_CHECKING:
    from flowport.web.site import Site

MAX_BUCKETS: Final = 10_000
"""Persons and addresses that are remembered; a forgotten one begins with a full minute."""

RETRY_SECONDS: Final = 5
"""When a client may try again that met a server which is full or shutting down."""

_MINUTE_SECONDS: Final = 60.0
_NETWORK_BITS: Final = 64
"""One subscriber of IPv6 has at least so many addresses that this part names it."""
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503


@dataclass(slots=True)
class _Bucket:
    left: float
    at_seconds: float


class RateLimit:
    """So many requests a minute for each key: a full minute at once, and then at that pace."""

    def __init__(self, per_minute: int, get_seconds: Callable[[], float] = time.monotonic) -> None:
        """Begin with every key unused; `get_seconds` is the clock."""
        self._per_minute = per_minute
        self._get_seconds = get_seconds
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> float:
        """Take a request and return 0, or return in how many seconds there will be one."""
        now = self._get_seconds()
        bucket = self._buckets.pop(key, None) or _Bucket(self._per_minute, now)
        gained = (now - bucket.at_seconds) * self._per_minute / _MINUTE_SECONDS
        bucket.left, bucket.at_seconds = min(self._per_minute, bucket.left + gained), now
        self._buckets[key] = bucket
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            return (1 - bucket.left) * _MINUTE_SECONDS / self._per_minute
        bucket.left -= 1
        return 0.0


class PersonLimit:
    """ASGI middleware behind authentication: the requests of a person, or of an address without authentication."""

    def __init__(self, app: ASGIApp, site: "Site") -> None:
        self._app = app
        self._limit = site.rate_limit
        self._traffic = site.traffic

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        principal = scope.get(PRINCIPAL_KEY, LOCAL)
        note_principal(scope, principal)
        key = build_address_key(scope) if principal is LOCAL else f"owner {principal.owner}"
        if seconds := self._limit.take(key):
            self._traffic.refused["rate"] += 1
            return refuse_rate(seconds)(scope, receive, send)
        return self._app(scope, receive, send)


class AddressLimit:
    """ASGI middleware around authentication: requests without a valid token, for each address.

    Only those are refused: people behind one address are not locked out by one of them.
    """

    def __init__(self, app: ASGIApp, site: "Site") -> None:
        self._app = app
        self._limit = site.rate_limit
        self._traffic = site.traffic

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        is_refused = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start" and message["status"] == _UNAUTHORIZED:
                seconds = self._limit.take(build_address_key(scope))
                if seconds:
                    is_refused = True
                    self._traffic.refused["rate"] += 1
                    await refuse_rate(seconds)(scope, receive, send)
            if not is_refused:
                await send(message)

        return self._app(scope, receive, send_unless_refused)


class ClosingGate:
    """ASGI middleware that refuses new requests while the server shuts down, so that those under way can end."""

    def __init__(self, app: ASGIApp, end: End, open_paths: frozenset[str]) -> None:
        """Wrap an application; paths that are open are served to the end."""
        self._app = app
        self._end = end
        self._open_paths = open_paths

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and self._end.begun.is_set() and scope["path"] not in self._open_paths:
            headers = {"Retry-After": str(RETRY_SECONDS), "Connection": "close"}
            text = "Flowport is shutting down and takes no new requests. Nothing was started; try again in a moment."
            return PlainTextResponse(text, _UNAVAILABLE, headers)(scope, receive, send)
        return self._app(scope, receive, send)


def build_address_key(scope: Scope) -> str:
    """Return what stands for the client's address: for IPv6 its network."""
    client = scope.get("client")
    host = client[0] if client else ""
    address = parse_ip(host)
    if isinstance(address, IPv6Address):
        return f"address {ip_network((int(address), _NETWORK_BITS), strict=False)}"
    return f"address {host}"


def refuse_rate(seconds: float) -> PlainTextResponse:
    """Return the answer to a request above the rate."""
    wait = max(1, math.ceil(seconds))
    text = f"There were too many requests in a minute. Nothing was started; try again in {wait} s."
    return PlainTextResponse(text, _TOO_MANY, {"Retry-After": str(wait)})
