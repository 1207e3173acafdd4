"""Addresses in a provider's answers and paths, whichever provider it is. Pure."""

import re
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

MAX_URL_LENGTH: Final = 4096

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HOST: Final = re.compile(r"[\w.\-:\[\]%]+", re.ASCII)
_NAME: Final = re.compile(r"[\w.\-:]+")


def is_usable_url(url: str) -> bool:
    """Tell whether this is the whole address of a file, without anything that could be misread."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_LENGTH
    return is_plain and parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.username is None


def complete_url(text: str) -> str:
    """Return the address of a file as it can be fetched; empty when a text is none.

    An address without scheme gets https. Spaces and letters beyond ASCII become their codes; what is encoded already stays.
    """
    url = f"https:{text}" if text.startswith("//") else text
    if is_usable_url(url):
        return url
    if _CONTROLS.search(url) or len(url) > MAX_URL_LENGTH:
        return ""
    try:
        parts = urlsplit(url)
        host = _encode_host(parts.netloc)
    except ValueError:
        return ""
    if not _HOST.fullmatch(host):
        return ""
    path, query, fragment = (_quote(part) for part in (parts.path, parts.query, parts.fragment))
    whole = urlunsplit((parts.scheme, host, path, query, fragment))
    return whole if is_usable_url(whole) else ""


def _encode_host(host: str) -> str:
    if host.isascii():
        return host
    # Of signs that are no letters IDNA would make dots and slashes.
    return host.encode("idna").decode() if _NAME.fullmatch(host) else quote(host, safe=".-:")


def _quote(part: str) -> str:
    # A percent sign that begins no code stands for itself.
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", part), safe="%/:?@!$&'()*+,;=~-._")


def quote_segment(text: str) -> str:
    """Return an id for a path; dots too, because the HTTP library would take `..` for the folder above."""
    return quote(text, safe="").replace(".", "%2E")


_MIME_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "flac": "audio/flac",
}


def guess_mime_type(url: str) -> str:
    """Return the type that a link's ending promises, empty when it promises none; the bytes decide once they are here."""
    path = url.partition("?")[0].partition("#")[0]
    return _MIME_TYPES.get(path.rpartition(".")[2].lower(), "")
