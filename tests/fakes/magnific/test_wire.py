"""Answers that are not answers, byte by byte."""

import anyio
from starlette.responses import JSONResponse

from tests.fakes.client import KEY, Client
from tests.fakes.magnific.wire import truncate


async def read_raw(sandbox: Client, path: str) -> bytes:
    """Ask over a bare connection and read until it closes."""
    port = int(sandbox.addresses.api_url.rpartition(":")[2])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(
            f"GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\nx-magnific-api-key: {KEY}\r\n\r\n".encode()
        )
        return b"".join([chunk async for chunk in stream])


async def test_what_is_not_http_is_all_that_arrives(sandbox: Client) -> None:
    """No status line before or after it."""
    await sandbox.switch("faults", operation="list", fault="not_http")
    assert await read_raw(sandbox, "/v1/ai/flows") == b"220 mail.example.test ESMTP ready\r\n\r\n"


async def test_a_dropped_connection_says_nothing(sandbox: Client) -> None:
    """Not even a server error."""
    await sandbox.switch("faults", operation="list", fault="drop")
    assert await read_raw(sandbox, "/v1/ai/flows") == b""


def test_half_of_an_answer_promises_all_of_it() -> None:
    """That is how a client can know."""
    payload = truncate(JSONResponse({"a": 1})).payload
    assert payload == b'HTTP/1.1 200 \r\ncontent-length: 7\r\ncontent-type: application/json\r\n\r\n{"a'
