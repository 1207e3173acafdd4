"""What comes on standard input and is no message."""

import json
from typing import Any

import mcp.types as t
import pytest
from mcp.shared.message import SessionMessage

from flowport.server.stdio_streams import Received, ReconnectingReader, parse_line

PING = {"jsonrpc": "2.0", "id": "last", "method": "ping"}
DEEP = '{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"\\ud83d": ' + "[" * 100_000 + "]" * 100_000 + "}}"


async def hear(*lines: bytes) -> tuple[object, list[tuple[object, int]]]:
    """Return the id of the first message among the lines, and the ids and codes of what was answered before it."""
    answers: list[tuple[object, int]] = []

    async def answer(message: SessionMessage) -> None:
        """Note an answer, as the client gets it."""
        said = json.loads(message.message.model_dump_json(by_alias=True, exclude_unset=True))
        answers.append((said["id"], said["error"]["code"]))

    waiting = iter([*lines, json.dumps(PING).encode()])

    async def receive() -> Received:
        """Take the next line."""
        return parse_line(next(waiting))

    heard = await ReconnectingReader(receive, answer).receive()
    assert isinstance(heard.message, t.JSONRPCRequest)
    return heard.message.id, answers


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        ({"jsonrpc": "2.0", "id": 77}, 77),
        ({"jsonrpc": "1.0", "id": "a", "method": "ping"}, "a"),
        ({"id": "b", "method": "ping"}, "b"),
        ({"jsonrpc": "2.0", "id": 0, "method": "ping", "params": [1]}, 0),
        ({"jsonrpc": "2.0", "id": 10**26, "method": 5}, 10**26),
        ({"jsonrpc": "2.0", "id": "half \ud83d", "method": 5}, "half ?"),
        ({"jsonrpc": "2.0", "id": "", "method": "ping", "params": "\ud83d"}, ""),
        ({"jsonrpc": "1.0", "id": "e", "method": "m", "result": {}, "error": {}}, "e"),
    ],
)
async def test_a_request_that_is_no_message_gets_its_answer(line: Any, request_id: object) -> None:
    """Whoever sent it waits for an answer with that id, until it gives up."""
    assert await hear(json.dumps(line).encode()) == ("last", [(request_id, t.INVALID_REQUEST)])


@pytest.mark.parametrize(
    "line",
    [
        [],
        [[PING]],
        5,
        "id",
        None,
        {},
        {"jsonrpc": "2.0", "id": 1.5},
        {"jsonrpc": "2.0", "id": True},
        {"jsonrpc": "2.0", "id": None},
        {"jsonrpc": "2.0", "id": [1]},
    ],
)
async def test_what_has_no_id_that_can_be_read_is_answered_without_one(line: Any) -> None:
    """JSON-RPC 2.0, section 5: the id is null when it could not be told."""
    assert await hear(json.dumps(line).encode()) == ("last", [(None, t.INVALID_REQUEST)])


@pytest.mark.parametrize("outcome", ["result", "error"])
async def test_an_answer_that_is_no_message_is_not_answered_by_its_id(outcome: str) -> None:
    """The id is one of ours; the client may have a request of its own under the same, which would be ended by it."""
    line = json.dumps({"jsonrpc": "2.0", "id": 3, outcome: "yes"}).encode()
    assert await hear(line) == ("last", [(None, t.INVALID_REQUEST)])


@pytest.mark.parametrize("line", [b"{", b"\0", b"hello", b'{"id": 1,}', b"\xff", b"\xef\xbb\xbf{", DEEP.encode()])
async def test_what_does_not_parse_is_answered_as_that(line: bytes) -> None:
    """JSON-RPC 2.0, section 5.1. The connection lives on, however deep it is."""
    assert await hear(line) == ("last", [(None, t.PARSE_ERROR)])


@pytest.mark.parametrize("line", [b"", b"\r", b" \t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r"])
async def test_a_blank_line_is_nothing(line: bytes) -> None:
    """People press the return key, and programs end with it twice."""
    assert await hear(line) == ("last", [])


@pytest.mark.parametrize("text", ["x", "half \ud83d"])
async def test_a_mark_of_the_byte_order_is_nothing(text: str) -> None:
    """Windows programs begin with it; RFC 8259, section 8.1 lets a reader pass it over."""
    line = json.dumps({"jsonrpc": "2.0", "id": "first", "method": "ping", "params": {"text": text}})
    assert await hear(b"\xef\xbb\xbf" + line.encode()) == ("first", [])


async def test_half_a_letter_is_mended_where_nothing_is_paid() -> None:
    """Programs write it when they cut a text in the middle of an emoji."""
    assert await hear(rb'{"jsonrpc": "2.0", "id": "cut", "method": "ping", "params": {"a": "\ud83d"}}') == ("cut", [])


async def test_an_array_of_messages_is_taken_apart() -> None:
    """The revision 2025-03-26 demands it; what is no message among them is answered."""
    items = [{**PING, "id": 4}, {"jsonrpc": "2.0", "id": 5, "method": 6}, {**PING, "id": 7}]
    assert await hear(json.dumps(items[1:]).encode()) == (7, [(5, t.INVALID_REQUEST)])
    assert await hear(json.dumps(items).encode()) == (4, [(5, t.INVALID_REQUEST)])


def test_a_line_that_is_no_message_is_kept() -> None:
    """What it was is told by it alone."""
    heard = parse_line(b"{\xff")
    assert getattr(heard, "line", None) == "{\N{REPLACEMENT CHARACTER}"
