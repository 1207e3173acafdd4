"""What comes on standard input and is no message: mended where it can be, else answered.

The protocol's library leaves such a line unanswered, and its client waits until it gives up. The usual case is half of
an emoji, which programs write when they cut a text in the middle of one.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self, TypeAlias

import anyio
import mcp.types as t
from mcp.shared._stream_protocols import ReadStream
from mcp.shared.message import SessionMessage

logger = logging.getLogger(__name__)

_NO_JSON: Final = "The line is not JSON."
_NO_MESSAGE: Final = "The line is not a message of JSON-RPC."
_BYTE_ORDER_MARK: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"


class NoMessage(ValueError):
    """A line is no message as it stands."""

    def __init__(self, line: str) -> None:
        super().__init__("a line is no message")
        self.line = line


Heard: TypeAlias = SessionMessage | NoMessage


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

    async def receive(self) -> SessionMessage:
        """Return the next message."""
        while True:
            heard = await self._receive()
            if not isinstance(heard, NoMessage):
                return heard
            message = mend(heard.line)
            if isinstance(message, SessionMessage):
                return message
            if message is not None:
                logger.warning("a line on standard input is no message")
                await self._answer(SessionMessage(message))

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


def mend(line: str) -> SessionMessage | t.JSONRPCError | None:
    """Return the message of a line that can be mended, with a mark in the place of half a letter, or the answer to others.

    None for a blank line, which is nothing. A mark of the byte order before a line is passed over (RFC 8259, section 8.1).
    """
    text = line.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        return None
    try:
        # Half a letter cannot be written in UTF-8; what stands for it can.
        whole = json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace")
    # Deeper than anything that means something.
    except (ValueError, RecursionError):
        return _refuse(t.PARSE_ERROR, _NO_JSON, None)
    try:
        return SessionMessage(t.jsonrpc_message_adapter.validate_json(whole, by_name=False))
    except ValueError:
        return _refuse(t.INVALID_REQUEST, _NO_MESSAGE, _find_id(json.loads(whole)))


def _find_id(content: Any) -> t.RequestId | None:
    """Return the id by which the client waits for an answer, where it can be told."""
    if not isinstance(content, dict):
        return None
    # The id of an answer is one of ours. The client may have a request of its own under it, which this would end.
    if "method" not in content and content.keys() & {"result", "error"}:
        return None
    request_id = content.get("id")
    is_id = isinstance(request_id, (str, int)) and not isinstance(request_id, bool)
    return request_id if is_id else None


def _refuse(code: int, words: str, request_id: t.RequestId | None) -> t.JSONRPCError:
    return t.JSONRPCError(jsonrpc="2.0", id=request_id, error=t.ErrorData(code=code, message=words))
