"""The proxy of a connection, from the environment.

The HTTP library reads the same variables, but all of them at once: a malformed value of one scheme breaks every client,
and its errors name no variable. So the proxy is chosen here, for one address at a time, and handed to the library.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.request import getproxies

import httpx2

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import clean_line
from flowport.network.trust import get_ssl_context

SYSTEM: Final = "The system's proxy setting"
"""Named in the place of a variable where Windows or macOS supplies the proxy."""

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_ALIASES: Final = {"socks": "socks5"}
"""Desktops write the scheme without its version."""

_EXAMPLE: Final = "It looks like http://proxy.example:3128 or socks5h://127.0.0.1:1080."
_HOST: Final = re.compile(r"[A-Za-z0-9_:.-]+")
_MAX_PORT: Final = 65535
_SEPARATORS: Final = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that a connection goes through."""

    setting: str
    """The variable that names it, as the environment writes it."""
    url: str = field(repr=False)
    """May hold a password."""
    place: str
    """Scheme, host and port; safe to show."""
    has_credentials: bool

    @property
    def is_tls(self) -> bool:
        """Whether the connection to the proxy itself is encrypted."""
        return self.place.startswith("https:")

    def __str__(self) -> str:
        return f"the proxy of {self.setting} ({self.place})"


def find_proxy(url: httpx2.URL, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy for an address, or None for a direct connection.

    Args:
        environ: The environment; None for the process's own, with the system's settings where it names no proxy.

    Raises:
        ConfigurationError: The variable that applies names no usable proxy.
    """
    proxies = _read_proxies(environ)
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    text = proxies.get(scheme, "").strip()
    if not text or is_excluded(url, proxies.get("no", "")):
        return None
    setting = _find_name(scheme, text, os.environ if environ is None else environ)
    return _parse_proxy(setting, text)


def build_library_proxy(proxy: Proxy) -> httpx2.Proxy:
    """Return a proxy as the HTTP library takes it.

    Raises:
        ConfigurationError: It is asked over a secure connection, and the authorities for it cannot be used.
    """
    return httpx2.Proxy(proxy.url, ssl_context=get_ssl_context() if proxy.is_tls else None)


def is_excluded(url: httpx2.URL, no_proxy: str) -> bool:
    """Return whether NO_PROXY excludes an address. An entry that cannot be read excludes nothing."""
    return any(entry == "*" or _matches(entry, url) for entry in _SEPARATORS.split(no_proxy) if entry)


def _read_proxies(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    if environ is None:
        return getproxies()
    # As in the standard library: the spelling in lower case wins, also with an empty value.
    found = {name.lower(): value for name, value in environ.items() if not name.endswith("_proxy")}
    found |= {name: value for name, value in environ.items() if name.endswith("_proxy")}
    return {name.removesuffix("_proxy"): value for name, value in found.items() if name.endswith("_proxy")}


def _find_name(scheme: str, text: str, environ: Mapping[str, str]) -> str:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", *environ)
    wanted = f"{scheme}_proxy"
    return next((name for name in names if name.lower() == wanted and environ.get(name, "").strip() == text), SYSTEM)


def _parse_proxy(setting: str, text: str) -> Proxy:
    """Return the proxy; an error never quotes the value, which may hold a password."""
    spelled = text if "://" in text else f"http://{text}"
    scheme, _, rest = spelled.partition("://")
    scheme = _ALIASES.get(scheme.lower(), scheme.lower())
    if scheme not in _SCHEMES:
        problem = f"names a proxy with the scheme {clean_line(scheme, limit=20)!r}, which Flowport does not speak"
        raise ConfigurationError(setting, problem, f"It takes {', '.join(_SCHEMES)}. {_EXAMPLE}")
    try:
        url = httpx2.URL(f"{scheme}://{rest}")
        host, port = url.raw_host.decode("ascii"), url.port
        has_credentials = bool(url.username or url.password)
        _ = httpx2.Proxy(url)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise ConfigurationError(setting, "is not the address of a proxy", _EXAMPLE) from exc
    if not _HOST.fullmatch(host) or not host.strip("."):
        raise ConfigurationError(setting, "names no host that can be reached", _EXAMPLE)
    if port is not None and not 0 < port <= _MAX_PORT:
        raise ConfigurationError(setting, f"names the port {port}, which does not exist", _EXAMPLE)
    shown = f"[{host}]" if ":" in host else host
    place = f"{scheme}://{shown}{f':{port}' if port else ''}"
    return Proxy(setting, str(url), place, has_credentials)


def _matches(entry: str, url: httpx2.URL) -> bool:
    scheme, separator, rest = entry.rpartition("://")
    if separator and scheme.lower() != url.scheme:
        return False
    host = url.host.rstrip(".").lower()
    wanted, port = _split_port(rest.lower())
    if port is not None and port != (url.port or {"http": 80, "https": 443}.get(url.scheme)):
        return False
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return _matches_name(wanted.rstrip("."), host)
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split `host:port`; the colons of a bare IPv6 address are not a port's."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port, _, mask = rest.removeprefix(":").partition("/")
        return (f"{host}/{mask}" if mask else host), int(port) if port.isdecimal() else None
    host, _, port = entry.partition(":")
    return (host, int(port)) if port.isdecimal() and ":" not in port else (entry, None)


def _matches_name(wanted: str, host: str) -> bool:
    if not wanted or "/" in wanted:
        return False
    if wanted.startswith(("*.", ".")):
        return host.endswith(f".{wanted.lstrip('*.')}")
    return host == wanted or host.endswith(f".{wanted.lstrip('*')}")
