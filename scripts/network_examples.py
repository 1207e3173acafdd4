"""Examples of failed connections: name service, routes, TLS and proxies."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
from example_records import Example

from flowport.domain.errors import Operation, ProviderUnreachable
from flowport.network.causes import RequestProgress, Route, Stage, find_cause
from flowport.network.connections import Proxy

_ROUTE: Final = Route("api.magnific.com", "MAGNIFIC_BASE_URL")
_HTTP_PROXY: Final = Proxy(
    "HTTPS_PROXY", "http://proxy.example:3128", "http://proxy.example:3128", has_credentials=False
)
_TLS_PROXY: Final = Proxy(
    "HTTPS_PROXY", "https://proxy.example:3129", "https://proxy.example:3129", has_credentials=True
)
_SOCKS_PROXY: Final = Proxy(
    "ALL_PROXY", "socks5h://proxy.example:1080", "socks5h://proxy.example:1080", has_credentials=False
)


def iterate_network() -> Iterator[Example]:
    """Yield the error for each way in which a connection fails."""
    down = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    refused = ConnectionRefusedError(111, "Connection refused")
    cut = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    cut.reason = "UNEXPECTED_EOF_WHILE_READING"
    for given, error, stage, proxy in (
        ("MAGNIFIC_BASE_URL=https://api.magnific.com:0", httpx2.InvalidURL("port"), Stage.PREPARING, None),
        ("a computer without network", _wrap(down), Stage.CONNECTING, None),
        ("a host that no name service knows", _wrap(unknown), Stage.CONNECTING, None),
        ("a firewall that drops packets", httpx2.ConnectTimeout("timed out"), Stage.CONNECTING, None),
        ("a firewall that refuses connections", _wrap(refused), Stage.CONNECTING, None),
        ("a server that ends the TLS handshake", _wrap(cut), Stage.SECURING, None),
        ("a company's proxy whose authority is unknown here", _distrust(20), Stage.SECURING, None),
        ("a computer whose date is years ago", _distrust(9), Stage.SECURING, None),
        ("a certificate for another host", _distrust(62), Stage.SECURING, None),
        ("a proxy that does not listen", _wrap(refused), Stage.CONNECTING, _HTTP_PROXY),
        ("a proxy at an https address that does not support TLS", _wrap(cut), Stage.SECURING_PROXY, _TLS_PROXY),
        ("a proxy that answers 407", _answer("407 Proxy Authentication Required"), Stage.TUNNELLING, _HTTP_PROXY),
        (
            "a proxy with a wrong password, 407",
            _answer("407 Proxy Authentication Required"),
            Stage.TUNNELLING,
            _TLS_PROXY,
        ),
        ("a proxy that answers 403", _answer("403 Forbidden"), Stage.TUNNELLING, _HTTP_PROXY),
        (
            "a SOCKS proxy with a rule against the host",
            _answer("Connection not allowed by ruleset"),
            Stage.TUNNELLING,
            _SOCKS_PROXY,
        ),
        ("a proxy that answers nothing", httpx2.ReadTimeout("timed out"), Stage.TUNNELLING, _HTTP_PROXY),
        ("a web server instead of a proxy", httpx2.RemoteProtocolError("no HTTP"), Stage.TUNNELLING, _HTTP_PROXY),
        ("an answer that breaks off", httpx2.ReadError(""), Stage.SENDING, None),
    ):
        with _set_authority(None):
            yield _explain(given, error, stage, proxy)
    with _set_authority("/home/me/ca.pem"):
        yield _explain("SSL_CERT_FILE=/home/me/ca.pem, which names another authority", _distrust(20), Stage.SECURING)


def _explain(given: str, cause_error: Exception, stage: Stage, proxy: Proxy | None = None) -> Example:
    progress = RequestProgress(proxy)
    progress.stage = stage
    cause = find_cause(cause_error, progress, _ROUTE)
    error = ProviderUnreachable("Magnific", Operation.LIST_APPS, cause.breakage, cause.reason, cause.remedy)
    return Example(given, error)


@contextmanager
def _set_authority(path: str | None) -> Iterator[None]:
    """Set the variable that names the certificate authorities, or remove it, for the length of a block."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    if path is not None:
        os.environ[names[0]] = path
    try:
        yield
    finally:
        os.environ.pop(names[0], None)
        os.environ.update(before)


def _wrap(error: OSError) -> httpx2.ConnectError:
    """Return the HTTP library's error for an error of the system."""
    wrapped = httpx2.ConnectError(str(error))
    wrapped.__cause__ = error
    return wrapped


def _answer(words: str) -> httpx2.ProxyError:
    return httpx2.ProxyError(words)


_VERIFY_MESSAGES: Final = {
    9: "certificate is not yet valid",
    20: "unable to get local issuer certificate",
    62: "Hostname mismatch, certificate is not valid for 'api.magnific.com'.",
}


def _distrust(code: int) -> httpx2.ConnectError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, _VERIFY_MESSAGES[code]
    return _wrap(error)
