"""Refuse HTTP bodies that are not UTF-8 or not a single message, before the protocol's library interprets them."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, JSONRPCRequest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowport.domain.principal import LOCAL, Principal
from flowport.server.clients import PRINCIPAL_KEY
from flowport.server.json_rpc import (
    BYTE_ORDER_MARK,
    Parsed,
    RefusedMessage,
    parse_message,
    parse_messages,
    refuse,
    refuse_text,
)
from flowport.server.stdio_streams import OverlongMessage

logger = logging.getLogger(__name__)

_ASCII_CHARSETS: Final = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
_MAX_SKIPPED_BYTES: Final = 256 * 1024 * 1024
"""The most bytes of a too long body that are read before the connection is closed."""
MAX_HELD_BYTES: Final = 256 * 1024 * 1024
"""Of the bodies of one person that arrive side by side: each may take hours, and is in memory until it is whole."""
MAX_HELLO_BYTES: Final = 64 * 1024
"""Of the message that begins a session, which remembers what it says of the client."""
_HELLO: Final = "initialize"
_LONG_HELLO: Final = (
    f"The message that begins a session is longer than {MAX_HELLO_BYTES // 1024} KB, so nothing was done."
)
_RETRY_SECONDS: Final = 5
_CROWDED: Final = (
    f"The messages of this person that arrive at the same time are larger than {MAX_HELD_BYTES // 1024**2} MB together. "
    "Nothing was started; send them one after another."
)
_ONE_BY_ONE: Final = "Over HTTP each message is sent by itself; nothing was done."


class _Crowded(Exception):
    """The bodies of one person that arrive hold too much memory."""


class BodyReader:
    """ASGI middleware that passes on the body of a POST only if it is one message."""

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings, *, max_bytes: int) -> None:
        """Wrap an application.

        Args:
            security: Which names may be spoken to; a request under another gets the application's own refusal.
            max_bytes: The largest body that the application takes; a longer one is refused here.
        """
        self._app = app
        self._security = TransportSecurityMiddleware(security)
        self._max_bytes = max_bytes
        self._held_bytes: Counter[str] = Counter()
        """By owner, of bodies that are not whole yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            # Apart, so that nothing of the body stays in memory while the call waits.
            read = await self._read(scope, receive, send)
            if read is None:
                return
            receive = read
        await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        """Return what gives the body to the application; None when it was refused."""
        try:
            events, body = await self._collect(scope.get(PRINCIPAL_KEY, LOCAL), receive)
        except _Crowded:
            headers = {"Retry-After": str(_RETRY_SECONDS)}
            await PlainTextResponse(_CROWDED, 429, headers)(scope, receive, send)
            return None
        if isinstance(body, OverlongMessage):
            await _answer([body.refuse()], scope, receive, send, status=413)
            return None
        if body is None or await self._security.validate_request(Request(scope), is_post=True) is not None:
            return _replay(events, receive)
        charset, is_array = _find_charset(Request(scope)), body.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"[")
        if charset not in _ASCII_CHARSETS and not body.isascii():
            await _answer(_refuse_charset(body, charset), scope, receive, send, is_array=is_array)
            return None
        message = parse_message(body)
        parsed = parse_messages(body) if message is None else (message,)
        refused, status = _refuse(parsed, is_array=is_array), 400
        if not refused and len(body) > MAX_HELLO_BYTES:
            refused, status = [refuse(INVALID_REQUEST, _LONG_HELLO, one.id) for one in _find_hellos(parsed)], 413
        if refused:
            await _answer(refused, scope, receive, send, status=status, is_array=is_array)
            return None
        if message is None:
            body = b"".join(map(_write, parsed))
        return replay(body, receive)

    async def _collect(
        self, principal: Principal, receive: Receive
    ) -> tuple[list[Message], bytes | OverlongMessage | None]:
        """Return the received messages, and the whole body; None if it ends early.

        Raises:
            _Crowded: The person's bodies hold too much.
        """
        events: list[Message] = []
        size = 0
        try:
            while size <= self._max_bytes:
                event = await receive()
                events.append(event)
                length = len(event.get("body", b""))
                size += length
                self._held_bytes[principal.owner] += length
                if event["type"] != "http.request":
                    return events, None
                # A server of one person needs no limit between persons.
                if not principal.is_local and self._held_bytes[principal.owner] > MAX_HELD_BYTES:
                    break
                if size <= self._max_bytes and not event.get("more_body", False):
                    return events, b"".join(one.get("body", b"") for one in events)
        finally:
            self._held_bytes[principal.owner] -= size
            if not self._held_bytes[principal.owner]:
                del self._held_bytes[principal.owner]
        overlong = await _skip(events, receive)
        if size <= self._max_bytes:
            raise _Crowded
        return [], overlong


async def _skip(events: list[Message], receive: Receive) -> OverlongMessage:
    """Read the rest of a body, because a client that still writes does not read its answer."""
    overlong, size = OverlongMessage(), 0
    for event in events:
        overlong.add(event.get("body", b""))
    event = events[-1]
    events.clear()
    while event["type"] == "http.request" and event.get("more_body", False) and size < _MAX_SKIPPED_BYTES:
        event = await receive()
        overlong.add(event.get("body", b""))
        size += len(event.get("body", b""))
    return overlong


def _find_hellos(parsed: Sequence[Parsed]) -> list[JSONRPCRequest]:
    """Return the messages that begin a session."""
    messages = [one.message for one in parsed if isinstance(one, SessionMessage)]
    return [one for one in messages if isinstance(one, JSONRPCRequest) and one.method == _HELLO]


def _refuse(parsed: Sequence[Parsed], *, is_array: bool) -> Sequence[RefusedMessage]:
    """Return the answers to a refused body: to each message of an array, or to an invalid message."""
    refused = [one for one in parsed if isinstance(one, RefusedMessage)]
    if not is_array:
        return refused
    requests = [one.message for one in parsed if isinstance(one, SessionMessage)]
    ids = [request.id for request in requests if isinstance(request, JSONRPCRequest)]
    return [*refused, *(refuse(INVALID_REQUEST, _ONE_BY_ONE, one) for one in ids)] or [
        refuse(INVALID_REQUEST, _ONE_BY_ONE, None)
    ]


def _write(one: Parsed) -> bytes:
    message = one.message if isinstance(one, SessionMessage) else one
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _replay(events: list[Message], receive: Receive) -> Receive:
    waiting = list(events)

    async def receive_again() -> Message:
        return waiting.pop(0) if waiting else await receive()

    return receive_again


def replay(body: bytes, receive: Receive, *, is_whole: bool = True) -> Receive:
    """Return what gives a body that was read already, and then goes on."""
    return _replay([{"type": "http.request", "body": body, "more_body": not is_whole}], receive)


def _find_charset(request: Request) -> str:
    parameters = request.headers.get("content-type", "").split(";")[1:]
    values = [
        value.strip().strip('"').lower()
        for name, _, value in (one.partition("=") for one in parameters)
        if name.strip().lower() == "charset"
    ]
    return values[0] if values else ""


def _refuse_charset(body: bytes, charset: str) -> Sequence[RefusedMessage]:
    words = f"The message is said to be {charset[:40]!r}; it has to be UTF-8. Nothing was done."
    return refuse_text(body.removeprefix(BYTE_ORDER_MARK).decode(errors="replace"), words)


async def _answer(
    refused: Sequence[RefusedMessage],
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    status: int = 400,
    is_array: bool = False,
) -> None:
    """Send the answers, in the form of the request; what names no id has one answer that is an object."""
    logger.warning("the body of an HTTP request is not a message")
    texts = [one.model_dump_json(by_alias=True, exclude_unset=True) for one in refused]
    is_single = len(texts) == 1 and (not is_array or refused[0].id is None)
    text = texts[0] if is_single else f"[{','.join(texts)}]"
    await Response(text, status, media_type="application/json")(scope, receive, send)
