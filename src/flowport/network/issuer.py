"""Fetch the metadata and the keys of an OAuth issuer: by RFC 8414 or OpenID Discovery, at the address that a setting names.

Nothing that a token says is ever fetched. No redirect is followed, and an answer may have few bytes.
"""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import anyio
import httpx2

from flowport.domain.errors import FlowportError
from flowport.domain.text import clean_line, format_address
from flowport.network.api_client import Location, build_client
from flowport.network.causes import RequestProgress, Route, find_cause
from flowport.settings.values import LOOPBACK_HOSTS

SETTING: Final = "FLOWPORT_OAUTH_ISSUER"
MAX_BYTES: Final = 512 * 1024
"""Of one answer; the largest known sets of keys have some kilobytes."""
FETCH_SECONDS: Final = 10.0
"""For all requests of one fetch together."""

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
_OK: Final = 200


@dataclass(eq=False)
class IssuerFailed(FlowportError):
    """The keys of an issuer could not be fetched."""

    address: str
    """Scheme and host of what was asked."""
    problem: str
    """The problem, as the end of a sentence."""
    status: int = 0
    """Of an answer without a document; 0 for another problem."""
    is_silent: bool = False
    """Whether no answer came, so that the next address of the same host will give none either."""

    def __str__(self) -> str:
        return f"The keys of the issuer could not be fetched from {self.address}: {self.problem}."


@dataclass(frozen=True, slots=True)
class IssuerDocument:
    """What an issuer publishes about itself. Its keys are not checked yet."""

    issuer: str
    """As it spells itself, which is how its tokens spell it."""
    keys: tuple[Any, ...]


def build_metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where the metadata of an issuer may be, in the order in which clients ask."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    names = ("oauth-authorization-server", "openid-configuration")
    urls = [f"{origin}/.well-known/{name}{path}" for name in names]
    return tuple(dict.fromkeys((*urls, f"{origin}{path}/.well-known/openid-configuration")))


async def fetch_issuer(issuer: str) -> IssuerDocument:
    """Return what an issuer publishes.

    Args:
        issuer: From the settings: https, or http on this computer.

    Raises:
        IssuerFailed: It cannot be reached, or what it publishes cannot be used.
    """
    try:
        with anyio.fail_after(FETCH_SECONDS):
            name, keys_url = await _find_keys_url(issuer)
            keys = (await _get(keys_url)).get("keys")
    except TimeoutError as exc:
        raise IssuerFailed(format_address(issuer), "it took too long") from exc
    if not isinstance(keys, list):
        raise IssuerFailed(format_address(keys_url), "the answer holds no list of keys")
    return IssuerDocument(name, tuple(keys))


async def _find_keys_url(issuer: str) -> tuple[str, str]:
    """Return the issuer as it spells itself, and the address of its keys."""
    problems: list[IssuerFailed] = []
    for url in build_metadata_urls(issuer):
        try:
            metadata = await _get(url)
            return _read_metadata(issuer, metadata)
        except IssuerFailed as exc:
            if exc.is_silent:
                raise
            problems.append(exc)
    # The first address that gave a document says more than one that does not exist.
    raise next((one for one in problems if not one.status), problems[0])


def _read_metadata(issuer: str, metadata: dict[str, Any]) -> tuple[str, str]:
    place = format_address(issuer)
    name, keys_url = metadata.get("issuer"), metadata.get("jwks_uri")
    if not isinstance(name, str) or name.rstrip("/") != issuer.rstrip("/"):
        raise IssuerFailed(place, f"its metadata name another issuer than {SETTING}")
    if not isinstance(keys_url, str) or not _is_usable(keys_url, is_issuer_here=_is_here(urlsplit(issuer))):
        raise IssuerFailed(place, "its metadata name no usable address of keys, which is https")
    return name, keys_url


def _is_usable(url: str, *, is_issuer_here: bool) -> bool:
    """Return whether keys may be fetched from an address that metadata name."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" #\\")
    if not is_plain or not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (is_issuer_here and _is_here(parts))


def _is_here(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


async def _get(url: str) -> dict[str, Any]:
    """Return the JSON object at an address."""
    place = format_address(url)
    parts = urlsplit(url)
    progress = RequestProgress()
    try:
        client = build_client(Location(url, _HEADERS, is_loopback=parts.hostname in LOOPBACK_HOSTS), 1, keep_alive=0)
        progress.proxy = client.proxy
        async with client.http as http, http.stream("GET", url, extensions={"trace": progress.note}) as response:
            body = await _read(response, place)
    except IssuerFailed:
        raise
    # The library, its proxies and the system raise more kinds than can be named; each of them means no answer.
    except Exception as exc:
        cause = find_cause(exc, progress, Route(clean_line(parts.netloc), SETTING))
        raise IssuerFailed(place, cause.reason, is_silent=True) from exc
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise IssuerFailed(place, "the answer is not JSON") from exc
    if not isinstance(found, dict):
        raise IssuerFailed(place, "the answer is not a JSON object")
    return found


async def _read(response: httpx2.Response, place: str) -> bytes:
    if response.status_code != _OK:
        raise IssuerFailed(place, f"it answered with status {response.status_code}", response.status_code)
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MAX_BYTES:
            raise IssuerFailed(place, f"the answer has more than {MAX_BYTES // 1024} KB")
    return bytes(body)
