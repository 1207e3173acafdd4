"""Requests to a provider's API. Only the modules of this package import the HTTP library.

Redirects are never followed: the library would carry our key header to another origin. A request that starts a run gets
a connection of its own, because a kept-alive one that the server is just closing leaves the fate of the run unknown.
"""

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import quote, quote_plus

import anyio
import httpx2

from flowport.domain.errors import ConfigurationError, Operation, ProviderUnreachable
from flowport.domain.text import clean_line
from flowport.network.causes import RequestProgress, Route, Stage, find_cause
from flowport.network.connections import Proxy, build_library_proxy, build_plain_context, find_proxy, get_ssl_context
from flowport.network.ratelimit.limiter import RateLimiter
from flowport.providers.answers import parse_rate_limits, parse_retry_after
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.runtime.failpoints import Failpoint, trigger

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""More than any list of flows can need; the rest of a longer answer is not read."""

PAUSE_WITHOUT_WORD_SECONDS: Final = 15.0
"""How long an account rests after a 429 that names no delay."""

_TIMEOUT: Final = httpx2.Timeout(60.0, connect=10.0, pool=30.0)
_TIMEOUT_READ: Final = httpx2.Timeout(30.0, connect=10.0, pool=30.0)
_MAX_STARTS: Final = 100
MAX_READS: Final = 16
"""Requests side by side that start nothing."""
_MAX_IDLE: Final = 4
"""Connections that wait for the next request; the library asks the system about each of them twice for each request."""

REQUEST_SECONDS: Final[Mapping[Operation, float]] = {
    Operation.LIST_APPS: 60.0,
    Operation.DESCRIBE_APP: 60.0,
    Operation.START_RUN: 120.0,
    Operation.READ_RUN: 60.0,
    Operation.READ_RUNS: 15.0,
    Operation.REQUEST_UPLOAD: 60.0,
    Operation.CANCEL_RUN: 60.0,
    Operation.READ_BALANCE: 15.0,
    Operation.ESTIMATE_PRICE: 15.0,
}
"""How long a request may take in all: a server that sends a byte now and then never meets the library's limits. Of several runs
one may be waited for, and can be polled alone."""

_STEPS: Final = {
    "http11.send_request_body.complete": Failpoint.AFTER_REQUEST_LEFT,
    "http11.receive_response_headers.complete": Failpoint.AFTER_PROVIDER_ACCEPTED,
    "http11.receive_response_headers.failed": Failpoint.AFTER_PROVIDER_ACCEPTED,
}
"""The library's events of a start request at which a test may stop the process."""

_KEY_MARK: Final = b"[API key]"
_MIN_KEY_LENGTH: Final = 8
"""A shorter key is a test's, and would be found inside other words."""


Permit: TypeAlias = Callable[[], Awaitable[None]]
"""Is awaited when a start request is about to leave, and raises where it must not."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an account's API is, and its credentials."""

    base_url: str
    """Without a slash at the end."""
    headers: Mapping[str, str] = field(repr=False)
    """Sent with every request; they hold the key."""
    api_key: str = field(default="", repr=False)
    """The key in the headers: it is removed from every answer."""
    is_loopback: bool = False
    """Whether it is on this machine; then no proxy of the environment is used."""
    setting: str = ""
    """The variable by which a person chose the address; empty for the provider's own."""
    file_origins: frozenset[str] = frozenset()
    """Origins on this machine or network whose files may be fetched."""
    former_file_origins: frozenset[str] = frozenset()
    """Origins at which a built-in sandbox served the same files before: its port may change."""


class Api:
    """The API of one account. It owns the connections, and reports the limits in answers to the budget."""

    def __init__(
        self,
        provider_title: str,
        location: Location,
        limiter: RateLimiter,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        request_seconds: Mapping[Operation, float] = REQUEST_SECONDS,
    ) -> None:
        """Create it; a transport replaces the network."""
        self._transport = transport
        self._request_seconds = request_seconds
        self._key_remover = KeyRemover(location.api_key)
        self._provider_title = provider_title
        self._location = location
        self._budget = limiter
        self._reads = anyio.Semaphore(MAX_READS, fast_acquire=True)
        self._readers: ApiClient | None = None
        self._starters: ApiClient | None = None

    async def send(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:
        """Send the request once and return the answer, whatever its status. The caller has taken it from the budget.

        What the permit of a start raises is raised, and nothing has left.

        Raises:
            ProviderUnreachable: No answer came; `was_sent` says whether the request may have arrived.
        """
        sent_at = self._budget.note_sent()
        status: int | None = None
        try:
            answer = await self._exchange(request, permit)
            status = answer.status
        finally:
            count_answer(self._budget, request.operation, status)
            self._budget.note_over(sent_at)
        report_limits(self._budget, answer, sent_at)
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._readers, self._starters):
            if client is not None:
                await client.http.aclose()

    async def _exchange(self, request: ApiRequest, permit: Permit | None) -> ApiAnswer:
        """Send a request. What ends it is judged by how far it came, not by the kind of the error alone."""
        is_start = request.operation is Operation.START_RUN
        progress, gate = RequestProgress(), _Gate(permit)
        try:
            with anyio.fail_after(self._request_seconds[request.operation]):
                client = self._get_client(request.operation)
                progress.proxy = client.proxy
                prepared = httpx2.Request(
                    request.method,
                    self._location.base_url + request.path,
                    headers=client.http.headers,
                    json=request.body,
                    extensions={
                        "timeout": (_TIMEOUT if is_start else _TIMEOUT_READ).as_dict(),
                        "trace": partial(_note_start_step, progress, gate) if is_start else progress.note_until_sent,
                    },
                )
                async with contextlib.nullcontext() if is_start else self._reads:
                    # Not by the client, which would look for redirects, cookies and logins in each answer.
                    return await self._receive(await client.transport.handle_async_request(prepared))
        # The library, its proxies and the system raise more kinds than can be named; each of them means no answer.
        except Exception as exc:
            if exc is gate.refusal:
                raise
            raise explain(exc, progress, self._location, self._provider_title, request.operation) from exc

    async def _receive(self, response: httpx2.Response) -> ApiAnswer:
        try:
            body, is_complete = await _read_body(response)
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        if "retry-after" in headers:
            # RFC 9110, section 6.6.1: an answer without a date is as old as its arrival.
            headers.setdefault("date", formatdate(usegmt=True))
        return ApiAnswer(response.status_code, headers, self._key_remover.remove(body), is_complete=is_complete)

    def _get_client(self, operation: Operation) -> "ApiClient":
        if operation is Operation.START_RUN:
            self._starters = self._starters or build_client(
                self._location, _MAX_STARTS, keep_alive=0, transport=self._transport
            )
            return self._starters
        self._readers = self._readers or build_client(
            self._location, MAX_READS, keep_alive=_MAX_IDLE, transport=self._transport
        )
        return self._readers


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The library's client for one place, with the proxy that it uses."""

    http: httpx2.AsyncClient
    transport: httpx2.AsyncBaseTransport
    """What the client sends requests with."""
    proxy: Proxy | None


def explain(
    error: BaseException, progress: RequestProgress, location: Location, title: str, operation: Operation
) -> ProviderUnreachable:
    """Return the error of a request to a provider that got no answer."""
    route = Route(clean_line(location.base_url.partition("://")[2].partition("/")[0]), location.setting)
    cause = find_cause(error, progress, route)
    if not isinstance(error, (httpx2.HTTPError, httpx2.InvalidURL, ConfigurationError, OSError)):
        logger.warning("a request to %s failed in an unusual way (%s)", route.host, type(error).__name__)
    return ProviderUnreachable(title, operation, cause.breakage, cause.reason, cause.remedy)


def count_answer(limiter: RateLimiter, operation: Operation, status: int | None) -> None:
    """Count a request by its answer, for metrics; None for one without an answer."""
    label = "none" if status is None else "429" if status == 429 else f"{status // 100}xx"  # noqa: PLR2004
    limiter.answers[operation, label] += 1


def report_limits(limiter: RateLimiter, answer: ApiAnswer, sent_at: float | None = None) -> None:
    """Let a budget learn what an answer says of its key's limits.

    Args:
        sent_at: What `note_sent` returned for the request, where it was asked.
    """
    # First, so that a refusal which the day explains is not taken for one of the minute.
    if (limits := parse_rate_limits(answer.headers)) is not None:
        limiter.note_limits(limits)
    if answer.status == 429:  # noqa: PLR2004
        asked = parse_retry_after(answer.headers)
        limiter.note_busy(PAUSE_WITHOUT_WORD_SECONDS if asked is None else asked, sent_at)
    elif sent_at is not None and answer.status < 400:  # noqa: PLR2004
        limiter.note_accepted(sent_at)


def build_client(
    location: Location, connections: int, *, keep_alive: int, transport: httpx2.AsyncBaseTransport | None = None
) -> ApiClient:
    """Return a client with the credentials of a location, which follows no redirect.

    Raises:
        ConfigurationError: The environment names a proxy or authorities that cannot be used.
        httpx2.InvalidURL: The place has no usable address.
    """
    url = httpx2.URL(location.base_url)
    proxy = None if location.is_loopback or transport is not None else find_proxy(url)
    is_secure = url.scheme == "https" and transport is None
    # What the environment says was read above; the library would read all of it, and fail of what is not needed.
    transport = transport or httpx2.AsyncHTTPTransport(
        verify=get_ssl_context() if is_secure else build_plain_context(),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=keep_alive),
        proxy=None if proxy is None else build_library_proxy(proxy),
        trust_env=False,
    )
    http = httpx2.AsyncClient(
        headers=dict(location.headers),
        follow_redirects=False,
        timeout=_TIMEOUT_READ,
        transport=transport,
        trust_env=False,
    )
    return ApiClient(http, transport, proxy)


class KeyRemover:
    """Takes our key out of what came back: some servers repeat it in their answers, and nothing is to keep it."""

    def __init__(self, api_key: str) -> None:
        self._spellings = _build_spellings(api_key)

    def remove(self, body: bytes) -> bytes:
        """Return the body without the key."""
        for spelling in self._spellings:
            body = body.replace(spelling, _KEY_MARK)
        return body


def _build_spellings(api_key: str) -> tuple[bytes, ...]:
    """Return the key as it is, inside JSON and inside a URL; the longest first, since one may lie in another."""
    if len(api_key) < _MIN_KEY_LENGTH:
        return ()
    in_json = json.dumps(api_key)[1:-1]
    in_url = (quote(api_key, safe=""), quote(api_key), quote_plus(api_key))
    spellings = {spelling.encode() for spelling in (api_key, in_json, in_json.replace("/", "\\/"), *in_url)}
    return tuple(sorted(spellings, key=len, reverse=True))


@dataclass(slots=True)
class _Gate:
    """The last check of a start request before it leaves."""

    permit: Permit | None
    refusal: Exception | None = None
    """What the check has raised, before a byte has left."""

    async def pass_through(self, progress: RequestProgress, event: str, info: Mapping[str, Any]) -> None:
        """Check before the headers leave; and before the body, without which nothing is started."""
        step = event.partition(".")[2]
        if self.permit is None or getattr(info.get("request"), "method", b"") == b"CONNECT":
            return
        if step == "send_request_headers.started":
            try:
                await self.permit()
            except Exception as exc:
                self.refusal = exc
                raise
        elif step == "send_request_body.started" and progress.stage is Stage.SENDING:
            await self.permit()


async def _note_start_step(progress: RequestProgress, gate: _Gate, event: str, info: Mapping[str, Any]) -> None:
    await gate.pass_through(progress, event, info)
    await progress.note(event, info)
    # A proxy is asked for a connection with events of the same names.
    if event in _STEPS and progress.stage is Stage.SENDING:
        trigger(_STEPS[event])


async def _read_body(response: httpx2.Response) -> tuple[bytes, bool]:
    """Return the body as far as it came, and whether it came whole. The status is known by now and counts either way."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                return b"".join(parts)[:MAX_ANSWER_BYTES], False
    except httpx2.HTTPError:
        return b"".join(parts), False
    return b"".join(parts), True
