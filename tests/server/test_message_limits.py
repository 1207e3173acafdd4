"""Messages longer than any call needs, on both transports."""

import json
import os
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp.shared.message import SessionMessage

from flowport.server.stdio_streams import MAX_MESSAGE_BYTES, LineReader, OverlongMessage
from tests.web.test_bodies import ERAS, build_body, count_runs, post
from tests.web.test_http import open_http_child


def build_message(first: dict[str, Any], last: dict[str, Any], *, size: int) -> bytes:
    """Return a message whose long part is between the other two."""
    return json.dumps({**first, "params": {"name": "x", "arguments": {"id": 1, "text": "y" * size}}, **last}).encode()


RPC: dict[str, Any] = {"jsonrpc": "2.0"}
CALL: dict[str, Any] = {"method": "tools/call"}


@pytest.mark.parametrize(
    ("first", "last", "request_id"),
    [
        (RPC | {"id": 7} | CALL, {}, 7),
        (RPC | CALL | {"id": "a-7"}, {}, "a-7"),
        (CALL, RPC | {"id": 7}, 7),
        (CALL, {"id": -3} | RPC, -3),
        ({"id": 'quo"te'} | CALL, RPC, 'quo"te'),
        (RPC, CALL | {"id": 0}, 0),
        (RPC | CALL, {}, None),
        (RPC | {"id": 1.5}, CALL, None),
        (RPC | {"id": {"id": 4}}, CALL, None),
        (RPC | {"note": "n"} | {"id": 5}, CALL, None),
    ],
)
def test_the_id_is_read_at_either_end(first: dict[str, Any], last: dict[str, Any], request_id: object) -> None:
    """Clients write the id before or after the parameters; an id inside them belongs to them."""
    message, overlong = build_message(first, last, size=20_000), OverlongMessage()
    for start in range(0, len(message), 1000):
        overlong.add(message[start : start + 1000])
    answer = overlong.refuse()
    assert (answer.id, answer.error.code) == (request_id, -32600)
    assert answer.error.message.startswith("The message is longer than 16 MB, so nothing was done.")


@pytest.mark.parametrize("data", [b"", b"{", b"y" * 9000, b'{"id": 1', b'"id": 1}', "é".encode()[:1] * 5000])
def test_invalid_messages_have_no_id(data: bytes) -> None:
    """Invalid input never breaks the reader."""
    overlong = OverlongMessage()
    overlong.add(data)
    assert overlong.refuse().id is None


async def test_an_overlong_line_is_refused_and_the_next_one_is_read() -> None:
    """The line is discarded, so that an endless line does not fill the memory."""
    source, target = os.pipe()
    line = build_message(RPC | {"id": 7} | CALL, {}, size=MAX_MESSAGE_BYTES) + b"\n"

    def write() -> None:
        """Write the long line at once, then a short one."""
        with os.fdopen(target, "wb") as file:
            file.write(line + b'{"jsonrpc": "2.0", "id": 8, "method": "ping"}\n')

    reader = LineReader(source)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, write)
        refused, accepted = await reader.receive(), await reader.receive()
    os.close(source)
    assert not isinstance(refused, SessionMessage)
    assert getattr(refused, "id", None) == 7
    assert isinstance(accepted, SessionMessage)
    assert len(reader._rest) == 0


def test_both_transports_accept_a_file_of_10_mb() -> None:
    """Base64 makes four bytes of three."""
    assert MAX_MESSAGE_BYTES > 10 * 1024**2 * 4 / 3 + 64 * 1024


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one Flowport on the built-in sandbox for the tests of this module."""
    with open_http_child(tmp_path_factory.mktemp("flowport")) as (_, url):
        yield url


@pytest.mark.parametrize("era", ERAS)
async def test_a_body_as_large_as_a_picture_of_5_mb_is_served(url: str, era: str) -> None:
    """As on standard input."""
    body = build_body(era, b"y" * 7_000_000).replace(b"sandbox_text_to_picture", b"no_such_tool")
    status, answer = await post(url, era, body, **({"mcp-name": "no_such_tool"} if era == "modern" else {}))
    assert status < 413
    assert "no_such_tool" in json.dumps(answer)


@pytest.mark.parametrize("era", ERAS)
async def test_an_overlong_body_is_refused_by_its_id(url: str, era: str) -> None:
    """The message states the limit; the client is still writing when the limit is passed."""
    status, answer = await post(url, era, build_body(era, b"y" * (MAX_MESSAGE_BYTES + 1_000_000)))
    assert (status, answer["id"], answer["error"]["code"]) == (413, 7, -32600)
    assert "16 MB" in answer["error"]["message"]
    assert await count_runs(url) == 0
