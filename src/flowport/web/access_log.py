"""Give each request an id, join it to the client's trace, and log one line about it.

Nothing of a query, a body or a header is logged but these ids, so that no token, key or prompt can be in the log.
"""

import logging
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Final

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowport.domain.principal import Principal
from flowport.runtime.json_logs import ACCESS_LOG, DETAILS, LogContext, enter_log_context

logger = logging.getLogger(ACCESS_LOG)

FACTS_KEY: Final = "flowport.request_facts"
"""Where the scope of a request keeps its facts."""

REQUEST_ID_HEADER: Final = b"x-request-id"
OTHER_ROUTE: Final = "other"
"""The route of a request that none serves; its path could hold anything."""
LEFT_STATUS: Final = 499
"""The status that is logged for a client that left before the answer began."""
BUCKETS_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""The upper bounds of the durations that are counted."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_STREAM: Final = "GET"
"""The method of requests that may last: streams of changes, and downloads."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_TRACE_PARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


@dataclass(slots=True)
class RequestFacts:
    """What is known of a request while it is served."""

    log: LogContext
    route: str = OTHER_ROUTE
    token_id: str = ""
    """The public id of the access token; empty without one."""


@dataclass(slots=True)
class Durations:
    """How long requests of one route took."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_SECONDS) + 1))
    """By bucket; the last one has no bound."""
    total_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a request."""
        bucket = next((n for n, bound in enumerate(BUCKETS_SECONDS) if seconds <= bound), len(BUCKETS_SECONDS))
        self.counts[bucket] += 1
        self.total_seconds += seconds


class Traffic:
    """The requests of one web server, counted."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By method, route and status."""
        self.durations: dict[str, Durations] = {}
        """By route."""
        self.open: Counter[str] = Counter()
        """Requests that are being served, by method."""

        self.refused: Counter[str] = Counter()
        """Requests that a limit refused, by its name."""
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        """What else can be read of the web server: by name, with its meaning."""
        self.lag_seconds = 0.0
        """The longest delay of the event loop since it was last read."""
        self._answered: anyio.Event | None = None

    def begin(self, method: str) -> None:
        """Count a request that is being served."""
        self.open[method] += 1

    def end(self, method: str) -> None:
        """A request is no longer served."""
        self.open[method] -= 1
        if self._answered is not None and not self._count_awaited():
            self._answered.set()

    async def wait_until_answered(self) -> None:
        """Wait until no request is being served but streams of changes, which last as long as their session."""
        while self._count_awaited():
            self._answered = anyio.Event()
            await self._answered.wait()

    def _count_awaited(self) -> int:
        return self.open.total() - self.open[_STREAM]

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was served."""
        self.requests[method, route, status] += 1
        self.durations.setdefault(route, Durations()).add(seconds)


class RequestLog:
    """ASGI middleware that identifies, counts and logs requests."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts = RequestFacts(build_log_context(scope))
        answer = _Answer(send, facts.log.request_id)
        began_at = perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else OTHER_ROUTE
        self._traffic.begin(method)
        enter_log_context(facts.log)
        try:
            scope[FACTS_KEY] = facts
            await self._app(scope, receive, answer.send)
        finally:
            self._traffic.end(method)
            seconds = perf_counter() - began_at
            self._traffic.note(method, facts.route, answer.status, seconds)
            details = {
                "method": method,
                "route": facts.route,
                "status": answer.status,
                "duration_ms": round(seconds * 1000, 1),
                "token_id": facts.token_id,
            }
            line = f"{details['method']} {facts.route} {answer.status} in {details['duration_ms']} ms"
            enter_log_context(facts.log)
            logger.info("%s, request %s", line, facts.log.request_id, extra={DETAILS: details})


class _Answer:
    """The response of one request: adds its id, and remembers the status."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode()
        self.status = LEFT_STATUS

    async def send(self, message: Message) -> None:
        """Pass on a part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), (REQUEST_ID_HEADER, self._request_id)]}
        await self._send(message)


def build_log_context(scope: Scope) -> LogContext:
    """Return the ids of a request: the client's own where they are valid."""
    request_id = trace_id = ""
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER and not request_id:
            request_id = value.decode("latin-1")
        elif name == b"traceparent" and not trace_id:
            trace_id = parse_trace_id(value.decode("latin-1"))
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = secrets.token_hex(16)
    return LogContext(request_id, trace_id)


def parse_trace_id(text: str) -> str:
    """Return the trace id of a `traceparent`; empty when it is not one (W3C Trace Context)."""
    found = _TRACE_PARENT.fullmatch(text.strip())
    return found[1] if found is not None and not text.strip().startswith("ff") else ""


def note_route(scope: Scope, route: str) -> None:
    """Note by which route a request is served."""
    facts = scope.get(FACTS_KEY)
    if isinstance(facts, RequestFacts):
        facts.route = route


def note_trace(scope: Scope, params: Mapping[str, Any] | None) -> None:
    """Join a request to the trace that its message names, where its headers name none; name it in records from now on."""
    facts, meta = scope.get(FACTS_KEY), (params or {}).get("_meta")
    if not isinstance(facts, RequestFacts) or facts.log.trace_id or not isinstance(meta, Mapping):
        return
    if trace_id := parse_trace_id(str(meta.get("traceparent", ""))):
        facts.log = replace(facts.log, trace_id=trace_id)
        enter_log_context(facts.log)


def note_principal(scope: Scope, principal: Principal) -> None:
    """Note who sends a request."""
    facts = scope.get(FACTS_KEY)
    if isinstance(facts, RequestFacts):
        facts.token_id = principal.token_id
