"""Parse JSON-RPC: bytes to messages, or to error responses for invalid ones. Pure; both transports use it.

The protocol's libraries are lenient: they replace or guess bytes that are not UTF-8, drop half an emoji, and take a
message with an invalid id for a notification. A call that costs money must mean what its client wrote, so such input is
refused, with its id if that can be read.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypeGuard

import mcp.types as t
from mcp.shared.message import SessionMessage

MAX_BATCH: Final = 100
"""Messages in one array; no client that we know of sends more than a few."""

MAX_ID_CHARACTERS: Final = 1_000
"""Of the id of a request, which is remembered for a while after its answer."""

_PAYING: Final = "tools/call"
_NO_JSON: Final = "The message is not JSON."
_NO_UTF8: Final = "The message is not UTF-8, so nothing was done. Send it again as UTF-8."
_UTF16: Final = "The message is not UTF-8 but looks like UTF-16, so nothing was done. Send it again as UTF-8."
_NO_MESSAGE: Final = "The message is not one of JSON-RPC 2.0."
_NO_ID: Final = "The id is neither text nor a whole number."
_LONG_ID: Final = f"The id is longer than {MAX_ID_CHARACTERS} characters, so nothing was done."
_HALF: Final = (
    "The message holds half of a character (a lone surrogate), so nothing was started and nothing is charged. Send it "
    "again without it."
)
_CONTROL: Final = "The message holds a control character that JSON writes with a backslash, so nothing was done."
_LONG_BATCH: Final = f"The array holds more than {MAX_BATCH} messages."

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class RefusedMessage(t.JSONRPCError):
    """The error response to an invalid message; its id is whatever the client wrote, so that it can match it."""

    id: Any


Parsed: TypeAlias = SessionMessage | RefusedMessage


def parse_message(data: bytes) -> SessionMessage | None:
    """Return the message if the bytes are exactly one valid message, else None; the fast path."""
    try:
        data.decode()
        message = t.jsonrpc_message_adapter.validate_json(data, by_name=False)
    except ValueError:
        return None
    if isinstance(message, t.JSONRPCRequest) and _is_long(message.id):
        return None
    # A message with an invalid id would be parsed as a notification.
    return None if isinstance(message, t.JSONRPCNotification) and b'"id"' in data else SessionMessage(message)


def parse_messages(data: bytes) -> Sequence[Parsed]:
    """Return the messages of a line or a body in order, with an error response in place of each invalid one.

    Arrays are split, as the revision 2025-03-26 requires. Blank input returns nothing. A byte order mark is skipped
    (RFC 8259, section 8.1). A lone surrogate is replaced, except in a call that may cost money.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        return ()
    if (message := parse_message(data)) is not None:
        return (message,)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:2]
        return refuse_text(data.decode(errors="replace"), _UTF16 if is_wide else _NO_UTF8)
    return _parse_text(text)


def _parse_text(text: str) -> Sequence[Parsed]:
    try:
        content = json.loads(text)
    # RecursionError: nested deeper than any valid message.
    except (ValueError, RecursionError):
        return refuse_text(text, _CONTROL)
    if not isinstance(content, list):
        return (_parse_content(content),)
    if not content or len(content) > MAX_BATCH:
        return _refuse_all(content)
    return [_parse_content(item) for item in content]


def find_id(content: Any) -> Any:
    """Return the id of a request as the client wrote it; None if it has none."""
    if not isinstance(content, dict):
        return None
    # A response has an id of ours. The client may have a request with the same id, which an error response would end.
    if "method" not in content and content.keys() & {"result", "error"}:
        return None
    found = content.get("id")
    if isinstance(found, str):
        return _SURROGATE.sub("?", found)
    if _is_whole(found):
        return int(found)
    # An invalid id belongs to a request only if there is a method.
    return _make_plain(found) if "method" in content else None


def refuse(code: int, words: str, request_id: Any) -> RefusedMessage:
    """Return the error response that refuses a message."""
    return RefusedMessage(jsonrpc="2.0", id=request_id, error=t.ErrorData(code=code, message=words))


def refuse_text(text: str, words: str) -> Sequence[RefusedMessage]:
    """Return error responses to unreadable text: one for each readable id, else one without an id."""
    try:
        content = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return (refuse(t.PARSE_ERROR, _NO_JSON if words is _CONTROL else words, None),)
    found = map(find_id, content if isinstance(content, list) else [content])
    ids = [one for one in found if one is not None and "\N{REPLACEMENT CHARACTER}" not in str(one)]
    return [refuse(t.INVALID_REQUEST, words, one) for one in ids] or [refuse(t.PARSE_ERROR, words, None)]


def _parse_content(content: Any) -> Parsed:
    request_id = find_id(content)
    is_message = isinstance(content, dict)
    if is_message and "method" in content and "id" in content:
        if isinstance(content["id"], bool) or (
            not isinstance(content["id"], str | int) and not _is_whole(content["id"])
        ):
            return refuse(t.INVALID_REQUEST, _NO_ID, request_id)
        if _is_long(request_id):
            return refuse(t.INVALID_REQUEST, _LONG_ID, None)
        content = {**content, "id": request_id}
    whole = json.dumps(content, ensure_ascii=False)
    if is_message and content.get("method") == _PAYING and _SURROGATE.search(whole):
        return refuse(t.INVALID_REQUEST, _HALF, request_id)
    try:
        return SessionMessage(t.jsonrpc_message_adapter.validate_json(whole.encode(errors="replace"), by_name=False))
    except ValueError:
        return refuse(t.INVALID_REQUEST, _NO_MESSAGE, request_id)


def _refuse_all(content: list[Any]) -> Sequence[RefusedMessage]:
    ids = [one for one in map(find_id, content) if one is not None]
    words = _LONG_BATCH if content else _NO_MESSAGE
    return [refuse(t.INVALID_REQUEST, words, one) for one in ids or [None]]


def _is_long(request_id: object) -> bool:
    return isinstance(request_id, str) and len(request_id) > MAX_ID_CHARACTERS


def _is_whole(value: Any) -> TypeGuard[int | float]:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def _make_plain(value: Any) -> Any:
    """Return a value as an answer can carry it: JSON has neither infinity nor half characters."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    text = json.dumps(value, ensure_ascii=False)
    return None if len(text) > 100 or _SURROGATE.search(text) else value  # noqa: PLR2004 - longer than any id
