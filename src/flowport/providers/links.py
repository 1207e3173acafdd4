"""Addresses in a provider's answers and paths, whichever provider it is. Pure."""

from typing import Final
from urllib.parse import quote, urlsplit

MAX_URL_LENGTH: Final = 4096


def is_usable_url(url: str) -> bool:
    """Tell whether this is the whole address of a file, without anything that could be misread."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_LENGTH
    return is_plain and parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.username is None


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
