"""The protocol's lines on real pipes."""

import json
import os
import select
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, BinaryIO

import anyio
import anyio.lowlevel
import anyio.to_thread
import mcp.types as t
import pytest
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from flowport.server.requests import RequestTable
from flowport.server.stdio import RequestReader
from flowport.server.stdio_streams import READ_BYTES, LineReader, LineWriter, parse_line
from tests.support.fake_clock import wait_until_blocked
from tests.support.patience import PATIENCE_SECONDS
from tests.support.threads import running_thread

LARGE = 512 * 1024
"""More than any pipe holds."""


@contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def hang_up(end: int, flags: int) -> None:
    """Close an end of a pipe for the other side; its descriptor stays taken until the pipe is closed."""
    null = os.open(os.devnull, flags)
    os.dup2(null, end)
    os.close(null)


@asynccontextmanager
async def writing(descriptor: int, written: list[SessionMessage] | None = None) -> AsyncIterator[LineWriter]:
    """Return a writer with its background task for long lines; it reports which answers were written."""
    kept = list[SessionMessage]() if written is None else written
    writer = LineWriter(descriptor, kept.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.write_waiting)
        yield writer
        tasks.cancel_scope.cancel()


def has_data(source: int) -> bool:
    """Return whether a pipe has bytes that were not read."""
    ready, _, _ = select.select([source], [], [], 0)
    return bool(ready)


def get_ids(messages: list[SessionMessage]) -> list[t.RequestId | None]:
    """Return the ids of answers."""
    return [one.message.id for one in messages if isinstance(one.message, t.JSONRPCResponse)]


def build_answer(request_id: int, size_bytes: int = 0) -> SessionMessage:
    """Return an answer of about the given size."""
    return SessionMessage(t.JSONRPCResponse(jsonrpc="2.0", id=request_id, result={"text": "x" * size_bytes}))


def build_line(request_id: int) -> bytes:
    """Return a request as a client writes it."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "ping"}).encode() + b"\n"


def get_id(item: object) -> object:
    """Return the id of a received message."""
    return item.message.id if isinstance(item, SessionMessage) else item  # type: ignore[union-attr]  # all are requests


async def read_ids(source: int, count: int) -> list[int]:
    """Read at least a number of complete lines from a pipe, and return their ids."""
    with os.fdopen(source, "rb", closefd=False) as file:
        return await read_next_ids(file, count)


async def read_next_ids(file: BinaryIO, count: int) -> list[int]:
    """Do the same with a file that is open and stays open."""

    def read() -> list[int]:
        """Wait for the lines."""
        return [json.loads(file.readline())["id"] for _ in range(count)]

    return await anyio.to_thread.run_sync(read)


async def test_messages_arrive_in_order_however_the_pipe_splits_them() -> None:
    """A burst of calls arrives in few pieces, a picture in many."""
    text = b"".join(build_line(n) for n in range(200))
    long = build_line(200)[:-2] + b', "params": {"x": "' + b"y" * 3 * READ_BYTES + b'"}}\n'
    with open_pipe() as (source, sink):

        def write() -> None:
            """Write more than a pipe holds, and end as a client does."""
            for piece in (text[:7], text[7:1000], text[1000:], long, build_line(201)[:-1]):
                os.write(sink, piece)
            hang_up(sink, os.O_WRONLY)

        with running_thread(write):
            reader = LineReader(source)
            assert [get_id(await reader.receive()) for _ in range(202)] == list(range(202))
            with pytest.raises(anyio.EndOfStream):
                await reader.receive()


def test_a_line_with_invalid_bytes_is_refused() -> None:
    """A guess at the intended text must not be paid for."""
    line = b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "\xff"}}\r'
    assert isinstance(parse_line(line), ValueError)


@pytest.mark.parametrize("line", [b"", b"[1]", b"{", b"\xff", b'{"jsonrpc": "1.0"}'])
def test_an_invalid_line_becomes_its_error(line: bytes) -> None:
    """The client gets an error, and the connection remains open."""
    assert isinstance(parse_line(line), ValueError)


async def test_a_reader_without_input_can_be_cancelled() -> None:
    """The end must not wait for the client."""
    with open_pipe() as (source, sink):
        reader = LineReader(source)
        with anyio.move_on_after(0.02) as scope:
            await reader.receive()
        assert scope.cancelled_caught
        # The thread is still reading, or about to; it must not outlive its pipe.
        os.write(sink, b"\n")
        with anyio.fail_after(PATIENCE_SECONDS):
            while has_data(source):
                await anyio.lowlevel.checkpoint()


async def test_a_small_answer_is_written_at_once() -> None:
    """Small answers need no thread, so that hundreds of them cost little."""
    with open_pipe() as (source, sink):
        written: list[SessionMessage] = []
        await LineWriter(sink, written.append).send(build_answer(1))
        assert (await read_ids(source, 1), get_ids(written)) == ([1], [1])


async def test_concurrent_answers_are_not_interleaved() -> None:
    """Large answers wait for the client to read; small ones that come meanwhile do not split them."""
    with open_pipe() as (source, sink):
        written: list[SessionMessage] = []
        async with writing(sink, written) as writer, anyio.create_task_group() as tasks:
            for n in range(6):
                tasks.start_soon(writer.send, build_answer(n, LARGE if n % 2 == 0 else 10))
            await wait_until_blocked()
            assert get_ids(written) == []
            assert await read_ids(source, 6) == list(range(6))
        assert get_ids(written) == list(range(6))


async def test_an_accepted_answer_is_written_whole_after_its_sender_was_cancelled() -> None:
    """Half a line would break the next one for the client, whose input may be closed while it still reads."""
    with open_pipe() as (source, sink):
        written: list[SessionMessage] = []
        async with writing(sink, written) as writer:
            async with anyio.create_task_group() as tasks:
                for n in (1, 2):
                    tasks.start_soon(writer.send, build_answer(n, LARGE))
                await wait_until_blocked()
                tasks.cancel_scope.cancel()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(writer.drain)
                assert await read_ids(source, 2) == [1, 2]
            assert get_ids(written) == [1, 2]


async def test_a_request_of_the_server_does_not_count_as_an_answer() -> None:
    """Both sides number their requests from one."""
    with open_pipe() as (source, sink):
        written: list[SessionMessage] = []
        async with writing(sink, written) as writer, anyio.create_task_group() as tasks:
            ours = SessionMessage(t.JSONRPCRequest(jsonrpc="2.0", id=2, method="ping", params={"x": "y" * LARGE}))
            tasks.start_soon(writer.send, ours)
            tasks.start_soon(writer.send, build_answer(2, LARGE))
            await wait_until_blocked()
            with os.fdopen(source, "rb", closefd=False) as file:
                assert await read_next_ids(file, 1) == [2]
                assert get_ids(written) == []
                assert await read_next_ids(file, 1) == [2]
        assert get_ids(written) == [2]


async def test_non_blocking_pipes_are_awaited() -> None:
    """The parent process may have made the pipes non-blocking for its own use."""
    if sys.platform == "win32":
        pytest.skip("there a pipe cannot be made so")
    with open_pipe() as (source, sink):
        os.set_blocking(sink, False)
        async with writing(sink) as writer, anyio.create_task_group() as tasks:
            for n in (1, 2):
                tasks.start_soon(writer.send, build_answer(n, LARGE))
            assert await read_ids(source, 2) == [1, 2]
    with open_pipe() as (source, sink):
        os.set_blocking(source, False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, os.write, sink, build_line(7))
            assert get_id(await LineReader(source).receive()) == 7


async def test_the_end_of_the_input_is_reported_at_once() -> None:
    """Answers may still have to be written, so the end of input is reported before the server has ended."""
    ended = anyio.Event()
    with open_pipe() as (source, sink):
        hang_up(sink, os.O_WRONLY)
        with pytest.raises(anyio.EndOfStream):
            await LineReader(source, ended.set).receive()
    assert ended.is_set()


async def test_a_disconnected_client_fails_every_write() -> None:
    """Writing fails at once, and the task that writes waiting lines ends."""
    with open_pipe() as (source, sink):
        hang_up(source, os.O_RDONLY)
        writer = LineWriter(sink)
        problems: list[Exception] = []

        async def send(n: int) -> None:
            """Record the failure."""
            try:
                await writer.send(build_answer(n))
            except anyio.BrokenResourceError as exc:
                problems.append(exc)

        with pytest.RaisesGroup(BrokenPipeError):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, 1)
                tasks.start_soon(send, 2)
                await wait_until_blocked()
                tasks.start_soon(writer.write_waiting)
        await send(3)
        await writer.drain()
        assert len(problems) == 3


@pytest.mark.parametrize(
    ("params", "is_wanted"),
    [
        ({}, False),
        ({"_meta": {}}, False),
        ({"_meta": {"progressToken": 0}}, True),
        ({"_meta": {"progressToken": True}}, False),
    ],
)
async def test_a_request_wants_progress_by_its_token(params: dict[str, Any], is_wanted: bool) -> None:
    """Without a token no progress may be sent, so none is composed."""
    send, receive = anyio.create_memory_object_stream[SessionMessage](1)
    message = t.JSONRPCRequest(jsonrpc="2.0", id=1, method="tools/call", params=params)
    async with send, receive:
        await send.send(SessionMessage(message))
        item = await RequestReader(receive, RequestTable()).receive()
    assert isinstance(item.metadata, ServerMessageMetadata)
    assert item.metadata.request_context.is_progress_wanted is is_wanted
