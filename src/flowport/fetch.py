"""The one fetcher: bytes from an address that somebody else wrote.

Outputs of runs, and pictures to convert, lie at URLs that a stranger may have chosen, so that without care this
computer could be sent to its own network. Each hop is checked alike: https, no user name, a usual port, and a host
all of whose addresses are public. The connection is made to the address that was checked, while the certificate is
verified for the name, so a second answer of the name service changes nothing. No key, cookie or proxy takes part.

The sandbox is exempt by its exact origin, and only when it was asked for in the first place.
"""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, TypeVar

import anyio

from flowport.labels import clean_line
from flowport.network.errors import FetchError
from flowport.receiving import Fetched, FileReceiver, Gathering, Receiver

if TYPE_CHECKING:
    import httpx2

MAX_REDIRECTS: Final = 3
_MAX_ADDRESSES: Final = 4
_CONNECT_SECONDS: Final = 10.0
_PORTS: Final = frozenset({None, 443, 8443})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({403, 404, 410})
_OK: Final = 200

T = TypeVar("T")
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Find the addresses of a host, best first; OSError when there are none."""


@dataclass(frozen=True, slots=True)
class FetchRules:
    """How far a fetch may go."""

    max_bytes: int = 1024**3
    trusted_origins: frozenset[str] = frozenset()
    """Origins that may be http and on this computer: `http://127.0.0.1:4567`, lower case, without a default port."""
    total_timeout_seconds: float = 300.0
    """For everything together, redirects included."""
    read_timeout_seconds: float = 30.0
    """For the next piece to arrive."""


@dataclass(frozen=True, slots=True)
class _Target:
    """One hop that may be made."""

    url: "httpx2.URL"
    host: str
    addresses: tuple[str, ...]


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the addresses that this computer's name service gives for a host, best first, each once."""
    with contextlib.suppress(ValueError):
        # An address needs no name service, and a thread of it neither.
        return (str(ipaddress.ip_address(host)),)
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Owns the connections of all fetches; made once, closed with `aclose`.

    The HTTP library is loaded by the first fetch.
    """

    def __init__(
        self,
        *,
        file_threads: anyio.CapacityLimiter,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            file_threads: Bounds the threads that write files.
            resolve: Answers where a host is.
            ssl_context: How servers prove who they are; None for the system's authorities.
        """
        self._file_threads = file_threads
        self._resolve = resolve
        self._ssl_context = ssl_context
        self._transport: httpx2.AsyncHTTPTransport | None = None

    async def aclose(self) -> None:
        """Close all connections; fetches under way fail."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def fetch_to_file(self, url: str, destination: BinaryIO, *, rules: FetchRules) -> Fetched:
        """Write what lies at the URL to the destination, piece by piece, and return what it was; raises as `fetch`."""
        return await self.fetch(url, FileReceiver(destination), rules=rules)

    async def fetch(self, url: str, receiver: Receiver[T], *, rules: FetchRules) -> T:
        """Bring what lies at the URL to the receiver and return what that makes of it.

        Raises:
            FetchError: It cannot or may not be fetched; the receiver may have had a part.
            OSError: The receiver cannot write.
        """
        import httpx2  # noqa: PLC0415 - not before the first fetch, for a quick start

        place = "an unreadable address"
        try:
            first = httpx2.URL(url)
            place = _get_place(first)
            with anyio.fail_after(rules.total_timeout_seconds):
                async with self._open(first, rules) as response:
                    return await self._receive(response, place, receiver, rules)
        except TimeoutError as exc:
            raise FetchError(place, f"it took longer than {rules.total_timeout_seconds:g} seconds") from exc
        # ValueError: the HTTP library lets it out for some malformed addresses.
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, httpx2.CookieConflict, ValueError) as exc:
            raise FetchError(place, _describe(type(exc))) from exc

    @contextlib.asynccontextmanager
    async def _open(self, first: "httpx2.URL", rules: FetchRules) -> "AsyncIterator[httpx2.Response]":
        """Give the answer at the end of the redirects."""
        url = first
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(await self._check(url, first, rules), rules)
            try:
                if response.status_code not in _REDIRECTS:
                    _check_answer(response, _get_place(url), rules)
                    yield response
                    return
                url = url.join(response.headers.get("location", ""))
            finally:
                # Shielded: a cancelled fetch must give its connection back too.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        raise FetchError(_get_place(first), f"it redirects more than {MAX_REDIRECTS} times")

    async def _check(self, url: "httpx2.URL", first: "httpx2.URL", rules: FetchRules) -> _Target:
        """Return where to connect for this hop, or refuse it."""
        # A redirect reaches a trusted origin from that origin alone.
        origin = _get_origin(url)
        is_trusted = origin in rules.trusted_origins and origin == _get_origin(first)
        place = _get_place(url)
        if problem := _find_url_problem(url, is_trusted=is_trusted):
            raise FetchError(place, problem, is_refused=True)
        host = url.raw_host.decode("ascii")
        try:
            addresses = await self._resolve(host, url.port or 443)
        except (OSError, UnicodeError) as exc:
            raise FetchError(place, "its host is not known to the name service") from exc
        if not addresses:
            raise FetchError(place, "its host has no address")
        if not is_trusted and not all(is_public_address(address) for address in addresses):
            raise FetchError(place, "its host is not on the public internet")
        return _Target(url, host, tuple(addresses[:_MAX_ADDRESSES]))

    async def _send(self, target: _Target, rules: FetchRules) -> "httpx2.Response":
        """Ask the first of the checked addresses that a connection can be made to."""
        import httpx2  # noqa: PLC0415 - loaded by now

        *others, last = target.addresses
        for address in others:
            try:
                return await self._get_transport().handle_async_request(_build_request(target, address, rules))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # many hosts name an IPv6 address that this network cannot reach
        return await self._get_transport().handle_async_request(_build_request(target, last, rules))

    def _get_transport(self) -> "httpx2.AsyncHTTPTransport":
        import httpx2  # noqa: PLC0415 - loaded by now

        # The transport alone, without the client on top: no cookie jar, no redirects, no log line with the whole URL.
        if self._transport is None:
            self._transport = httpx2.AsyncHTTPTransport(
                verify=self._ssl_context or True,
                trust_env=False,
                # No connection is used twice. The pool knows connections by address, not by the name that the
                # certificate was verified for, so two names at one address would share one.
                limits=httpx2.Limits(max_connections=20, max_keepalive_connections=0),
            )
        return self._transport

    async def _receive(self, response: "httpx2.Response", place: str, receiver: Receiver[T], rules: FetchRules) -> T:
        """Bring the body over, holding its length against the limit and against what was promised."""
        body = Gathering(receiver, self._file_threads)
        async with contextlib.aclosing(response.aiter_raw()) as pieces:
            async for piece in pieces:
                if body.size_bytes + len(piece) > rules.max_bytes:
                    raise FetchError(place, _describe_too_large(rules), is_refused=True)
                await body.add(piece)
        if _get_promised_bytes(response) not in {None, body.size_bytes}:
            raise FetchError(place, "it is not as long as its server said")
        return await body.finish(response.headers.get("content-type", "").partition(";")[0].strip().lower())


def is_public_address(address: str) -> bool:
    """Return whether an IP address, as the name service writes it, is one of the public internet.

    Addresses that carry another one inside (mapped, translated, tunnelled) are not: what they lead to is for somebody
    else to say.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(parsed in network for network in _get_closed_networks() if network.version == parsed.version):
        return False
    # IANA has given out no other part of IPv6 for public use.
    is_assigned = parsed.version == 4 or parsed in _PUBLIC_IPV6  # noqa: PLR2004 - the protocol's version
    return is_assigned and parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


_PUBLIC_IPV6: Final = ipaddress.IPv6Network("2000::/3")


@cache
def _get_closed_networks() -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Return what counts as closed besides what `ipaddress` itself says, which differs between Python versions."""
    return tuple(
        map(
            ipaddress.ip_network,
            (
                "100.64.0.0/10",  # carrier-grade NAT
                "168.63.129.16/32",  # the wire server of Azure's virtual machines
                "192.0.0.0/24",  # protocol assignments; a cloud's metadata service among them
                "192.88.99.0/24",  # 6to4 relays
                "198.18.0.0/15",  # benchmarking
                "2001::/23",  # protocol assignments; Teredo among them
                "2001:db8::/32",  # documentation
                "2002::/16",  # 6to4
                "3fff::/20",  # documentation
            ),
        )
    )


def _get_place(url: "httpx2.URL") -> str:
    return clean_line(url.raw_host.decode("ascii")) or "an address without a host"


def _get_origin(url: "httpx2.URL") -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _find_url_problem(url: "httpx2.URL", *, is_trusted: bool) -> str:
    """Return what forbids asking this URL, or nothing."""
    if url.userinfo:
        return "its address holds a user name or password"
    if is_trusted:
        return ""
    if url.scheme != "https":
        return "its address is not an https one"
    if not url.raw_host:
        return "its address names no host"
    return "" if url.port in _PORTS else "its address names an unusual port"


def _build_request(target: _Target, address: str, rules: FetchRules) -> "httpx2.Request":
    """Return a request that connects to the address and speaks to the host.

    The connection goes where the URL points; the Host header and the name that the certificate must hold are the host's.
    """
    import httpx2  # noqa: PLC0415 - loaded by now

    seconds = rules.read_timeout_seconds
    return httpx2.Request(
        "GET",
        target.url.copy_with(host=address),
        headers={
            "Host": target.url.netloc.decode("ascii"),
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "flowport",
        },
        extensions={
            "timeout": {"connect": _CONNECT_SECONDS, "read": seconds, "write": seconds, "pool": seconds},
            "sni_hostname": target.host,
        },
    )


def _check_answer(response: "httpx2.Response", place: str, rules: FetchRules) -> None:
    """Refuse an answer whose body is not worth reading."""
    status = response.status_code
    if status in _GONE:
        raise FetchError(place, f"its link is no longer good (HTTP {status})", is_expired=True)
    if status != _OK:
        raise FetchError(place, f"its server answered HTTP {status}")
    if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        # We asked for plain bytes; a packed body may unpack to any size.
        raise FetchError(place, "its server sent it compressed")
    if (_get_promised_bytes(response) or 0) > rules.max_bytes:
        raise FetchError(place, _describe_too_large(rules), is_refused=True)


def _get_promised_bytes(response: "httpx2.Response") -> int | None:
    """Return the length that the server announced, or None; the HTTP library lets only numbers through."""
    length = response.headers.get("content-length")
    return None if length is None else int(length)


def _describe_too_large(rules: FetchRules) -> str:
    return f"it is larger than {rules.max_bytes / 1024**2:.4g} MB, the most that is taken"


def _describe(exception: type[Exception]) -> str:
    """Return the problem that an exception of the HTTP library stands for; a subclass speaks like its parent."""
    problems = _get_problems()
    return next(problems[parent] for parent in exception.__mro__ if parent in problems)


@cache
def _get_problems() -> Mapping[type[Exception], str]:
    """Return every exception of the HTTP library, and ValueError, with what it means for a fetch."""
    import httpx2  # noqa: PLC0415 - loaded by now

    no_answer, broken_off, misuse = "no answer came in time", "the connection broke off", "the fetcher made a mistake"
    garbled = "its server's answer was not valid HTTP"
    return {
        httpx2.ConnectError: "no secure connection to its server could be made",
        httpx2.ConnectTimeout: "its server took too long to be reached",
        httpx2.PoolTimeout: "too many fetches are under way here",
        httpx2.ReadTimeout: no_answer,
        httpx2.WriteTimeout: no_answer,
        httpx2.TimeoutException: no_answer,
        httpx2.ReadError: broken_off,
        httpx2.WriteError: broken_off,
        httpx2.CloseError: broken_off,
        httpx2.NetworkError: broken_off,
        httpx2.TransportError: broken_off,
        httpx2.RequestError: broken_off,
        httpx2.HTTPError: broken_off,
        httpx2.HTTPStatusError: "its server answered with an error",
        httpx2.RemoteProtocolError: garbled,
        httpx2.ProtocolError: garbled,
        httpx2.DecodingError: garbled,
        httpx2.SSEError: garbled,
        httpx2.LocalProtocolError: "its address cannot be asked for",
        httpx2.UnsupportedProtocol: "its address is not an https one",
        httpx2.InvalidURL: "its address is malformed",
        ValueError: "its address, or one that it redirects to, is malformed",
        httpx2.TooManyRedirects: "it redirects too often",
        httpx2.ProxyError: "a proxy refused",
        httpx2.CookieConflict: misuse,
        httpx2.StreamError: misuse,
        httpx2.StreamConsumed: misuse,
        httpx2.StreamClosed: misuse,
        httpx2.ResponseNotRead: misuse,
        httpx2.RequestNotRead: misuse,
    }
