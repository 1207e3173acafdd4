"""Taking a file into the library: from a URL of the sandbox's own, a data URI, or base64."""

import base64
import binascii
import re
from typing import Any, Final

from flowport.sandbox.apps import MAX_MEDIA_BYTES
from tests.fakes.magica.refusals import deny_values
from tests.fakes.magica.values import check_media
from tests.fakes.magnific.state import SandboxState

SOURCES: Final = ("url", "data_uri", "base64")

_DATA_URI: Final = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


async def keep_upload(state: SandboxState, arguments: dict[str, Any]) -> str:
    """Keep a file and return its permanent URL; raises `Denied` or `Refused`."""
    given = [name for name in SOURCES if arguments.get(name) is not None]
    if len(given) != 1:
        raise deny_values([], "custom", f"Give exactly one of {', '.join(SOURCES)}")
    source, value = given[0], arguments[given[0]]
    if not isinstance(value, str):
        raise deny_values([source], "invalid_type", "Invalid input: expected string", expected="string")
    data = _fetch(state, value) if source == "url" else _decode(source, value)
    return state.magica.library.add(data)


def _fetch(state: SandboxState, url: str) -> bytes:
    check_media(url, ["url"], state.creations)
    product = state.creations.find(url)
    return b"" if product is None else product.data


def _decode(source: str, value: str) -> bytes:
    if source == "data_uri" and not _DATA_URI.match(value):
        raise deny_values([source], "invalid_string", "is no data URI in base64")
    text = _DATA_URI.sub("", value, count=1)
    if len(text) * 3 // 4 > MAX_MEDIA_BYTES + 2:
        raise deny_values([source], "too_big", "The file is larger than 20 MB")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise deny_values([source], "invalid_string", "is not valid base64") from exc
