"""How far a request came, and why it came no further: one diagnosis for lists, starts, downloads and uploads."""

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any, Final, TypeVar

import anyio
import httpx2

from flowport.domain.errors import NEVER_CONNECTED, Breakage, ConfigurationError, FlowportError
from flowport.domain.text import clean_line
from flowport.network.connections import CERT_FILE, Proxy, get_trust_settings

E = TypeVar("E", bound=BaseException)

BREAKAGES: Final[Mapping[type[Exception], Breakage]] = {
    httpx2.ConnectError: Breakage.NO_CONNECTION,
    httpx2.ProxyError: Breakage.NO_CONNECTION,
    httpx2.ConnectTimeout: Breakage.CONNECT_TIMEOUT,
    httpx2.PoolTimeout: Breakage.NO_FREE_CONNECTION,
    httpx2.UnsupportedProtocol: Breakage.UNUSABLE_ADDRESS,
    httpx2.InvalidURL: Breakage.UNUSABLE_ADDRESS,
    httpx2.ReadTimeout: Breakage.NO_ANSWER,
    httpx2.WriteTimeout: Breakage.NO_ANSWER,
    httpx2.TimeoutException: Breakage.NO_ANSWER,
    httpx2.NetworkError: Breakage.BROKEN_OFF,
    httpx2.ProtocolError: Breakage.GARBLED,
    httpx2.DecodingError: Breakage.GARBLED,
    httpx2.HTTPError: Breakage.BROKEN_OFF,
    TimeoutError: Breakage.NO_ANSWER,
}
"""The meaning of each error of the library; the most specific class decides."""


def get_breakage(error: BaseException) -> Breakage:
    """Return what an error of the HTTP library means; what the table does not name may have reached the provider."""
    return next((BREAKAGES[kind] for kind in type(error).__mro__ if kind in BREAKAGES), Breakage.BROKEN_OFF)


_FILE_REASONS: Final[Mapping[Breakage, str]] = {
    Breakage.UNUSABLE_ADDRESS: "its address is malformed",
    Breakage.GARBLED: "its server's answer was not valid HTTP",
}
"""What differs for a file, whose address no person has configured."""


def describe_file_failure(error: BaseException) -> str:
    """Return why a file was not fetched or uploaded, as the end of a sentence."""
    # The HTTP library raises ValueError for some malformed addresses.
    breakage = Breakage.UNUSABLE_ADDRESS if isinstance(error, ValueError) else get_breakage(error)
    return _FILE_REASONS.get(breakage, str(breakage))


class Stage(IntEnum):
    """How far one request came."""

    PREPARING = auto()
    CONNECTING = auto()
    SECURING_PROXY = auto()
    """The connection to a proxy is being encrypted."""
    TUNNELLING = auto()
    """The proxy is asked for a connection."""
    SECURING = auto()
    UNWRITABLE = auto()
    """The request breaks a rule of HTTP; nothing was written."""
    SENDING = auto()
    """The first byte of the request may have left."""


class RequestProgress:
    """Follows one request by the events of the HTTP library; pass a `note` method as its `trace` extension. Mutable."""

    def __init__(self, proxy: Proxy | None = None) -> None:
        """Begin before anything was done."""
        self.proxy = proxy
        self.stage = Stage.PREPARING
        self.is_reused = False
        """Whether the request was sent over a connection of an earlier one."""
        self._stream: Any = None
        """The connection to a SOCKS proxy, while it is being made usable."""
        self._request: Any = None
        """The library's request whose headers are being sent."""

    async def note(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of the library."""
        step = event.partition(".")[2]
        if self.stage is Stage.SENDING:
            # Nothing that follows takes a sent byte back. The library checks the headers before it writes any of them.
            if step == "send_request_headers.failed" and type(info.get("exception")).__name__ == "LocalProtocolError":
                self.stage = Stage.UNWRITABLE
        elif step == "connect_tcp.started":
            self.stage = Stage.CONNECTING
        elif step == "start_tls.started":
            # Of a proxy that is asked over an encrypted connection the first handshake is its own.
            is_of_proxy = self.proxy is not None and self.proxy.is_tls and self.stage is Stage.CONNECTING
            self.stage = Stage.SECURING_PROXY if is_of_proxy else Stage.SECURING
        elif step == "setup_socks5_connection.started":
            self.stage = Stage.TUNNELLING
            self._stream = info.get("stream")
        elif step == "setup_socks5_connection.failed" and self._stream is not None:
            # The library leaves it open.
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
        elif step == "send_request_headers.started":
            self._request = info.get("request")
            method = getattr(self._request, "method", b"")
            if method == b"CONNECT":
                self.stage = Stage.TUNNELLING
            else:
                self.is_reused = self.stage is Stage.PREPARING
                self.stage = Stage.SENDING

    async def note_until_sent(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of the library, and ask for none once the headers are sent: no later one changes anything."""
        await self.note(event, info)
        if (
            self.stage is Stage.SENDING
            and event.endswith("send_request_headers.complete")
            and self._request is not None
        ):
            self._request.extensions.pop("trace", None)

    @property
    def is_connecting(self) -> bool:
        """Whether a connection is being made, directly or by a proxy."""
        return Stage.PREPARING < self.stage < Stage.UNWRITABLE

    def has_left(self, error: BaseException) -> bool:
        """Return whether any byte of the request may have left, given the error that ended it.

        The library's events decide. Where it reported none, the kind of the error does: only those that name an earlier
        step are certain.
        """
        if self.stage is Stage.PREPARING:
            return get_breakage(error) not in NEVER_CONNECTED
        return self.stage is Stage.SENDING


@dataclass(frozen=True, slots=True)
class Route:
    """The destination of a request, as an error names it."""

    host: str
    """With its port where that is not the usual one; clean."""
    setting: str = ""
    """The variable that names the address; empty where a person chose nothing."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a request got no answer."""

    breakage: Breakage
    reason: str
    """As the end of a sentence."""
    remedy: str = ""
    """What to do, as a sentence; empty when nothing particular helps."""


def find_cause(error: BaseException, progress: RequestProgress, route: Route) -> Cause:
    """Return why a request failed; its breakage says whether it may have arrived."""
    if isinstance(error, ConfigurationError):
        return Cause(Breakage.UNUSABLE_SETTING, f"{error.setting} {error.problem}", error.remedy)
    if progress.has_left(error):
        return _find_sent_cause(error)
    if progress.stage is Stage.SECURING:
        return _find_handshake_cause(error, route)
    if progress.proxy is not None and progress.is_connecting:
        return _find_proxy_cause(error, progress.stage, route, progress.proxy)
    if progress.stage is Stage.CONNECTING:
        return _find_connecting_cause(error, route)
    return _find_early_cause(error, route)


def _find_early_cause(error: BaseException, route: Route) -> Cause:
    breakage = get_breakage(error)
    if breakage in NEVER_CONNECTED - {Breakage.UNUSABLE_ADDRESS}:
        return Cause(breakage, str(breakage))
    return Cause(Breakage.UNUSABLE_ADDRESS, f"the address {route.host} cannot be used", _advise_address(route))


def _find_sent_cause(error: BaseException) -> Cause:
    """Return the cause of a request that may have arrived: never one that says it did not, whatever the error is called."""
    breakage = get_breakage(error)
    sent = Breakage.BROKEN_OFF if breakage in NEVER_CONNECTED else breakage
    return Cause(sent, str(sent))


def _find_proxy_cause(error: BaseException, stage: Stage, route: Route, proxy: Proxy) -> Cause:
    remedy = f"Check {proxy.setting} and the proxy."
    if stage is Stage.TUNNELLING:
        return _find_tunnel_cause(error, route, proxy)
    if stage is Stage.SECURING_PROXY:
        return _blame_proxy(proxy, f"made no secure connection ({_describe_handshake(error)})", remedy)
    return _blame_proxy(proxy, f"could not be reached ({_describe_connecting(error)})", remedy)


def _find_connecting_cause(error: BaseException, route: Route) -> Cause:
    breakage = get_breakage(error)
    if (failed := _find(error, socket.gaierror)) is not None:
        is_down = failed.errno == socket.EAI_AGAIN
        words = "gave no answer for" if is_down else "does not know"
        return Cause(Breakage.UNKNOWN_HOST, f"the name service {words} {route.host}", _advise_address(route))
    if breakage in {Breakage.CONNECT_TIMEOUT, Breakage.NO_ANSWER}:
        reason = f"the connection to {route.host} took too long to make"
        return Cause(Breakage.CONNECT_TIMEOUT, reason, _advise_address(route))
    reason = f"no connection to {route.host} could be made ({_describe_connecting(error)})"
    return Cause(Breakage.NO_CONNECTION, reason, _advise_address(route))


def _find_handshake_cause(error: BaseException, route: Route) -> Cause:
    verification = _find(error, ssl.SSLCertVerificationError)
    if verification is None:
        reason = f"no secure connection to {route.host} could be made ({_describe_handshake(error)})"
        return Cause(Breakage.NO_CONNECTION, reason, _advise_address(route))
    reason = f"the certificate of {route.host} could not be verified ({_describe_handshake(error)})"
    return Cause(Breakage.UNTRUSTED, reason, _advise_trust(verification, route))


def _find_tunnel_cause(error: BaseException, route: Route, proxy: Proxy) -> Cause:
    words = clean_line(str(error)) if isinstance(error, httpx2.ProxyError) else ""
    wants_credentials = words.startswith("407") or "NO AUTHENTICATION REQUIRED from" in words
    if wants_credentials and not proxy.has_credentials:
        remedy = f"Put them into {proxy.setting}: {proxy.place.replace('://', '://USER:PASSWORD@')}."
        return _blame_proxy(proxy, "wants a user name and a password", remedy)
    if wants_credentials or "Invalid username/password" in words or "NO ACCEPTABLE METHODS" in words:
        remedy = f"Correct them in {proxy.setting}."
        return _blame_proxy(proxy, "does not accept the user name and password", remedy)
    if words[:3].isdigit():
        remedy = f"The operator of the proxy can allow {route.host}; NO_PROXY names hosts that need no proxy."
        return _blame_proxy(proxy, f"made no connection to {route.host} (HTTP {words})", remedy)
    remedy = f"Check {proxy.setting} and the proxy."
    if words:
        return _blame_proxy(proxy, f"made no connection to {route.host} ({words.rstrip('.')})", remedy)
    if get_breakage(error) is Breakage.NO_ANSWER:
        return _blame_proxy(proxy, f"did not answer when asked for {route.host}", remedy)
    kind = "a SOCKS" if proxy.place.startswith("socks") else "an HTTP"
    return _blame_proxy(proxy, f"did not answer as {kind} proxy does when asked for {route.host}", remedy)


def _blame_proxy(proxy: Proxy, problem: str, remedy: str) -> Cause:
    return Cause(Breakage.PROXY_FAILED, f"{proxy} {problem}", remedy)


def _advise_address(route: Route) -> str:
    return f"Check {route.setting} and the network, and try again." if route.setting else ""


def _advise_trust(verification: ssl.SSLCertVerificationError, route: Route) -> str:
    if verification.verify_code in _CLOCK_CODES:
        return "Check the date of this computer."
    if verification.verify_code == _WRONG_NAME_CODE:
        checked = f"{route.setting} and the network" if route.setting else "the network"
        return f"Another server answered in its place: check {checked}."
    if settings := get_trust_settings():
        return (
            f"{settings} must name the authority that signed it: a company's proxy may have replaced the certificate."
        )
    return (
        f"Where a company's proxy or a virus scanner reads secure connections, set {CERT_FILE} to the PEM file of its "
        "authority."
    )


_CLOCK_CODES: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED."""
_WRONG_NAME_CODE: Final = 62
"""X509_V_ERR_HOSTNAME_MISMATCH."""


def _describe_connecting(error: BaseException) -> str:
    """Return in a few words why no connection could be made."""
    if _find(error, socket.gaierror) is not None:
        return "the name service does not know it"
    if get_breakage(error) in {Breakage.CONNECT_TIMEOUT, Breakage.NO_ANSWER}:
        return "it took too long"
    numbered = next((one for one in _walk(error) if isinstance(one, OSError) and one.errno), None)
    if isinstance(numbered, ConnectionRefusedError):
        return "connection refused"
    return os.strerror(numbered.errno or 0).lower() if numbered is not None else "it broke off"


def _describe_handshake(error: BaseException) -> str:
    """Return in a few words why no secure connection could be made."""
    if (verification := _find(error, ssl.SSLCertVerificationError)) is not None:
        return clean_line(verification.verify_message.rstrip("."))
    if (failed := _find(error, ssl.SSLError)) is not None and failed.reason:
        return clean_line(failed.reason.replace("_", " ").lower())
    return "it took too long" if get_breakage(error) is not Breakage.NO_CONNECTION else "it broke off"


def _find(error: BaseException, kind: type[E]) -> E | None:
    return next((one for one in _walk(error) if isinstance(one, kind)), None)


def _walk(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what lies under it: the library keeps the system's error as cause, context or argument."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = one.exceptions if isinstance(one, BaseExceptionGroup) else one.args
        waiting += [other for other in (one.__cause__, one.__context__, *inner) if isinstance(other, BaseException)]


@dataclass(eq=False)
class UploadError(FlowportError):
    """A file could not be put where the provider takes uploads."""

    place: str
    """The host, never the path or query, which hold a token."""
    problem: str
    status: int = 0
    """What the server of that place answered; 0 when it answered nothing."""
    is_permanent: bool = False
    """The same file would fail the next time as well."""

    def __str__(self) -> str:
        return f"The file could not be uploaded to {self.place}: {self.problem}."


@dataclass(eq=False)
class FetchError(FlowportError):
    """A file could not be fetched from where its link points."""

    place: str
    """The host of the link; never its path or query, which may hold a token."""
    problem: str
    """Why, as the end of a sentence."""
    is_expired: bool = False
    """The server says that the link is no longer good (403, 404 or 410)."""
    is_refused: bool = False
    """Our own rules forbid it, and would the next time: the address is not one to ask, or the file is too large."""

    def __str__(self) -> str:
        return f"The file at {self.place} could not be fetched: {self.problem}."
