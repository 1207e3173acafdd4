"""The web server that every part of Flowport runs."""

import logging
import socket

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Receive, Scope, Send

from flowport.runtime.http_server import HttpServer


async def answer(_: Scope, __: Receive, ___: Send) -> None:
    """Answer nothing: no request is made."""


@pytest.mark.parametrize("turns", [*range(8), 100])
async def test_a_cancelled_server_lets_go_of_its_listener(turns: int) -> None:
    """At any time. Else the event loop waits for a closed file and ignores the next one with its number; that of a test fails."""
    server = HttpServer(answer, log_level=logging.CRITICAL, lifespan="off")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
