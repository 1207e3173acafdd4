"""What comes on standard input and is no message: mended where it can be, else answered.

The protocol's library leaves such a line unanswered, and its client waits until it gives up. The usual case is half of
an emoji, which programs write when they cut a text in the middle of one.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import anyio
import mcp.types as t
from mcp.shared._stream_protocols import ReadStream
from mcp.shared.message import SessionMessage

logger = logging.getLogger(__name__)

_NO_MESSAGE: Final = "The line is not a message of JSON-RPC."

Heard = SessionMessage | Exception


class MendingReader(ReadStream[Heard]):
    """The stream from the client, without what is no message."""

    def __init__(self, reader: ReadStream[Heard], answer: Callable[[SessionMessage], Awaitable[None]]) -> None:
        """Read from a stream of the library's; `answer` sends a message to the client."""
        self._reader = reader
        self._answer = answer

    @property
    def last_context(self) -> Any:
        """The context in which the last message was read, where the stream knows it."""
        return getattr(self._reader, "last_context", None)

    async def receive(self) -> Heard:
        """Return the next message."""
        while True:
            heard = await self._reader.receive()
            if not isinstance(heard, Exception):
                return heard
            if (message := mend(heard)) is not None:
                return message
            logger.warning("a line on standard input is no message")
            error = t.ErrorData(code=t.PARSE_ERROR, message=_NO_MESSAGE)
            await self._answer(SessionMessage(t.JSONRPCError(jsonrpc="2.0", id=None, error=error)))

    async def aclose(self) -> None:
        """Close the stream."""
        await self._reader.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        try:
            return await self.receive()
        except anyio.EndOfStream as exc:
            raise StopAsyncIteration from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def mend(heard: Exception) -> SessionMessage | None:
    """Return the message of a line that holds half letters, with a mark in the place of each; None for other lines."""
    errors: list[dict[str, Any]] = getattr(heard, "errors", list)()
    line = errors[0].get("input") if errors else None
    if not isinstance(line, str) or "\\u" not in line:
        return None
    try:
        # Half a letter cannot be written in UTF-8; what stands for it can.
        whole = json.dumps(json.loads(line), ensure_ascii=False).encode(errors="replace")
        return SessionMessage(t.jsonrpc_message_adapter.validate_json(whole, by_name=False))
    except ValueError:
        return None
