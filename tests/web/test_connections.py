"""Clients that are slow to send their requests."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from flowport.runtime.http_server import HttpServer
from flowport.web.connections import PIECE_BYTES, build_protocol, find_limited
from flowport.web.listen_address import Address, listen
from tests.support.people import open_team
from tests.support.scripted import wait_until

HEAD = b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
SLOW: dict[str, bytes] = {
    "nothing": b"",
    "a part of the head": HEAD % 5,
    "a part of a body": HEAD % 5 + b"\r\n1234",
    "a large part of a body": HEAD % (9 * PIECE_BYTES) + b"\r\n" + b"x" * (2 * PIECE_BYTES),
}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read a body and answer with its length; a client that left gets nothing."""
    size, is_more = 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, is_more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


@asynccontextmanager
async def open_server(**limits: Any) -> AsyncIterator[tuple[str, int]]:
    """Serve the answers with limits, at an address."""
    with listen(Address("127.0.0.1", 0)) as listener:
        web = HttpServer(answer, log_level=logging.CRITICAL, lifespan="off", http=build_protocol(9, **limits))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            yield listener.getsockname()[:2]
            web.should_exit = True


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
async def test_a_client_that_owes_a_part_of_its_request_is_disconnected(sent: bytes) -> None:
    """A few such clients could hold every connection of the server."""
    async with open_server(head_seconds=0.2, body_seconds=0.2) as address:
        client = await anyio.connect_tcp(*address)
        if sent:
            await client.send(sent)
        received = b"".join([part async for part in client])
        await client.aclose()

    assert received.endswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def test_a_body_that_advances_has_all_the_time_it_needs() -> None:
    """A large file over a slow line is not an attack."""
    async with open_server(head_seconds=60, body_seconds=60) as address:
        client = await anyio.connect_tcp(*address)
        await client.send(HEAD % (4 * PIECE_BYTES) + b"\r\n")
        for _ in range(4 * 16):
            await client.send(b"x" * (PIECE_BYTES // 16))
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += await client.receive()
        await client.aclose()

    assert b"%d" % (4 * PIECE_BYTES) in received


async def test_a_kept_connection_ends_with_its_next_answer() -> None:
    """Closed at once, it would lose the request that a proxy is sending over it, which is not repeated elsewhere."""
    request = HEAD % 2 + b"\r\nab"
    with listen(Address("127.0.0.1", 0)) as listener:
        web = HttpServer(answer, log_level=logging.CRITICAL, lifespan="off", http=build_protocol(9))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            used, idle, new = [await anyio.connect_tcp(*listener.getsockname()[:2]) for _ in range(3)]
            for client in (used, idle):
                await client.send(request)
                assert b"connection: close" not in await client.receive()
            await wait_until(lambda: len(web.server_state.connections) == 3)
            for connection in find_limited(web.server_state.connections):
                connection.end_with_next_answer()
            for client in (used, new):
                await client.send(request)
                answered = b"".join([part async for part in client])
                assert b"200 OK" in answered
                assert b"connection: close" in answered
            for connection in find_limited(web.server_state.connections):
                connection.close_idle()
            assert [part async for part in idle] == []
            web.should_exit = True
        for client in (used, idle, new):
            await client.aclose()


async def test_a_person_who_leaves_while_signing_in_causes_no_error(tmp_path: Path) -> None:
    """Each would fill the log with a traceback, and anyone can do it."""
    async with open_team(tmp_path) as team:
        parts = urlsplit(team.origin)
        async with await anyio.connect_tcp(parts.hostname or "", parts.port or 0) as stream:
            head = f"POST /gallery/sign-in HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: {team.origin}\r\n"
            await stream.send(f"{head}Content-Length: 100\r\n\r\ntoken=".encode())
            await wait_until(lambda: team.site.traffic.open["POST"] == 1)
        await wait_until(lambda: team.site.traffic.open["POST"] == 0)

    assert team.site.traffic.requests["POST", "/gallery/sign-in", 403] == 1
