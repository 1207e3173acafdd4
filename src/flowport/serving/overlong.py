"""Messages that are longer than any call needs: refused by their ids, without keeping them."""

import json
import re
from typing import Any, Final

import mcp.types as t

from flowport.serving.json_rpc import RefusedMessage, refuse

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message of both transports: a file of 10 MB inside a call, written in base64, and what is around it."""

_KEPT_BYTES: Final = 4096
_WORDS: Final = (
    f"The message is longer than {MAX_MESSAGE_BYTES // 1024**2} MB, so nothing was done. Give a large file by its path or "
    "its address."
)

_ID: Final = rb'"id"\s*:\s*("(?:[^"\\]|\\.){0,200}"|-?[0-9]{1,20})(?=\s*[,}])'
_FIRST: Final = re.compile(rb'\s*\{(?:\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]{0,200}"\s*,)*\s*' + _ID)
"""The id of the message itself, where nothing but short text is before it."""
_LAST: Final = re.compile(rb",\s*" + _ID + rb'\s*(?:,\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]{0,200}"\s*)*\}\s*\Z')
"""The same where nothing but short text is behind it."""


class OverlongMessage:
    """The two ends of a message that is too long."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        """Take the next part."""
        self._head += data[: max(0, _KEPT_BYTES - len(self._head))]
        self._tail += data[-_KEPT_BYTES:]
        del self._tail[:-_KEPT_BYTES]

    def refuse(self) -> RefusedMessage:
        """Return the answer, by the id where it stands at either end: clients write it there."""
        found = _FIRST.match(self._head) or _LAST.search(self._tail)
        return refuse(t.INVALID_REQUEST, _WORDS, None if found is None else _parse_id(found[1]))


def _parse_id(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
