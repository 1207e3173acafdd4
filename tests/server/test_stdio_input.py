"""Lines on standard input that are not valid messages."""

import json
from typing import Any

import mcp.types as t
import pytest
from mcp.shared.message import SessionMessage

from flowport.server.stdio_streams import Received, ReconnectingReader, parse_line

PING = {"jsonrpc": "2.0", "id": "last", "method": "ping"}
DEEP = '{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"\\ud83d": ' + "[" * 100_000 + "]" * 100_000 + "}}"


async def receive_first(*lines: bytes) -> tuple[object, list[tuple[object, int]]]:
    """Return the id of the first message among the lines, and the ids and codes of the answers before it."""
    answers: list[tuple[object, int]] = []

    async def answer(message: SessionMessage) -> None:
        """Record an answer, as the client gets it."""
        said = json.loads(message.message.model_dump_json(by_alias=True, exclude_unset=True))
        answers.append((said["id"], said["error"]["code"]))

    waiting = iter([*lines, json.dumps(PING).encode()])

    async def receive() -> Received:
        """Take the next line."""
        return parse_line(next(waiting))

    received = await ReconnectingReader(receive, answer).receive()
    assert isinstance(received.message, t.JSONRPCRequest)
    return received.message.id, answers


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
async def test_an_invalid_request_is_answered(line: Any, request_id: object) -> None:
    """The sender waits for an answer with that id until it times out."""
    assert await receive_first(json.dumps(line).encode()) == ("last", [(request_id, t.INVALID_REQUEST)])


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
async def test_a_message_without_a_readable_id_is_answered_without_one(line: Any) -> None:
    """JSON-RPC 2.0, section 5: the id is null when it could not be determined."""
    assert await receive_first(json.dumps(line).encode()) == ("last", [(None, t.INVALID_REQUEST)])


@pytest.mark.parametrize("outcome", ["result", "error"])
async def test_an_invalid_response_is_not_answered_by_its_id(outcome: str) -> None:
    """The id is one of ours; an answer under it would end a request of the client with the same id."""
    line = json.dumps({"jsonrpc": "2.0", "id": 3, outcome: "yes"}).encode()
    assert await receive_first(line) == ("last", [(None, t.INVALID_REQUEST)])


@pytest.mark.parametrize("line", [b"{", b"\0", b"hello", b'{"id": 1,}', b"\xff", b"\xef\xbb\xbf{", DEEP.encode()])
async def test_a_parse_error_is_answered_as_such(line: bytes) -> None:
    """JSON-RPC 2.0, section 5.1. The connection remains open, however deeply the line is nested."""
    assert await receive_first(line) == ("last", [(None, t.PARSE_ERROR)])


@pytest.mark.parametrize("line", [b"", b"\r", b" \t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r"])
async def test_a_blank_line_is_ignored(line: bytes) -> None:
    """People press the return key, and some programs end a line with two line ends."""
    assert await receive_first(line) == ("last", [])


@pytest.mark.parametrize("text", ["x", "half \ud83d"])
async def test_a_byte_order_mark_is_ignored(text: str) -> None:
    """Windows programs begin with it; RFC 8259, section 8.1 allows a parser to ignore it."""
    line = json.dumps({"jsonrpc": "2.0", "id": "first", "method": "ping", "params": {"text": text}})
    assert await receive_first(b"\xef\xbb\xbf" + line.encode()) == ("first", [])


async def test_half_a_character_is_replaced_in_free_calls() -> None:
    """Programs write it when they truncate a text in the middle of an emoji."""
    assert await receive_first(rb'{"jsonrpc": "2.0", "id": "cut", "method": "ping", "params": {"a": "\ud83d"}}') == (
        "cut",
        [],
    )


async def test_an_array_of_messages_is_split() -> None:
    """The revision 2025-03-26 requires arrays; invalid messages among them are answered."""
    items = [{**PING, "id": 4}, {"jsonrpc": "2.0", "id": 5, "method": 6}, {**PING, "id": 7}]
    assert await receive_first(json.dumps(items[1:]).encode()) == (7, [(5, t.INVALID_REQUEST)])
    assert await receive_first(json.dumps(items).encode()) == (4, [(5, t.INVALID_REQUEST)])


def test_an_invalid_line_is_kept() -> None:
    """The line itself is the only evidence for diagnosing its sender."""
    received = parse_line(b"{\xff")
    assert getattr(received, "line", None) == "{\N{REPLACEMENT CHARACTER}"
