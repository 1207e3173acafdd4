"""Serve one client on standard input and output."""

import logging
from typing import Any, Self

import anyio.abc
import mcp.types as t
from mcp.server.stdio import stdio_server
from mcp.shared._stream_protocols import WriteStream
from mcp.shared.message import SessionMessage

from flowport.clients import STDIO
from flowport.server import FlowportServer
from flowport.serving.ending import End
from flowport.serving.hearing import MendingReader

logger = logging.getLogger(__name__)


async def serve(server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until the end is asked for, which the end of standard input does too.

    Args:
        tasks: Where the reading goes on; the thread under it never returns, so nobody may wait for it.
    """
    handed = _Handed()
    tasks.start_soon(_speak, server, end, handed)
    await end.asked.wait()
    if server.deliveries is not None:
        for request_id in handed.get_unwritten():
            server.deliveries.lose(STDIO, request_id)


async def _speak(server: FlowportServer, end: End, handed: "_Handed") -> None:
    try:
        async with stdio_server() as (reader, writer):
            watched = handed.attach(writer)
            await server.run(MendingReader(reader, watched.send), watched, server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a broken pipe would leave us running unheard
        logger.exception("the connection to the client has broken")
        end.ask(code=1)
    else:
        end.ask()


class _Handed(WriteStream[SessionMessage]):
    """The stream to the client, watched: what was handed over may not have been written."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._waiting: set[t.RequestId] = set()
        """The requests whose answers nobody has taken yet."""
        self._last: t.RequestId | None = None
        """The one whose answer was taken last."""

    def attach(self, writer: WriteStream[SessionMessage]) -> Self:
        """Begin to write to a stream of the library's."""
        self._writer = writer
        return self

    def get_unwritten(self) -> set[t.RequestId]:
        """Return the requests whose answers were handed over and not written."""
        # Whoever writes asks for the next message only when the last one is out. The library's stream does not say so.
        inner = getattr(self._writer, "_inner", None)
        is_written = inner is not None and inner.statistics().tasks_waiting_receive > 0
        return self._waiting if is_written or self._last is None else {*self._waiting, self._last}

    async def send(self, item: SessionMessage, /) -> None:
        """Hand a message over; returns when the one before it is written."""
        request_id = getattr(item.message, "id", None)
        if request_id is not None:
            self._waiting.add(request_id)
        await self._writer.send(item)
        self._last = request_id
        if request_id is not None:
            self._waiting.discard(request_id)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._writer.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
