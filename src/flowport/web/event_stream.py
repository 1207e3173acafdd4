"""The streams of the older protocol and the events of the event loop, with less memory for each than the library's own.

The library answers each call of the older eras with an `EventSourceResponse`, which runs five tasks and is fed by another stream: a
server with thousands of waiting calls spends most of its memory on them. This response takes its place by the same constructor,
and reads the call's own stream where it recognises it. Each event of asyncio reserves room for 64 waiters; a waiting call holds
about fifteen events, of which two have a waiter.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

import anyio
import mcp.server.streamable_http as library
from mcp.types import JSONRPCError, JSONRPCResponse
from starlette.types import Receive, Scope, Send

from flowport.runtime.exchange import Exchange
from flowport.server.clients import EXCHANGE_KEY
from flowport.web.connections import CONNECTION_KEY, LimitedProtocol

PING_SECONDS: Final = 15.0
"""Between two comments that keep a silent connection open."""

_PING: Final = b": ping\r\n\r\n"
_FIELDS: Final = ("id", "event", "retry", "data")
_FEEDER: Final = "_run_sse_writer"
_FEEDER_ARGUMENTS: Final = 4


class EventStream:
    """Sends events until there are no more, or until the client leaves."""

    def __init__(
        self,
        content: AsyncIterable[Mapping[str, Any]],
        data_sender_callable: Callable[[], Coroutine[Any, Any, None]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare, as the library does.

        Args:
            content: The events.
            data_sender_callable: What puts the events there, run beside it.
        """
        self._call = _find_call(data_sender_callable)
        self._content = content if self._call is None else self._call
        self._feed = data_sender_callable if self._call is None else None
        given = {"X-Accel-Buffering": "no", "Content-Type": "text/event-stream", **(headers or {})}
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        connection = scope.get(CONNECTION_KEY)
        if self._call is not None and isinstance(connection, LimitedProtocol):
            await self._answer_call(self._call, connection, scope.get(EXCHANGE_KEY), send)
            return
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_wait_until_left, receive, tasks.cancel_scope)
                if self._feed is not None:
                    tasks.start_soon(self._feed)
                if scope["method"] != "HEAD":
                    await self._send_events(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                tasks.cancel_scope.cancel()
        finally:
            if self._call is not None:
                await self._call.close()

    async def _answer_call(
        self, call: "_Call", connection: LimitedProtocol, exchange: Exchange | None, send: Send
    ) -> None:
        """Send the events of a call; a lost connection ends it without a task that waits for that."""

        def leave() -> None:
            # At once, because the client may repeat the call in the next turn of the event loop.
            if exchange is not None:
                exchange.note_disconnected()
            scope.cancel()

        try:
            with anyio.CancelScope() as scope:
                connection.watch(leave)
                await self._send_events(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            connection.watch(None)
            await call.close()

    async def _send_events(self, send: Send) -> None:
        events = aiter(self._content)
        while True:
            body = _PING
            with anyio.move_on_after(PING_SECONDS):
                try:
                    body = format_event(await anext(events))
                except StopAsyncIteration:
                    return
            await send({"type": "http.response.body", "body": body, "more_body": True})


class _Call:
    """The library's own stream of one call: what it reports, and its answer, which is the last."""

    def __init__(self, transport: Any, request_id: str, writer: Any, reader: Any) -> None:
        self._transport = transport
        self._request_id = request_id
        self._writer = writer
        self._reader = reader
        self._is_answered = False

    def __aiter__(self) -> AsyncIterator[Mapping[str, Any]]:
        return self

    async def __anext__(self) -> Mapping[str, Any]:
        if self._is_answered:
            raise StopAsyncIteration
        try:
            event = await self._reader.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None
        self._is_answered = isinstance(event.message, JSONRPCResponse | JSONRPCError)
        data: Mapping[str, Any] = self._transport._create_event_data(event)  # noqa: SLF001 - what the feeder does
        return data

    async def close(self) -> None:
        """Release what the feeder would."""
        with anyio.CancelScope(shield=True):
            self._transport._sse_stream_writers.pop(self._request_id, None)  # noqa: SLF001 - likewise
            await self._writer.aclose()
            await self._reader.aclose()
            await self._transport._clean_up_memory_streams(self._request_id)  # noqa: SLF001 - likewise


def _find_call(feed: object) -> _Call | None:
    """Return the call that the library's feeder serves; None for another feeder, or one of another version."""
    if (
        not isinstance(feed, partial)
        or getattr(feed.func, "__name__", "") != _FEEDER
        or len(feed.args) != _FEEDER_ARGUMENTS
    ):
        return None
    request_id, writer, reader, first_event = feed.args
    transport = getattr(feed.func, "__self__", None)
    return None if transport is None or first_event is not None else _Call(transport, request_id, writer, reader)


async def _wait_until_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def format_event(event: Mapping[str, Any]) -> bytes:
    """Return an event as it goes over the wire; text of several lines has a field for each."""
    lines = [
        f"{name}: {line}"
        for name in _FIELDS
        if name in event
        for line in str(event[name]).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def use_lean_streams() -> None:
    """Have this process answer calls with these streams, and make small events. The libraries offer no setting for it."""
    library.EventSourceResponse = EventStream  # type: ignore[assignment,attr-defined]
    asyncio.Event.__init__ = _begin_event  # type: ignore[method-assign,assignment]


_begin_usual_event: Final = asyncio.Event.__init__


def _begin_event(event: asyncio.Event) -> None:
    _begin_usual_event(event)
    # A list is all that an event needs of its waiters: it appends, removes and iterates.
    event._waiters = []  # type: ignore[assignment]  # noqa: SLF001 - it has no other door
