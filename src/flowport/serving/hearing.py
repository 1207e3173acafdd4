"""Read messages from standard input; answer what is no message, as the protocol's library does not."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Self, TypeAlias

import anyio
from mcp.shared._stream_protocols import ReadStream
from mcp.shared.message import SessionMessage

from flowport.serving.json_rpc import Parsed, RefusedMessage, parse_messages

logger = logging.getLogger(__name__)


class NoMessage(ValueError):
    """A line is not one message as it stands."""

    def __init__(self, data: bytes) -> None:
        super().__init__("a line is no message")
        self.data = data

    @property
    def line(self) -> str:
        """The line as far as it is text."""
        return self.data.decode(errors="replace")


Heard: TypeAlias = SessionMessage | NoMessage | RefusedMessage


class MendingReader(ReadStream[SessionMessage]):
    """The stream from the client, without what is no message."""

    def __init__(
        self, receive: Callable[[], Awaitable[Heard]], answer: Callable[[SessionMessage], Awaitable[None]]
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            receive: Returns the next of what the client has said; `anyio.EndOfStream` when there is nothing more.
            answer: Sends a message to the client.
        """
        self._receive = receive
        self._answer = answer
        self._waiting: deque[SessionMessage] = deque()
        """The rest of an array of messages."""

    async def receive(self) -> SessionMessage:
        """Return the next message."""
        while not self._waiting:
            heard = await self._receive()
            if isinstance(heard, SessionMessage):
                return heard
            await self._take_apart([heard] if isinstance(heard, RefusedMessage) else parse_messages(heard.data))
        return self._waiting.popleft()

    async def _take_apart(self, parsed: Iterable[Parsed]) -> None:
        for one in parsed:
            if isinstance(one, SessionMessage):
                self._waiting.append(one)
                continue
            logger.warning("a line on standard input is no message: %s", one.error.message)
            await self._answer(SessionMessage(one))

    async def aclose(self) -> None:
        """Do nothing: whatever the client says is read until it ends."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream as exc:
            raise StopAsyncIteration from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
