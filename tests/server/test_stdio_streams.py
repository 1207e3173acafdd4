"""The protocol's lines on real pipes."""

import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import BinaryIO

import anyio
import anyio.lowlevel
import anyio.to_thread
import mcp.types as t
import pytest
from mcp.shared.message import SessionMessage

from flowport.server.stdio_streams import READ_BYTES, LineReader, LineWriter, parse_line
from tests.support.fake_clock import wait_until_blocked

LARGE = 512 * 1024
"""More than any pipe holds."""


@contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@asynccontextmanager
async def writing(descriptor: int, written: list[SessionMessage] | None = None) -> AsyncIterator[LineWriter]:
    """Give a writer whose longer lines are written too; it tells of which answers that is so."""
    kept = list[SessionMessage]() if written is None else written
    writer = LineWriter(descriptor, kept.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.write_waiting)
        yield writer
        tasks.cancel_scope.cancel()


def get_ids(messages: list[SessionMessage]) -> list[t.RequestId | None]:
    """Return the ids of answers."""
    return [one.message.id for one in messages if isinstance(one.message, t.JSONRPCResponse)]


def build_answer(request_id: int, size_bytes: int = 0) -> SessionMessage:
    """Return an answer of about so many bytes."""
    return SessionMessage(t.JSONRPCResponse(jsonrpc="2.0", id=request_id, result={"text": "x" * size_bytes}))


def build_line(request_id: int) -> bytes:
    """Return a request as a client writes it."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "ping"}).encode() + b"\n"


def get_id(heard: object) -> object:
    """Return the id of what was heard."""
    return heard.message.id if isinstance(heard, SessionMessage) else heard  # type: ignore[union-attr]  # all are requests here


async def read_ids(source: int, count: int) -> list[int]:
    """Read so many lines from a pipe, and what comes with them, and return their ids; each line has to be whole."""
    with os.fdopen(source, "rb", closefd=False) as file:
        return await read_next_ids(file, count)


async def read_next_ids(file: BinaryIO, count: int) -> list[int]:
    """Do the same with a file that is open and stays so."""

    def read() -> list[int]:
        """Wait for the lines."""
        return [json.loads(file.readline())["id"] for _ in range(count)]

    return await anyio.to_thread.run_sync(read)


async def test_messages_come_in_order_however_the_pipe_cuts_them() -> None:
    """A burst of calls comes in few pieces, a picture in many."""
    text = b"".join(build_line(n) for n in range(200))
    long = build_line(200)[:-2] + b', "params": {"x": "' + b"y" * 3 * READ_BYTES + b'"}}\n'
    with open_pipe() as (source, sink):

        def write() -> None:
            """Write what no pipe holds at once, and end as a client does."""
            for piece in (text[:7], text[7:1000], text[1000:], long, build_line(201)[:-1]):
                os.write(sink, piece)
            os.close(sink)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sink)

        threading.Thread(target=write).start()
        reader = LineReader(source)
        assert [get_id(await reader.receive()) for _ in range(202)] == list(range(202))
        with pytest.raises(anyio.EndOfStream):
            await reader.receive()


def test_a_line_with_bytes_that_are_no_letters_is_no_message() -> None:
    """Whatever stood there, a guess at it must not be paid for."""
    line = b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "\xff"}}\r'
    assert isinstance(parse_line(line), ValueError)


@pytest.mark.parametrize("line", [b"", b"[1]", b"{", b"\xff", b'{"jsonrpc": "1.0"}'])
def test_a_line_that_is_no_message_is_the_error_that_says_so(line: bytes) -> None:
    """The client is told, and the connection lives on."""
    assert isinstance(parse_line(line), ValueError)


async def test_a_reader_that_nobody_speaks_to_can_be_left() -> None:
    """The end must not wait for the client."""
    with open_pipe() as (source, sink):
        reader = LineReader(source)
        with anyio.move_on_after(0.02) as scope:
            await reader.receive()
        assert scope.cancelled_caught
        # The thread is still reading; it must not outlive its pipe.
        os.write(sink, b"\n")


async def test_a_small_answer_is_in_the_pipe_at_once() -> None:
    """No thread has to be asked, so that hundreds of answers cost little."""
    with open_pipe() as (source, sink):
        written: list[SessionMessage] = []
        await LineWriter(sink, written.append).send(build_answer(1))
        assert (await read_ids(source, 1), get_ids(written)) == ([1], [1])


async def test_answers_that_are_sent_at_once_stay_whole() -> None:
    """Large ones wait for the client to read; small ones that come meanwhile do not cut into them."""
    with open_pipe() as (source, sink):
        written: list[SessionMessage] = []
        async with writing(sink, written) as writer, anyio.create_task_group() as tasks:
            for n in range(6):
                tasks.start_soon(writer.send, build_answer(n, LARGE if n % 2 == 0 else 10))
            await wait_until_blocked()
            assert get_ids(written) == []
            assert await read_ids(source, 6) == list(range(6))
        assert get_ids(written) == list(range(6))


async def test_what_was_handed_over_is_written_whole_although_nobody_waits_for_it() -> None:
    """Half a line would spoil the next one for the client; and its input may be closed while it still reads."""
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


async def test_a_request_of_our_own_does_not_count_as_an_answer() -> None:
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


async def test_pipes_that_never_let_anybody_wait_are_waited_for() -> None:
    """Whoever started us may have made them so, for itself."""
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


async def test_the_end_of_the_input_is_told_at_once() -> None:
    """Answers may still have to be written, so nobody may wait for the server to come to its end first."""
    ended = anyio.Event()
    with open_pipe() as (source, sink):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sink)
        with pytest.raises(anyio.EndOfStream):
            await LineReader(source, ended.set).receive()
    assert ended.is_set()


async def test_a_client_that_is_gone_is_told_to_whoever_writes() -> None:
    """And ends what writes the lines that wait."""
    with open_pipe() as (source, sink):
        os.dup2(os.open(os.devnull, os.O_RDONLY), source)
        writer = LineWriter(sink)
        problems: list[Exception] = []

        async def send(n: int) -> None:
            """Note that it went wrong."""
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
