"""The way of files to and from hosts that a provider names: to an address that was checked, or by name through a proxy.

The address is written by others, so it is checked before anything is connected to. Directly, the name is resolved, only
public addresses are kept, and the connection goes to one of them, so that a second answer of the name service changes
nothing. Through the environment's proxy the name is all there is: the proxy resolves it, so an address in its place, and a
name of the own network, are refused.
"""

import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import httpx2

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import clean_line
from flowport.network.addresses import (
    MAX_ADDRESSES,
    Resolve,
    are_placeholders_usual,
    is_literal,
    is_local_name,
    is_placeholder,
    is_public_address,
    resolve_host,
)
from flowport.network.causes import Cause, RequestProgress, Route, find_cause
from flowport.network.proxies import Proxy, build_library_proxy, find_proxy
from flowport.network.trust import build_plain_context, get_ssl_context

MAX_CONNECTIONS: Final = 200
"""Of each way; how many files go side by side is for the callers to bound."""

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


class Outlet:
    """Owns the connections. No cookies, no redirects, no key, no line in the log: the library's transport alone."""

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
        self._transports: dict[tuple[str, bool], httpx2.AsyncHTTPTransport] = {}

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

    async def send(self, way: Way, build: Callable[[str], httpx2.Request]) -> httpx2.Response:
        """Send the request that is built for the first host of a way that a connection can be made to.

        Raises:
            NotConnected: There was none.
            httpx2.HTTPError: The connection broke off, or what came is no HTTP.
        """
        for place, host in enumerate(way.hosts, 1):
            progress = RequestProgress(way.proxy)
            try:
                request = build(host)
                request.extensions = {**request.extensions, "trace": progress.note}
                if way.proxy is None:
                    request.extensions["sni_hostname"] = way.host
                return await self._get_transport(way).handle_async_request(request)
            # Many hosts name an IPv6 address that this network cannot reach. Proxies and their libraries raise anything.
            except Exception as exc:
                if not progress.is_connecting and not isinstance(exc, ConfigurationError):
                    raise
                if place == len(way.hosts):
                    raise NotConnected(find_cause(exc, progress, Route(clean_line(way.host)))) from exc
        raise HostRefused("its host has no address")

    def _get_transport(self, way: Way) -> httpx2.AsyncHTTPTransport:
        key = ("" if way.proxy is None else way.proxy.url, way.is_secure)
        if key not in self._transports:
            self._transports[key] = httpx2.AsyncHTTPTransport(
                verify=(self._ssl_context or get_ssl_context()) if way.is_secure else build_plain_context(),
                trust_env=False,
                proxy=None if way.proxy is None else build_library_proxy(way.proxy),
                # No connection is used twice. The pool knows connections by address, not by the name that the
                # certificate was verified for, so two names at one address would share one.
                limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
            )
        return self._transports[key]
