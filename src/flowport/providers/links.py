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
