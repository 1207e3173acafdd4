"""How connections are made: which authorities prove who a server is, and which proxy of the environment is used.

The HTTP library reads the same variables, but all of them at once: a malformed value of one scheme breaks every client, and
its errors name no variable. So both are chosen here, for one address at a time, and handed to the library.
"""

import ipaddress
import logging
import os
import re
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.request import getproxies

import httpx2

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import clean_line

logger = logging.getLogger(__name__)

CERT_FILE: Final = "SSL_CERT_FILE"
CERT_DIR: Final = "SSL_CERT_DIR"

_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""The name under which OpenSSL looks for a certificate in a folder."""
_MAX_FILES: Final = 1000
_REMEDY: Final = "Correct or remove it where Flowport's environment is set."


def get_ssl_context() -> ssl.SSLContext:
    """Return how servers are verified: by SSL_CERT_FILE and SSL_CERT_DIR where they are set, else by the system's authorities.

    Raises:
        ConfigurationError: A variable names no certificates.
    """
    return _build_context(os.environ.get(CERT_FILE, ""), os.environ.get(CERT_DIR, ""))


def get_trust_settings() -> str:
    """Return the variables that decide whom to trust, as a subject of a sentence; empty when the system does."""
    return " and ".join(name for name in (CERT_FILE, CERT_DIR) if os.environ.get(name))


def build_plain_context() -> ssl.SSLContext:
    """Return a context for a client that opens no secure connection: the library wants one all the same."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=4)
def _build_context(cert_file: str, cert_dir: str) -> ssl.SSLContext:
    if not cert_file and not cert_dir:
        return httpx2.create_ssl_context(trust_env=False)
    # Not `create_default_context`, which is stricter from Python 3.13 on than many a company's authority.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if cert_file:
        _load_file(context, cert_file)
    if cert_dir:
        _load_folders(context, cert_dir)
    _log_keys(context)
    return context


def _load_file(context: ssl.SSLContext, name: str) -> None:
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            # Reading a pipe could block.
            kind = "a folder" if Path(name).is_dir() else "not a file"
            hint = f"{CERT_DIR} is the variable for folders." if kind == "a folder" else _REMEDY
            raise ConfigurationError(CERT_FILE, f"names {_show(name)}, which is {kind}", hint)
        context.load_verify_locations(cafile=name)
    except ssl.SSLError as exc:
        problem = f"names {_show(name)}, which holds no certificate in PEM form"
        raise ConfigurationError(CERT_FILE, problem, _REMEDY) from exc
    except (OSError, ValueError) as exc:
        raise ConfigurationError(CERT_FILE, f"names {_show(name)}, which {_describe(exc)}", _REMEDY) from exc


def _load_folders(context: ssl.SSLContext, names: str) -> None:
    """Load each folder of a list; a folder without OpenSSL's hashed names is read file by file."""
    has_any = False
    problem = f"names {_show(names)}, which holds no certificate in PEM form"
    for name in filter(None, names.split(os.pathsep)):
        try:
            entries = sorted(os.listdir(name))  # noqa: PTH208 - names alone
        except (OSError, ValueError) as exc:
            problem = f"names {_show(name)}, which {_describe(exc)}"
            continue
        if any(map(_HASHED.fullmatch, entries)):
            context.load_verify_locations(capath=name)
            has_any = True
            continue
        for path in _find_files(Path(name), entries):
            try:
                context.load_verify_locations(cafile=path)
            except (OSError, ValueError):
                continue  # a key, a list of revocations, a text
            has_any = True
    if not has_any:
        raise ConfigurationError(CERT_DIR, problem, _REMEDY)


def _find_files(folder: Path, entries: list[str]) -> Iterator[Path]:
    for entry in entries[:_MAX_FILES]:
        path = folder / entry
        if path.is_file():
            yield path


def _show(name: str) -> str:
    return clean_line(name, limit=200)


def _describe(exc: OSError | ValueError) -> str:
    if isinstance(exc, FileNotFoundError):
        return "does not exist"
    reason = exc.strerror if isinstance(exc, OSError) else None
    return f"cannot be read ({reason or type(exc).__name__})"


def _log_keys(context: ssl.SSLContext) -> None:
    """Honour the variable that debuggers of connections set; one that cannot be written is ignored."""
    if name := os.environ.get("SSLKEYLOGFILE"):
        try:
            context.keylog_filename = name
        except OSError as exc:
            logger.warning("SSLKEYLOGFILE names a file that cannot be written (%s); it is ignored", exc.strerror)


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


def find_proxy_of(address: str) -> Proxy | None:
    """Return the proxy for an address that is a text; see `find_proxy`.

    Raises:
        ConfigurationError: The variable that applies names no usable proxy, or the address is malformed.
    """
    try:
        return find_proxy(httpx2.URL(address))
    except httpx2.InvalidURL as exc:
        raise ConfigurationError("The address", "is malformed", "Correct it.") from exc


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
