"""The bytes inside a data URI (RFC 2397), or inside base64 without the beginning that would make it one.

The type that the URI declares is not used: a file is what its bytes say.
"""

import base64
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from flowport.domain.call_errors import build_refusal
from flowport.media.errors import format_size
from flowport.media.sniff import sniff

_MAX_HEADER_CHARACTERS: Final = 300
_MOST_CHARACTERS_PER_BYTE: Final = 4
_MOST_BEGINNINGS: Final = 4
_IS_BASE64: Final = re.compile(r"(?:;|^|:)\s*base64\s*[,:;]?\s*$", re.IGNORECASE)
_BEGINNING: Final = re.compile(
    rf"""
    \s*(?:
        (?:(?:data-?ur[il]|src|url|uri)\s*[:=]|data\s*=)\s*(?=(?:data:|[\w.+-]+/[\w.+-]+\s*;\s*base64|base64\s*[,:]))
      | data:[^,]{{0,{_MAX_HEADER_CHARACTERS}}}?,                # as it should be
      | data:[^,;]{{0,100}};\s*base64\s*[:;]?\s*(?=[A-Za-z0-9+/_-]{{8}})  # without its comma
      | data:\s*(?=data:)                                     # half of it twice
      | (?:[\w.+-]+/[\w.+-]+\s*;\s*)?base64\s*[,:]           # without its first word
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_QUOTED: Final = re.compile(r"""\s*b?(["'`])([^"'`]*)\1\s*""")
"""Data between quotes, as Python shows its bytes."""
_WHITE_SPACE: Final = re.compile(r"\s+")
_EXPECTED: Final = "Give data:image/png;base64, followed by the base64 of the whole file."


def parse_data_uri(value: str, *, argument: str, max_bytes: int) -> bytes:
    """Return the bytes that a data URI holds; at least one.

    White space inside base64, the URL-safe alphabet and missing padding are accepted: assistants produce all three.

    Raises:
        ArgumentsInvalid: The text is not a data URI, its data is broken or missing, or it holds more than `max_bytes`.
    """
    found = _split(value)
    if found is None:
        raise build_refusal(argument, "begins like a data URI but has no comma before the data", _EXPECTED)
    body, is_base64 = found
    try:
        data = _decode(_decode_base64 if is_base64 else unquote_to_bytes, body, argument, max_bytes)
    except ValueError as exc:
        raise build_refusal(argument, "is a data URI whose data is broken or cut off", _EXPECTED) from exc
    if not is_base64:
        data = _decode_unmarked(body) or data
    if not data:
        raise build_refusal(argument, "is a data URI without data", _EXPECTED)
    return data


def parse_base64(value: str, *, argument: str, max_bytes: int) -> bytes:
    """Return the bytes of a file that was given as base64 alone.

    Raises:
        ArgumentsInvalid: It is not base64, or holds more than `max_bytes`.
    """
    try:
        return _decode(_decode_base64, value, argument, max_bytes)
    except ValueError as exc:
        raise build_refusal(argument, "looks like the base64 of a file, but is broken or cut off", _EXPECTED) from exc


def _decode(decode: Callable[[str], bytes], body: str, argument: str, max_bytes: int) -> bytes:
    # Checked before decoding too, so that a huge text is not copied: percent-encoding takes three characters for a byte.
    is_huge = len(body) > _MOST_CHARACTERS_PER_BYTE * max_bytes + _MAX_HEADER_CHARACTERS
    data = b"" if is_huge else decode(body)
    if is_huge or len(data) > max_bytes:
        problem = f"holds more than {format_size(max_bytes)}, the most that can be sent"
        raise build_refusal(argument, problem, "Give a smaller file, or an https URL of it.")
    return data


def _split(value: str) -> tuple[str, bool] | None:
    """Return the data of a URI and whether it is base64; None when nothing separates it from its beginning.

    The beginning may be doubled, or lack the word before the type or the comma: nothing else can be meant.
    """
    rest, is_base64 = value.strip(), False
    for _ in range(_MOST_BEGINNINGS):
        beginning = _BEGINNING.match(rest)
        if beginning is None:
            break
        is_base64 = is_base64 or _IS_BASE64.search(beginning[0]) is not None
        rest = rest[beginning.end() :]
    return None if rest == value.strip() else (rest, is_base64)


def _decode_unmarked(body: str) -> bytes:
    """Return the bytes of base64 that is not marked as such, when they are a picture, video or sound; else nothing."""
    try:
        data = _decode_base64(body)
    except ValueError:
        return b""
    sniffed = sniff(data)
    return data if sniffed is not None and sniffed.is_media else b""


def _decode_base64(body: str) -> bytes:
    text = unquote_to_bytes(body).decode("latin-1") if "%" in body else body
    if found := _QUOTED.fullmatch(text):
        text = found[2]
    if "\\" in text:
        # As text inside JSON has it.
        text = text.replace("\\/", "/").replace("\\n", "").replace("\\r", "")
    text = _WHITE_SPACE.sub("", text).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
