"""Watch HTTP requests: whether the client is still connected, and whether the answer was sent to it.

The protocol's library keeps the streams of a session by request id and loses one of two with the same id. It continues
calls whose client disconnected, and does not report that an answer was sent. So each request is watched before it gets there.
"""

import json
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeGuard

import anyio.lowlevel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowport.runtime.exchange import Exchange, RequestId
from flowport.server.clients import EXCHANGE_KEY, PRINCIPAL_KEY, SESSION_HEADER
from flowport.server.requests import Request, RequestTable
from flowport.web.bodies import replay

_SETTLING_TURNS: Final = 3
"""Turns of the event loop after which a disconnect known to the system is known here."""

_MAX_SESSION_CHARACTERS: Final = 128
"""Of the names that the library gives, which are shorter; requests are remembered by them."""
_LAST_EVENT: Final = b"last-event-id"
_CANCELLED: Final = "notifications/cancelled"


class RequestWatch:
    """Watches the requests of clients of both eras."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests = RequestTable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and record what happens to its answer."""
        if scope["type"] != "http" or scope["method"] != "POST":
            # No events are kept, and the library answers nothing to a client that names the last one it has.
            headers = [(name, value) for name, value in scope["headers"] if name != _LAST_EVENT]
            await self._app({**scope, "headers": headers}, receive, send)
            return
        # Apart, so that nothing of the body stays in memory while the call waits.
        channel = await self._open(scope, receive, send)
        if channel is None:
            return
        scope[EXCHANGE_KEY] = channel.exchange
        try:
            # A client that disconnected and calls again must be seen as disconnected first.
            await _settle()
            await self._app(scope, channel.receive, channel.send)
        finally:
            channel.exchange.note_disconnected()
            if channel.request is not None:
                self._requests.end(channel.request, is_answered=not channel.exchange.is_disconnected)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> "_Channel | None":
        """Return what a request is received from and answered by; None when it was handled, because it gets no answer.

        In a session an id must not be in use twice.
        """
        session = dict(scope["headers"]).get(SESSION_HEADER.encode(), b"").decode("latin-1")
        # Of a longer name the library says that there is no such session.
        if not 0 < len(session) <= _MAX_SESSION_CHARACTERS:
            return _Channel(Exchange(), receive, send)
        # Another owner who names this session must not meet its request ids.
        session = f"{getattr(scope.get(PRINCIPAL_KEY), 'owner', '')} {session}"
        body, is_whole = await _read_body(receive)
        message = _parse(body) if is_whole else {}
        request_id = message.get("id")
        if message.get("method") == _CANCELLED:
            params = message.get("params")
            cancelled_id = params.get("requestId") if isinstance(params, dict) else None
            if _is_id(cancelled_id):
                await self._cancel(session, message, scope, receive, send)
                return None
        if "method" not in message or not _is_id(request_id):
            await self._app(scope, replay(body, receive, is_whole=is_whole), send)
            return None
        request = self._requests.begin(session, request_id)
        if request.is_renamed:
            body = json.dumps({**message, "id": request.inner_id}).encode()
        return _Channel(request.exchange, replay(body, receive), send, request)

    async def _cancel(self, session: str, message: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a cancellation for each request that it means, and record it once the library accepted it."""
        request_id: RequestId = message["params"]["requestId"]
        bodies = [
            json.dumps({**message, "params": {**message["params"], "requestId": inner_id}}).encode()
            for inner_id in self._requests.find_inner_ids(session, request_id)
        ]
        for body in bodies[:-1]:
            await self._app(dict(scope), replay(body, receive), _drop)
        note_accepted = partial(self._note_cancelled, session, request_id, send)
        await self._app(scope, replay(bodies[-1], receive), note_accepted)

    async def _note_cancelled(self, session: str, request_id: RequestId, send: Send, answer: Message) -> None:
        if answer["type"] == "http.response.start" and answer["status"] < HTTPStatus.BAD_REQUEST:
            self._requests.cancel(session, request_id)
        await send(answer)


class _Channel:
    """Receives and sends for one request, and records in its exchange what happens to the answer."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, request: Request | None = None) -> None:
        self.exchange = exchange
        self._receive = receive
        self._send = send
        self.request = request
        """Its entry in the table of a session; None without a session."""
        self._renamed = request if request is not None and request.is_renamed else None

    async def receive(self) -> Message:
        """Return the next event; a disconnect is recorded."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.exchange.note_disconnected()
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, an answer with the id that the client gave."""
        is_open = self.exchange.is_open
        body = message.get("body", b"")
        answer = _find_answer(body) if is_open or self._renamed is not None else None
        if answer is None:
            await self._send(message)
            return
        if self._renamed is not None and answer["id"] == self._renamed.inner_id:
            text = json.dumps({**answer, "id": self._renamed.id}, ensure_ascii=False)
            message = {**message, "body": body.partition(_DATA)[0] + _DATA + text.encode() + b"\r\n\r\n"}
        if not is_open:
            await self._send(message)
            return
        await _settle()
        await self._send(message)
        if "error" in answer:
            self.exchange.withdraw()
        # Bytes sent after a disconnect are lost without an error.
        self.exchange.note_written()


async def _drop(_: Message) -> None:
    """Drop a response; the client gets the last one."""


async def _settle() -> None:
    for _ in range(_SETTLING_TURNS):
        await anyio.lowlevel.checkpoint()


async def _read_body(receive: Receive) -> tuple[bytes, bool]:
    """Return the bytes of a body, whose length `BodyReader` limited, and whether it is complete."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body), False
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body), True


_DATA: Final = b"data: "


def _find_answer(body: bytes) -> dict[str, Any] | None:
    """Return the answer in a part of a response, as an event or as the whole body, or None."""
    if b'"result"' not in body and b'"error"' not in body:
        return None
    text = body.partition(_DATA)[2] if body.startswith((b"event:", b"id:", _DATA)) else body
    message = _parse(text)
    is_answer = "method" not in message and ("result" in message or "error" in message)
    return message if is_answer and message.get("id") is not None else None


def _parse(text: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one for any other text."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _is_id(value: object) -> TypeGuard[RequestId]:
    return isinstance(value, (str, int)) and not isinstance(value, bool)
