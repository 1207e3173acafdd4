"""Serve one client on standard input and output."""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.abc
import mcp.types as t
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params, progress_token_from_params
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from flowport.server.clients import STDIO
from flowport.server.requests import Request, RequestTable
from flowport.server.server import FlowportServer
from flowport.server.shutdown import End
from flowport.server.stdio_streams import (
    LineReader,
    LineWriter,
    MessageReader,
    MessageWriter,
    ReconnectingReader,
    open_pipes,
)

logger = logging.getLogger(__name__)

DRAINING_SECONDS: Final = 0.8
"""How long, at the end, what was answered already may take to be written. The client may have closed one side alone."""


async def serve(server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until the end is asked for, which the end of standard input does too.

    Args:
        tasks: Where reading and writing go on; a thread under them may never return, so nothing may wait for it.
    """
    requests = RequestTable()
    reader, writer = open_pipes(end.ask, _note_written)
    tasks.start_soon(_write, writer, end)
    tasks.start_soon(_speak, server, reader, writer, requests, end)
    await end.asked.wait()
    with anyio.move_on_after(DRAINING_SECONDS):
        await writer.drain()


@dataclass
class _Answer(SessionMessage):
    """An answer on its way to the client."""

    request: Request | None = None
    table: RequestTable | None = None


def _note_written(item: SessionMessage) -> None:
    if isinstance(item, _Answer) and item.request is not None and item.table is not None:
        item.request.exchange.note_written()
        item.table.end(item.request, is_answered=True)


class RequestReader(MessageReader):
    """The stream from the client to the library, each request with its exchange."""

    def __init__(self, stream: ReadStream[SessionMessage], requests: RequestTable) -> None:
        self._stream = stream
        self._requests = requests
        self._ready: deque[SessionMessage] = deque()

    async def receive(self) -> SessionMessage:
        """Return the next message."""
        while not self._ready:
            self._take(await self._stream.receive())
        return self._ready.popleft()

    def _take(self, item: SessionMessage) -> None:
        message = item.message
        if isinstance(message, t.JSONRPCRequest):
            request = self._requests.begin(STDIO, message.id)
            request.exchange.is_progress_wanted = progress_token_from_params(message.params) is not None
            if request.is_renamed:
                message = message.model_copy(update={"id": request.inner_id})
            item = SessionMessage(message, ServerMessageMetadata(request_context=request.exchange))
        elif isinstance(message, t.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._ready.extend(self._cancel(message))
            return
        self._ready.append(item)

    def _cancel(self, message: t.JSONRPCNotification) -> list[SessionMessage]:
        """Note a cancellation, and return it under the ids that the library knows."""
        request_id = cancelled_request_id_from_params(message.params)
        requests = [] if request_id is None else self._requests.cancel(STDIO, request_id)
        renamed = [
            message.model_copy(update={"params": {**(message.params or {}), "requestId": one.inner_id}})
            for one in requests
        ]
        return [SessionMessage(one) for one in renamed or [message]]


class AnswerWriter(MessageWriter):
    """The stream from the library to the client; each answer goes to its request."""

    def __init__(self, stream: WriteStream[SessionMessage], requests: RequestTable) -> None:
        self._stream = stream
        self._requests = requests

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message."""
        message = item.message
        request = self._find(message)
        if request is None:
            await self._stream.send(item)
            return
        if request.exchange.is_disconnected:
            # A cancelled request is not answered.
            self._requests.end(request, is_answered=True)
            return
        if isinstance(message, t.JSONRPCError):
            request.exchange.withdraw()
        if request.is_renamed:
            message = message.model_copy(update={"id": request.id})
        await self._stream.send(_Answer(message, request=request, table=self._requests))

    def _find(self, message: t.JSONRPCMessage) -> Request | None:
        """Return the request that a message answers."""
        # Requests of our own have ids too, which may be the client's as well.
        if isinstance(message, (t.JSONRPCResponse, t.JSONRPCError)) and message.id is not None:
            return self._requests.find(STDIO, message.id)
        return None


async def _write(writer: LineWriter, end: End) -> None:
    try:
        await writer.write_waiting()
    except OSError as exc:
        logger.warning("the client does not read our standard output any more: %s", exc.strerror)
        end.ask(code=1)


async def _speak(
    server: FlowportServer, reader: LineReader, writer: LineWriter, requests: RequestTable, end: End
) -> None:
    messages = RequestReader(ReconnectingReader(reader.receive, writer.send), requests)
    try:
        await server.run(messages, AnswerWriter(writer, requests), server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a broken pipe would leave the process running
        logger.exception("the connection to the client has broken")
        end.ask(code=1)
    else:
        end.ask()
