"""Clients' messages as bytes: a call that was damaged on the way is refused by its id, and never paid."""

import json
from typing import Any

import mcp.types as t
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage

from flowport.server.json_rpc import MAX_BATCH, MAX_ID_CHARACTERS, RefusedMessage, parse_message, parse_messages

CALL = b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "x", "arguments": {"prompt": "caf%s"}}}'
BAD_BYTES = {
    "latin 1": b"\xe9",
    "latin 1 before a letter": b"\xe9 noir",
    "a lone continuation": b"\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xc0\x80",
    "an overlong quote": b"\xe0\x80\xa2",
    "a high surrogate": b"\xed\xa0\x80",
    "a low surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "cut off": b"\xe2\x82",
    "no byte of UTF-8": b"\xff",
}


def refuse(data: bytes) -> tuple[Any, int]:
    """Return the id and the code of the only answer to a refused message."""
    assert parse_message(data) is None
    (refused,) = parse_messages(data)
    assert isinstance(refused, RefusedMessage)
    said = json.loads(refused.model_dump_json(by_alias=True, exclude_unset=True))
    assert said["error"]["message"].endswith(".")
    return said["id"], said["error"]["code"]


def take(data: bytes) -> t.JSONRPCMessage:
    """Return the only message."""
    (parsed,) = parse_messages(data)
    assert isinstance(parsed, SessionMessage)
    return parsed.message


@pytest.mark.parametrize("bad", BAD_BYTES.values(), ids=BAD_BYTES)
def test_a_call_with_invalid_utf8_is_refused_by_its_id(bad: bytes) -> None:
    """One byte of another encoding would make a paid run of another text than intended."""
    assert refuse(CALL % bad) == (7, t.INVALID_REQUEST)


@pytest.mark.parametrize("bad", BAD_BYTES.values(), ids=BAD_BYTES)
@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc": "2.0", "id": "a%s", "method": "ping"}',
        b'{"jsonrpc": "2.0", "method": "notifications/%s"}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "reason": "%s"}}',
        b'{"jsonrpc": "2.0", "id": 3, "result": {"action": "accept", "content": {"x": "%s"}}}',
        b'[{"jsonrpc": "2.0", "id": "a%s", "method": "ping"}]',
        b'%s{"jsonrpc": "2.0", "id": 3, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 3, "method": "ping"}%s',
        b'{"jsonrpc": "2.0", %s"id": 3, "method": "ping"}',
        b"%s",
    ],
)
def test_without_a_complete_id_the_answer_has_none(line: bytes, bad: bytes) -> None:
    """A repaired id is another id, and another request may wait for it."""
    assert refuse(line % bad) == (None, t.PARSE_ERROR)


@pytest.mark.parametrize(
    "place", [b'"met%shod": "ping"', b'"method": "pi%sng"', b'"method": "ping", "params": {"%s": 1}']
)
def test_invalid_utf8_is_refused_anywhere(place: bytes) -> None:
    """Invalid bytes are refused in a name as in a value."""
    assert refuse(b'{"jsonrpc": "2.0", "id": "x", ' + place % b"\xe9" + b"}")[1] in {t.INVALID_REQUEST, t.PARSE_ERROR}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_encodings_are_refused(encoding: str) -> None:
    """Some JSON parsers guess wide encodings; a line feed in them is not the end of a line."""
    assert refuse((CALL % b"e").decode().encode(encoding)) == (None, t.PARSE_ERROR)


@pytest.mark.parametrize("half", [r"\ud83d", r"\ude00", r"\ude00\ud83d", r"\uD83D x", r"\ud83d\u0041", r"\\\ud800"])
@pytest.mark.parametrize(
    "line",
    [
        r'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "x", "arguments": {"prompt": "%s"}}}',
        r'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "x", "arguments": {"%s": "a"}}}',
        r'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "%s", "arguments": {}}}',
    ],
)
def test_a_call_with_a_lone_surrogate_is_refused(line: str, half: str) -> None:
    """JSON can express half a character, but text cannot; a replacement is not what the user meant."""
    assert refuse((line % half).encode()) == (7, t.INVALID_REQUEST)


@pytest.mark.parametrize(
    "text",
    ["café", "\N{GRINNING FACE}", r"\ud83d\ude00", r"\\ud83d", r"\u00e9", r"a\u0000b", "\N{REPLACEMENT CHARACTER}"],
)
def test_a_call_with_valid_text_is_accepted_unchanged(text: str) -> None:
    """A pair of escapes is one character, and what looks like an escape may be text."""
    line = b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"x": "%s"}}' % text.encode()
    message = take(line)
    assert isinstance(message, t.JSONRPCRequest)
    assert message.params == json.loads(line)["params"]


@pytest.mark.parametrize("control", [b"\0", b"\x01", b"\t", b"\x1f"])
def test_a_raw_control_character_is_refused_by_its_id(control: bytes) -> None:
    """JSON allows none inside a text, and parsers treat them differently."""
    assert refuse(CALL % control) == (7, t.INVALID_REQUEST)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_changes_nothing(mark: bytes) -> None:
    """A byte order mark changes neither acceptance nor refusal."""
    assert isinstance(take(mark + CALL % b"e"), t.JSONRPCRequest)
    assert refuse(mark + CALL % b"\xe9") == (7, t.INVALID_REQUEST)


@pytest.mark.parametrize(("written", "meant"), [("7.0", 7), ("-1.0", -1), ("1e3", 1000), ("0.0", 0), ("7E0", 7)])
def test_a_whole_float_is_that_number(written: str, meant: int) -> None:
    """A whole float is accepted as an integer id: some languages have no other numbers."""
    message = take(b'{"jsonrpc": "2.0", "id": %s, "method": "ping"}' % written.encode())
    assert isinstance(message, t.JSONRPCRequest)
    assert (message.id, type(message.id)) == (meant, int)


@pytest.mark.parametrize("written", ["7.5", "true", "false", "null", "[1]", '{"a": 1}', "[]", "{}", "1e400"])
@pytest.mark.parametrize("method", ["ping", "notifications/cancelled", "tools/call"])
def test_an_invalid_id_is_refused(written: str, method: str) -> None:
    """A message with an id is never a notification: its sender waits for an answer."""
    line = f'{{"jsonrpc": "2.0", "id": {written}, "method": "{method}"}}'.encode()
    assert refuse(line) == (None if written == "1e400" else json.loads(written), t.INVALID_REQUEST)


def test_a_nested_id_is_ignored() -> None:
    """Only the message's own id makes it a request."""
    assert isinstance(take(b'{"jsonrpc": "2.0", "method": "x", "params": {"id": 1.5}}'), t.JSONRPCNotification)


def test_an_overlong_array_is_refused_by_each_id() -> None:
    """Each sender waits for an answer."""
    items = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(MAX_BATCH + 1)]
    parsed = parse_messages(json.dumps(items).encode())
    assert [getattr(one, "id", None) for one in parsed] == list(range(MAX_BATCH + 1))


@pytest.mark.parametrize("bad", [b"\xe9", b"\xff", b"\t", b"\0"])
def test_an_invalid_array_is_refused_by_each_id(bad: bytes) -> None:
    """One bad byte invalidates all messages, and each sender waits; a repaired id is another id."""
    other = b'{"jsonrpc": "2.0", "id": "x", "method": "ping"}'
    untracked = b'{"jsonrpc": "2.0", "method": "n"}, {"jsonrpc": "2.0", "id": 9, "result": {}}'
    parsed = parse_messages(b"[" + CALL % bad + b"," + other + b"," + untracked + b"]")
    assert [(one.id, one.error.code) for one in parsed if isinstance(one, RefusedMessage)] == [
        (7, t.INVALID_REQUEST),
        ("x", t.INVALID_REQUEST),
    ]
    assert len(parsed) == 2


def test_an_array_keeps_its_order_and_its_notifications() -> None:
    """The messages of an array are handled as if each had come on a line of its own."""
    items = [{"jsonrpc": "2.0", "id": 4.0, "method": "ping"}, {"jsonrpc": "2.0", "method": "n"}, 5]
    first, second, third = parse_messages(json.dumps(items).encode())
    assert isinstance(first, SessionMessage)
    assert isinstance(first.message, t.JSONRPCRequest)
    assert isinstance(second, SessionMessage)
    assert isinstance(second.message, t.JSONRPCNotification)
    assert isinstance(third, RefusedMessage)
    assert (first.message.id, third.id) == (4, None)


@given(st.binary(max_size=200))
def test_no_input_breaks_the_parser(data: bytes) -> None:
    """Any input gives a message or an answer that can be written."""
    for one in parse_messages(data):
        if isinstance(one, RefusedMessage):
            one.model_dump_json(by_alias=True, exclude_unset=True)


@given(st.binary(min_size=1, max_size=8))
def test_a_call_is_accepted_only_with_its_exact_text(inside: bytes) -> None:
    """For any bytes inside a text: the same text is returned, or the call is refused."""
    for one in parse_messages(CALL % inside):
        if isinstance(one, SessionMessage) and isinstance(one.message, t.JSONRPCRequest):
            assert one.message.params == json.loads((CALL % inside).decode("utf-8", "strict"))["params"]


@pytest.mark.parametrize("escape", ["", "\\ud83d "])
@pytest.mark.parametrize("method", ["ping", "tools/call"])
def test_a_long_id_is_refused(method: str, escape: str) -> None:
    """Requests are remembered by their ids, so one of 16 MB would fill the memory."""
    message = b'{"jsonrpc": "2.0", "method": "%b", "params": {"name": "%b"}, "id": "%b"}'
    given = (method.encode(), escape.encode() if method == "ping" else b"")
    assert refuse(message % (*given, b"a" * (MAX_ID_CHARACTERS + 1))) == (None, t.INVALID_REQUEST)
    taken = take(message % (*given, b"a" * MAX_ID_CHARACTERS))
    assert isinstance(taken, t.JSONRPCRequest)
