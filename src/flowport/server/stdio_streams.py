"""Read and write JSON-RPC lines on stdin and stdout; repair or refuse invalid ones."""

import json
import logging
import os
import re
import select
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Self, TypeAlias

import anyio
import anyio.to_thread
import mcp.types as t
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage

from flowport.server.json_rpc import Parsed, RefusedMessage, parse_message, parse_messages, refuse

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message of both transports: a file of 10 MB inside a call, written in base64, and what is around it."""

_KEPT_BYTES: Final = 4096
_WORDS: Final = (
    f"The message is longer than {MAX_MESSAGE_BYTES // 1024**2} MB, so nothing was done. Give a large file by its address, "
    "or by its path or as an upload where that is possible."
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


logger = logging.getLogger(__name__)


class NoMessage(ValueError):
    """A line is not one message as it stands."""

    def __init__(self, data: bytes) -> None:
        super().__init__("a line is not a message")
        self.data = data

    @property
    def line(self) -> str:
        """The line as far as it is text."""
        return self.data.decode(errors="replace")


Received: TypeAlias = SessionMessage | NoMessage | RefusedMessage


class MessageReader(ReadStream[SessionMessage]):
    """A stream of messages from the client; closing it does nothing, because the client is read until it ends."""

    async def aclose(self) -> None:
        """Do nothing."""

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


class MessageWriter(WriteStream[SessionMessage]):
    """A stream of messages to the client; closing it does nothing: what waits is still written."""

    async def aclose(self) -> None:
        """Do nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class ReconnectingReader(MessageReader):
    """The stream of valid messages from the client; invalid lines are answered here."""

    def __init__(
        self, receive: Callable[[], Awaitable[Received]], answer: Callable[[SessionMessage], Awaitable[None]]
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
            received = await self._receive()
            if isinstance(received, SessionMessage):
                return received
            await self._take_apart(
                [received] if isinstance(received, RefusedMessage) else parse_messages(received.data)
            )
        return self._waiting.popleft()

    async def _take_apart(self, parsed: Iterable[Parsed]) -> None:
        for one in parsed:
            if isinstance(one, SessionMessage):
                self._waiting.append(one)
                continue
            logger.warning("a line on standard input is not a message: %s", one.error.message)
            await self._answer(SessionMessage(one))


if sys.platform == "win32":
    from mcp.os.win32.utilities import rebind_std_handle_to_fd

READ_BYTES: Final = 64 * 1024

_SAFE_BYTES: Final = getattr(select, "PIPE_BUF", 0)
"""Bytes that a ready pipe takes without blocking (POSIX); 0 where the system does not guarantee it."""


class LineReader:
    """Messages from a descriptor, one a line."""

    def __init__(self, descriptor: int, on_end: Callable[[], None] = lambda: None) -> None:
        """Read from a descriptor; `on_end` is called when the other side has closed it."""
        self._descriptor = descriptor
        self._on_end = on_end
        self._lines: deque[bytes | OverlongMessage] = deque()
        self._rest = bytearray()
        """The line that is not whole yet."""
        self._overlong: OverlongMessage | None = None
        """The same, where it is too long already."""
        self._has_ended = False

    async def receive(self) -> Received:
        """Return the next message.

        Raises:
            anyio.EndOfStream: There is nothing more.
        """
        # Also when a line is here already: answers must not wait behind requests.
        await anyio.lowlevel.checkpoint()
        while not self._lines:
            if self._has_ended:
                raise anyio.EndOfStream
            # Abandoned when cancelled, because it is unknown when the client writes again.
            self._take(await anyio.to_thread.run_sync(_read, self._descriptor, abandon_on_cancel=True))
        line = self._lines.popleft()
        return line.refuse() if isinstance(line, OverlongMessage) else parse_line(line)

    def _take(self, data: bytes) -> None:
        if data:
            *whole, rest = data.split(b"\n")
            for part in whole:
                self._extend(part)
                self._end_line()
            self._extend(rest)
            return
        self._has_ended = True
        self._on_end()
        if self._rest or self._overlong is not None:
            self._end_line()

    def _extend(self, part: bytes) -> None:
        """Take a part of a line; the middle of one that is too long is dropped."""
        if self._overlong is None and len(self._rest) + len(part) > MAX_MESSAGE_BYTES:
            self._overlong = OverlongMessage()
            self._overlong.add(bytes(self._rest))
            self._rest = bytearray()
        if self._overlong is None:
            self._rest += part
        else:
            self._overlong.add(part)

    def _end_line(self) -> None:
        self._lines.append(bytes(self._rest) if self._overlong is None else self._overlong)
        self._overlong = None
        self._rest.clear()


def parse_line(line: bytes) -> Received:
    """Return the message that a line is; else the line."""
    return parse_message(line) or NoMessage(line)


class _Line:
    """A line, or the rest of one, that waits for the pipe."""

    def __init__(self, data: memoryview, item: SessionMessage) -> None:
        self.data = data
        self.item = item
        self.over = anyio.Event()
        """Set when it is written, or when nothing can be written any more."""


class LineWriter(MessageWriter):
    """Messages to a descriptor, one a line and each of them whole, however many are sent at once."""

    def __init__(self, descriptor: int, on_written: Callable[[SessionMessage], None] = lambda _: None) -> None:
        """Write to a descriptor; what it does not take at once is written by `write_waiting`.

        Args:
            on_written: Called with each message that is written.
        """
        self._descriptor = descriptor
        self._on_written = on_written
        self._poller = _build_poller(descriptor)
        self._waiting: deque[_Line] = deque()
        self._called = anyio.Event()
        self._problem: OSError | None = None
        """Why nothing can be written any more."""

    async def drain(self) -> None:
        """Wait until everything that was handed over is written, or nothing can be any more."""
        while self._waiting and self._problem is None:
            await self._waiting[-1].over.wait()

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message and return when it is written; it is, too, when the caller stops waiting.

        Raises:
            anyio.BrokenResourceError: The reading end is closed.
        """
        line = memoryview(f"{item.message.model_dump_json(by_alias=True, exclude_unset=True)}\n".encode())
        if self._problem is not None:
            raise anyio.BrokenResourceError from self._problem
        rest = line if self._waiting else self._write_at_once(line)
        if not rest:
            self._on_written(item)
            return
        self._waiting.append(waiting := _Line(rest, item))
        self._called.set()
        await waiting.over.wait()
        if self._problem is not None:
            raise anyio.BrokenResourceError from self._problem

    def _write_at_once(self, line: memoryview) -> memoryview:
        """Write what fits without blocking, and return the rest."""
        try:
            while line and self._poller is not None and self._poller.poll(0):
                line = line[os.write(self._descriptor, line[:_SAFE_BYTES]) :]
        except OSError:
            pass  # the write of the rest reports it again
        return line

    async def write_waiting(self) -> None:
        """Write what has to wait for the pipe, on a thread, until the reading end is closed.

        Raises:
            OSError: The reading end is closed; waiting writers are notified.
        """
        while True:
            await self._called.wait()
            self._called = anyio.Event()
            while self._waiting:
                await self._write_next(self._waiting[0])

    async def _write_next(self, line: _Line) -> None:
        try:
            await anyio.to_thread.run_sync(self._write_all, line.data)
        except OSError as exc:
            self._problem = exc
            for waiting in self._waiting:
                waiting.over.set()
            raise
        self._waiting.popleft()
        self._on_written(line.item)
        line.over.set()

    def _write_all(self, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                # The parent process has made it so; select waits for pipes wherever they can be made so.
                select.select([], [self._descriptor], [])


def _build_poller(descriptor: int) -> Any:
    """Return a check whether a descriptor can be written to; None if the system has none."""
    if sys.platform == "win32" or not hasattr(select, "poll") or not _SAFE_BYTES:
        return None
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return poller


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])


def open_pipes(
    on_end: Callable[[], None], on_written: Callable[[SessionMessage], None]
) -> tuple[LineReader, LineWriter]:
    """Take standard input and output for the protocol alone: whatever else is printed goes to standard error.

    Args:
        on_end: Called when the client has closed standard input.
        on_written: Called with each message that is written.

    Raises:
        OSError: One of them is closed.
    """
    return LineReader(_take(0, os.O_RDONLY), on_end), LineWriter(_take(1, os.O_WRONLY), on_written)


def _take(descriptor: int, mode: int) -> int:
    """Return a copy of a standard descriptor, in whose place stands something harmless from now on."""
    taken = os.dup(descriptor)
    stand_in = _open_stand_in(mode)
    os.dup2(stand_in, descriptor)
    os.close(stand_in)
    if sys.platform == "win32":
        rebind_std_handle_to_fd(descriptor)
    return taken


def _open_stand_in(mode: int) -> int:
    if mode == os.O_WRONLY:
        try:
            return os.dup(2)
        except OSError:
            pass  # no standard error either
    return os.open(os.devnull, mode)
