"""Limit what one person, one address and all of them together may ask of the web server."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, Final

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowport.domain.principal import LOCAL
from flowport.server.clients import MODERN_ERA, PRINCIPAL_KEY, SESSION_HEADER
from flowport.server.shutdown import End
from flowport.web.access_log import Traffic, note_principal
from flowport.web.proxies import parse_ip

if TYPE_CHECKING:
    from flowport.web.site import Site

MAX_BUCKETS: Final = 10_000
"""Persons and addresses that are remembered; a forgotten one begins with a full minute."""

RETRY_SECONDS: Final = 5
"""When a client may try again that met a server which is full or shutting down."""

PERSONS_PART: Final = 4
"""One person may have this part of the sessions: a quarter."""

SESSION_RETRY_SECONDS: Final = 60
"""When a person may try again who has as many sessions as a person has."""

_VERSION_HEADER: Final = "mcp-protocol-version"
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


class SessionLimit:
    """ASGI middleware around the sessions of older clients: one person has a part of them, and the others have room."""

    def __init__(
        self, app: ASGIApp, sessions: StreamableHTTPSessionManager, traffic: Traffic, max_sessions: int
    ) -> None:
        """Wrap an application; `max_sessions` is how many sessions all people have together."""
        self._app = app
        self._sessions = sessions
        self._traffic = traffic
        self._max_of_person = max(1, max_sessions // PERSONS_PART)
        self._opening: Counter[str] = Counter()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        principal = scope.get(PRINCIPAL_KEY, LOCAL)
        # A server of one person needs no limit between persons.
        is_meant = not principal.is_local and scope["method"] == "POST" and _opens_session(scope)
        return (self._open if is_meant else self._app)(scope, receive, send)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = scope[PRINCIPAL_KEY].owner
        # The library keeps them to itself.
        owners = getattr(self._sessions, "_session_owners", {}).values()
        # Of requests that come together, each one sees those that are not admitted yet.
        if sum(one["client_id"] == owner for one in owners) + self._opening[owner] >= self._max_of_person:
            self._traffic.refused["sessions"] += 1
            text = (
                f"{self._max_of_person} sessions of this person are open, which is the most. Nothing was started; close one, "
                "or wait: a session that is not used ends after half an hour."
            )
            await PlainTextResponse(text, _TOO_MANY, {"Retry-After": str(SESSION_RETRY_SECONDS)})(scope, receive, send)
            return
        self._opening[owner] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._opening[owner] -= 1
            if not self._opening[owner]:
                del self._opening[owner]


def _opens_session(scope: Scope) -> bool:
    """Return whether the library would begin a session for a request: it names none, and no version that has none."""
    headers = Headers(scope=scope)
    return SESSION_HEADER not in headers and headers.get(_VERSION_HEADER, "") != MODERN_ERA


class ClosingGate:
    """ASGI middleware that refuses new requests while the server shuts down, so that those under way can end."""

    def __init__(self, app: ASGIApp, end: End, open_paths: frozenset[str]) -> None:
        """Wrap an application; paths that are open are served to the end."""
        self._app = app
        self._end = end
        self._open_paths = open_paths

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http" or not self._end.begun.is_set() or scope["path"] in self._open_paths:
            return self._app(scope, receive, send)
        if self._end.is_handing_over:
            return self._app(scope, receive, partial(_send_last, send))
        headers = {"Retry-After": str(RETRY_SECONDS), "Connection": "close"}
        text = "Flowport is shutting down and takes no new requests. Nothing was started; try again in a moment."
        return PlainTextResponse(text, _UNAVAILABLE, headers)(scope, receive, send)


async def _send_last(send: Send, message: Message) -> None:
    """Send a part of the last answer of a connection."""
    if message["type"] == "http.response.start":
        message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
    await send(message)


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
