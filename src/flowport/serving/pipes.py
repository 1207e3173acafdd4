"""The protocol's lines on standard input and output.

Written for two things that the library's own transport cannot tell or do. It is known of each message whether it was
written, so that a result which nobody has read is told again. And a burst of hundreds of calls is read, and answered, with
few jobs for threads: a pipe that has room for a small line takes it at once.
"""

import os
import select
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import anyio
import anyio.to_thread
import mcp.types as t
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage

from flowport.serving.hearing import Heard, NoMessage

if sys.platform == "win32":
    from mcp.os.win32.utilities import rebind_std_handle_to_fd

READ_BYTES: Final = 64 * 1024

_SAFE_BYTES: Final = getattr(select, "PIPE_BUF", 0)
"""What a pipe that is ready takes without making anybody wait (POSIX); 0 where that is not promised."""


class LineReader(ReadStream[Heard]):
    """Messages from a descriptor, one a line; a line that is no message comes as the error that says so."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._rest = bytearray()
        """The line that is not whole yet."""
        self._has_ended = False

    async def receive(self) -> Heard:
        """Return the next message.

        Raises:
            anyio.EndOfStream: There is nothing more.
        """
        # Also when a line is here already: whoever answers is not to stand behind whoever asks.
        await anyio.lowlevel.checkpoint()
        while not self._lines:
            if self._has_ended:
                raise anyio.EndOfStream
            # Abandoned when cancelled, because nobody can tell when the client speaks again.
            self._take(await anyio.to_thread.run_sync(os.read, self._descriptor, READ_BYTES, abandon_on_cancel=True))
        return parse_line(self._lines.popleft())

    def _take(self, data: bytes) -> None:
        if data:
            *lines, rest = data.split(b"\n")
            if lines:
                lines[0] = bytes(self._rest) + lines[0]
                self._rest.clear()
            self._lines.extend(lines)
            self._rest += rest
            return
        self._has_ended = True
        if self._rest:
            self._lines.append(bytes(self._rest))

    async def aclose(self) -> None:
        """Read no more; the descriptor stays open, a thread may still wait on it."""
        self._has_ended = True
        self._lines.clear()

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


def parse_line(line: bytes) -> Heard:
    """Return the message that a line is, or what holds the line, read as text."""
    try:
        return SessionMessage(t.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        pass
    text = line.decode(errors="replace")
    try:
        return SessionMessage(t.jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValueError:
        return NoMessage(text)


class _Line:
    """A line, or the rest of one, that waits for the pipe."""

    def __init__(self, data: memoryview, request_id: t.RequestId | None, *, is_begun: bool) -> None:
        self.data = data
        self.request_id = request_id
        self.is_begun = is_begun
        self.over = anyio.Event()
        """Set when it is written, or when nothing can be written any more."""


class LineWriter(WriteStream[SessionMessage]):
    """Messages to a descriptor, one a line and each of them whole, however many are sent at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poller = _build_poller(descriptor)
        self._waiting: deque[_Line] = deque()
        self._called = anyio.Event()
        self._unwritten: set[t.RequestId | None] = set()
        self._problem: OSError | None = None
        """Why nothing can be written any more."""

    def get_unwritten(self) -> set[t.RequestId]:
        """Return the requests whose answers were handed over and are not written."""
        return {one for one in self._unwritten if one is not None}

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message; a cancelled one is written whole or not at all.

        Raises:
            anyio.BrokenResourceError: Nobody reads any more.
        """
        request_id = getattr(item.message, "id", None)
        line = memoryview(f"{item.message.model_dump_json(by_alias=True, exclude_unset=True)}\n".encode())
        self._unwritten.add(request_id)
        if self._problem is not None:
            raise anyio.BrokenResourceError from self._problem
        rest = line if self._waiting else self._write_at_once(line)
        if rest:
            await self._wait_for_room(_Line(rest, request_id, is_begun=len(rest) < len(line)))
        self._unwritten.discard(request_id)

    async def _wait_for_room(self, line: _Line) -> None:
        self._waiting.append(line)
        self._called.set()
        try:
            await line.over.wait()
        except BaseException:
            if not line.is_begun:
                self._waiting.remove(line)
            raise
        if self._problem is not None:
            raise anyio.BrokenResourceError from self._problem

    def _write_at_once(self, line: memoryview) -> memoryview:
        """Write as much as nobody has to wait for, and return the rest."""
        try:
            while line and self._poller is not None and self._poller.poll(0):
                line = line[os.write(self._descriptor, line[:_SAFE_BYTES]) :]
        except OSError:
            pass  # whoever writes the rest hears it again
        return line

    async def write_waiting(self) -> None:
        """Write what has to wait for the pipe, on a thread, until nobody reads any more.

        Raises:
            OSError: Nobody reads any more; whoever waits is told.
        """
        while True:
            await self._called.wait()
            self._called = anyio.Event()
            while self._waiting:
                await self._write_next(self._waiting[0])

    async def _write_next(self, line: _Line) -> None:
        line.is_begun = True
        try:
            await anyio.to_thread.run_sync(self._write_all, line.data)
        except OSError as exc:
            self._problem = exc
            for waiting in self._waiting:
                waiting.over.set()
            raise
        self._waiting.popleft()
        self._unwritten.discard(line.request_id)
        line.over.set()

    def _write_all(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    async def aclose(self) -> None:
        """Do nothing: what waits is still written, and the descriptor stays open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _build_poller(descriptor: int) -> Any:
    """Return what tells whether a descriptor can be written to; None where nothing does."""
    if not hasattr(select, "poll") or not _SAFE_BYTES:
        return None
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return poller


@asynccontextmanager
async def open_pipes() -> AsyncIterator[tuple[LineReader, LineWriter]]:
    """Take standard input and output for the protocol alone: whatever else is printed goes to standard error.

    Raises:
        OSError: One of them is closed.
    """
    reader, writer = LineReader(_take(0, os.O_RDONLY)), LineWriter(_take(1, os.O_WRONLY))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.write_waiting)
        yield reader, writer
        tasks.cancel_scope.cancel()


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
