"""The log of a server over HTTP: one JSON object a line, and what it never holds."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from flowport.runtime.json_logs import LogContext, enter_log_context
from flowport.runtime.logging import start_logging
from flowport.web.access_log import LEFT_STATUS, RequestLog, Traffic, build_log_context, parse_trace_id
from tests.support.callers import _META as META
from tests.support.callers import ERAS, MODERN, HttpCall, HttpCaller
from tests.support.patience import PATIENCE_SECONDS
from tests.web.test_http import open_http_child

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
KEY = "mk-0123456789abcdef"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a test logs as JSON; the loggers are put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    root.handlers = []
    start_logging([KEY], level=logging.INFO, stream=written, is_json=True)
    yield written
    root.handlers, root.level = handlers, level


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines that were logged."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_without_secrets(stream: io.StringIO) -> None:
    """Untrusted text may hold line breaks, keys and tokens of signed links."""
    enter_log_context(LogContext("r-1", TRACE))
    try:
        int(f"{KEY}\nhttps://cdn.example/a.png?token=exp_123")
    except ValueError:
        logging.getLogger("x").exception("it failed: %s", f'"}}\n{{"level": "INFO"}} {KEY}')
    (line,) = read(stream)

    assert (line["level"], line["request_id"], line["trace_id"]) == ("ERROR", "r-1", TRACE)
    assert "it failed" in line["message"]
    assert "ValueError" in line["exception"]
    assert KEY not in json.dumps(line)
    assert "exp_123" not in json.dumps(line)


@pytest.mark.parametrize(
    ("text", "trace_id"),
    [
        (PARENT, TRACE),
        (f" {PARENT} ", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
        ("", ""),
        ("x" * 9_999, ""),
    ],
)
def test_a_trace_is_joined_by_a_valid_parent(text: str, trace_id: str) -> None:
    """As W3C Trace Context defines it."""
    assert parse_trace_id(text) == trace_id


@pytest.mark.parametrize("given", ["abc-1", "a" * 64, "0:1.2_3"])
def test_a_valid_request_id_is_kept(given: str) -> None:
    """A proxy in front has logged it already."""
    assert build_log_context({"headers": [(b"x-request-id", given.encode())]}).request_id == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'a"b', "a\r\nb", "ä"])
def test_another_request_id_is_replaced(given: str) -> None:
    """It would stand in the log and in a header of the answer."""
    found = build_log_context({"headers": [(b"x-request-id", given.encode("latin-1"))]}).request_id
    assert found != given
    assert len(found) == 32


async def test_a_client_that_left_is_counted_as_such() -> None:
    """No answer began, so there is no status."""
    traffic = Traffic()

    async def leave(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer nothing."""

    async def ignore(_: Any = None) -> Any:
        """Send or receive nothing."""

    await RequestLog(leave, traffic)({"type": "http", "method": "BREW", "headers": []}, ignore, ignore)
    assert dict(traffic.requests) == {("other", "other", LEFT_STATUS): 1}
    assert traffic.open.total() == 0


def test_each_request_is_one_line_with_its_route_and_its_id(tmp_path: Path) -> None:
    """Paths that no route serves, queries, bodies and headers are never in it."""
    secret = "s3cret-word"
    with open_http_child(tmp_path / "f") as (child, url):
        base = url.removesuffix("/mcp")
        given = {"x-request-id": "mine-1", "traceparent": PARENT, "authorization": f"Bearer {secret}"}
        health = httpx2.get(f"{base}/healthz?{secret}", headers=given, trust_env=False, timeout=PATIENCE_SECONDS)
        httpx2.get(f"{base}/{secret}", trust_env=False, timeout=PATIENCE_SECONDS)
        httpx2.post(
            url, content=secret, headers={"content-type": "application/json"}, trust_env=False, timeout=PATIENCE_SECONDS
        )
        child.process.terminate()
        child.wait()
    text = (tmp_path / "f/stderr.txt").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    access = [line for line in lines if line["logger"] == "flowport.access"]

    assert health.headers["x-request-id"] == "mine-1"
    assert secret not in text
    assert [(one["method"], one["route"], one["status"]) for one in access] == [
        ("GET", "/healthz", 200),
        ("GET", "other", 404),
        ("POST", "/mcp", 400),
    ]
    assert (access[0]["request_id"], access[0]["trace_id"]) == ("mine-1", TRACE)
    assert all(one["duration_ms"] >= 0 for one in access)


@pytest.mark.parametrize("era", ERAS)
def test_a_trace_of_the_message_is_joined(tmp_path: Path, era: str) -> None:
    """Since 2026-07-28 clients put it into `_meta`, because headers are not theirs to set everywhere."""
    with open_http_child(tmp_path / "f") as (child, url), ExitStack() as stack:
        client = HttpCaller(url, era, stack)
        params = {"_meta": {**META, "traceparent": PARENT}}
        if era == MODERN:
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
            call = HttpCall(url, message, {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"})
            stack.callback(call.close)
            call.read()
        else:
            client.ask("tools/list", params, name="").read()
        child.process.terminate()
        child.wait()
    lines = [json.loads(line) for line in (tmp_path / "f/stderr.txt").read_text().splitlines()]
    assert TRACE in [line.get("trace_id") for line in lines if line["logger"] == "flowport.access"]


def test_text_can_be_chosen(tmp_path: Path) -> None:
    """A person who looks on reads it more easily."""
    with open_http_child(tmp_path / "f", FLOWPORT_LOGS="text") as (child, url):
        httpx2.get(url.replace("/mcp", "/healthz"), trust_env=False, timeout=PATIENCE_SECONDS)
        child.process.terminate()
        child.wait()
    assert "INFO flowport.access: GET /healthz 200 in " in (tmp_path / "f/stderr.txt").read_text()
