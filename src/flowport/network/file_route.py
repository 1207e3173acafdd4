"""Which hosts files may come from and go to, and the connections to them.

A file's address is untrusted, so it is checked before anything is connected to. Directly, the name is resolved, only public
addresses are kept, and the connection goes to one of them, so that a second answer of the name service changes nothing.
Through the environment's proxy only the name is known: the proxy resolves it, so an address in place of a name, and a name
of the local network, are refused.
"""

import ipaddress
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import anyio
import httpx2

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import clean_line
from flowport.network.causes import Cause, RequestProgress, Route, find_cause
from flowport.network.connections import Proxy, build_library_proxy, build_plain_context, find_proxy, get_ssl_context

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Find the addresses of a host, best first; OSError when there are none."""

PORTS: Final = frozenset({None, 443, 8443})
MAX_ADDRESSES: Final = 4

_PUBLIC_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Of a translator to IPv4, by which a network without it reaches the rest (RFC 6052); the last four bytes are the address."""
_PLACEHOLDERS: Final = ipaddress.IPv4Network("198.18.0.0/15")
"""For measurements (RFC 2544); some VPNs and proxies give an address of it to every name, and look it up again themselves."""

_LOCAL_ENDINGS: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "arpa", "onion"}
)
"""The last labels of names that no public name service knows."""
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the addresses that this computer's name service gives for a host, best first, each once."""
    with suppress(ValueError):
        # An address needs no name service, and a thread of it neither.
        return (str(ipaddress.ip_address(host)),)
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def is_literal(host: str) -> bool:
    """Return whether a host is an address rather than a name, in any of the spellings that systems take for one."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or not host.strip(".") or _NUMBER.fullmatch(last) is not None


def is_local_name(host: str) -> bool:
    """Return whether a name can only be local: a proxy would look it up in its own network."""
    labels = host.rstrip(".").lower().split(".")
    return len(labels) < 2 or labels[-1] in _LOCAL_ENDINGS  # noqa: PLR2004 - a name and its domain


def is_public_address(address: str) -> bool:
    """Return whether an IP address, as the name service writes it, is one of the public internet.

    Of addresses that carry another one inside only those of NAT64 are judged, by what they carry; the others are not
    judged.
    """
    parsed = _parse(address)
    if parsed is None:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed in _NAT64:
        parsed = ipaddress.IPv4Address(parsed.packed[-4:])
    if any(parsed in network for network in _get_closed_networks() if network.version == parsed.version):
        return False
    # IANA has given out no other part of IPv6 for public use.
    is_assigned = isinstance(parsed, ipaddress.IPv4Address) or parsed in _PUBLIC_IPV6
    return is_assigned and parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def is_placeholder(address: str) -> bool:
    """Return whether an address is a placeholder that a VPN or a proxy of this computer replaces."""
    parsed = _parse(address)
    return isinstance(parsed, ipaddress.IPv4Address) and parsed in _PLACEHOLDERS


async def are_placeholders_usual(api_hosts: Collection[str], resolve: Resolve) -> bool:
    """Return whether the name service of this computer gives placeholders for providers' own hosts too."""
    for host in sorted(api_hosts):
        with suppress(OSError, UnicodeError):
            if any(map(is_placeholder, await resolve(host, 443))):
                return True
    return False


def _parse(address: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


@cache
def _get_closed_networks() -> tuple[IPNetwork, ...]:
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


MAX_CONNECTIONS: Final = 200
"""Of each way; how many files go side by side is for the callers to bound."""

MAX_IDLE: Final = 8
"""Connections to one host that wait for its next file."""

MAX_KEPT_HOSTS: Final = 32
"""Hosts whose connections are kept for the next file; those of further hosts are closed at once."""

_CONNECT_SECONDS: Final = 10.0

NOT_PUBLIC: Final = "its host is not on the public internet"
UNKNOWN: Final = "its host is not known to the name service"


class HostRefused(Exception):
    """A host may not be connected to, or has no address; the text is the end of a sentence."""


class NotConnected(Exception):
    """No connection was made, so nothing was sent."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.reason)
        self.cause = cause

    def __str__(self) -> str:
        remedy = f". {self.cause.remedy.rstrip('.')}" if self.cause.remedy else ""
        return f"{self.cause.reason}{remedy}"


@dataclass(frozen=True, slots=True)
class Way:
    """How one host is reached."""

    host: str
    hosts: tuple[str, ...]
    """What is connected to, best first: addresses, or the name where a proxy resolves it."""
    proxy: Proxy | None
    is_secure: bool


def build_request(
    url: httpx2.URL, host: str, headers: Mapping[str, str], seconds: float, body: AsyncIterator[bytes] | None = None
) -> httpx2.Request:
    """Return a request that connects to an address, or to the name where a proxy resolves it, with the name as its host."""
    return httpx2.Request(
        "GET" if body is None else "PUT",
        # Another host makes the library parse the whole address again.
        url if host == url.raw_host.decode("ascii") else url.copy_with(host=host),
        headers={**headers, "Host": url.netloc.decode("ascii"), "User-Agent": "flowport"},
        content=body,
        extensions={"timeout": {"connect": _CONNECT_SECONDS, "read": seconds, "write": seconds, "pool": seconds}},
    )


class Outlet:
    """Owns the connections of file transfers: no cookies, redirects, key or log lines."""

    def __init__(
        self,
        *,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
        api_hosts: Collection[str] = (),
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            resolve: Answers where a host is.
            ssl_context: How servers prove who they are; None for the trust store of every connection.
            api_hosts: The providers' own hosts. Placeholder addresses are taken for public where these have some.
        """
        self._resolve = resolve
        self._ssl_context = ssl_context
        self._api_hosts = frozenset(api_hosts)
        self._transports: dict[tuple[str, bool, str], httpx2.AsyncHTTPTransport] = {}
        """By proxy, by whether the connections are secure, and by the host whose connections are kept; empty for none."""

    @property
    def is_unused(self) -> bool:
        """Whether nothing was connected to so far."""
        return not self._transports

    async def aclose(self) -> None:
        """Close all connections; what is under way fails."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    async def find_way(self, url: httpx2.URL, *, is_trusted: bool) -> Way:
        """Return how to reach a host.

        Args:
            is_trusted: Whether it may be on this computer; then no proxy takes part.

        Raises:
            HostRefused: It may not be reached, or has no address.
            NotConnected: The environment names a proxy that cannot be used.
        """
        host, is_secure = url.raw_host.decode("ascii"), url.scheme == "https"
        try:
            proxy = None if is_trusted else find_proxy(url)
        except ConfigurationError as exc:
            raise NotConnected(find_cause(exc, RequestProgress(), Route(host))) from exc
        if proxy is not None:
            if is_literal(host) or is_local_name(host):
                raise HostRefused(NOT_PUBLIC)
            return Way(host, (host,), proxy, is_secure)
        try:
            addresses = await self._resolve(host, url.port or 443)
        except (OSError, UnicodeError) as exc:
            raise HostRefused(UNKNOWN) from exc
        if not addresses:
            raise HostRefused("its host has no address")
        usable = list(addresses) if is_trusted else await self._choose(host, addresses)
        return Way(host, tuple(usable[:MAX_ADDRESSES]), None, is_secure)

    async def _choose(self, host: str, addresses: Collection[str]) -> list[str]:
        """Return the addresses that may be connected to."""
        if public := [address for address in addresses if is_public_address(address)]:
            return public
        stand_ins = [address for address in addresses if is_placeholder(address)]
        if not stand_ins or is_literal(host):
            raise HostRefused(NOT_PUBLIC)
        if await are_placeholders_usual(self._api_hosts, self._resolve):
            return stand_ins
        raise HostRefused(
            f"{NOT_PUBLIC}: the name service gives it a placeholder address ({stand_ins[0]}), as some VPNs and proxies do, "
            "but gives the provider's own host none"
        )

    async def send(
        self,
        way: Way,
        url: httpx2.URL,
        headers: Mapping[str, str],
        *,
        seconds: float,
        iterate_body: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> httpx2.Response:
        """Send a request to the first host of a way that a connection can be made to; a PUT where it has a body.

        A GET may go over a kept connection, and once more over a new one when the server has closed that meanwhile.

        Args:
            seconds: How long each step may take.
            iterate_body: Called for each host that is tried.

        Raises:
            NotConnected: There was none.
            httpx2.HTTPError: The connection broke off, or the answer is not HTTP.
        """
        places, is_kept = deque(way.hosts), iterate_body is None
        while places:
            progress = RequestProgress(way.proxy)
            try:
                request = build_request(
                    url, places[0], headers, seconds, None if iterate_body is None else iterate_body()
                )
                request.extensions = {**request.extensions, "trace": progress.note_until_sent}
                if way.proxy is None:
                    request.extensions["sni_hostname"] = way.host
                return await self._get_transport(way, is_kept=is_kept).handle_async_request(request)
            # Many hosts name an IPv6 address that this network cannot reach. Proxies and their libraries raise anything.
            except Exception as exc:
                if (
                    is_kept
                    and progress.is_reused
                    and isinstance(exc, (httpx2.NetworkError, httpx2.RemoteProtocolError))
                ):
                    is_kept = False
                    continue
                if not progress.is_connecting and not isinstance(exc, ConfigurationError):
                    raise
                places.popleft()
                if not places:
                    raise NotConnected(find_cause(exc, progress, Route(clean_line(way.host)))) from exc
        raise HostRefused("its host has no address")

    def _get_transport(self, way: Way, *, is_kept: bool) -> httpx2.AsyncHTTPTransport:
        # The pool knows connections by address, not by the name that the certificate was verified for, so each name has
        # a pool of its own: two names at one address never share a connection.
        proxy_url = "" if way.proxy is None else way.proxy.url
        key = (proxy_url, way.is_secure, way.host if is_kept else "")
        if key not in self._transports and len(self._transports) >= MAX_KEPT_HOSTS:
            key = (proxy_url, way.is_secure, "")
        if key not in self._transports:
            self._transports[key] = httpx2.AsyncHTTPTransport(
                verify=(self._ssl_context or get_ssl_context()) if way.is_secure else build_plain_context(),
                trust_env=False,
                proxy=None if way.proxy is None else build_library_proxy(way.proxy),
                limits=httpx2.Limits(
                    max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE if key[2] else 0
                ),
            )
        return self._transports[key]
