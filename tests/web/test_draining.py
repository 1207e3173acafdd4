"""The end of a server whose clients wait: each gets an answer, and nothing new begins."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.callers import ERAS, HttpCaller
from tests.support.children import Child
from tests.support.patience import PATIENCE_SECONDS, poll_until
from tests.web.test_http import ACCEPTED, build_legacy, build_listen, open_http_child

TOOL = "sandbox_slow_cinema_still"


@contextmanager
def open_server(folder: Path) -> Iterator[tuple[Child, str, ExitStack]]:
    """Run a server whose calls wait longer than any test, and the clients of a test."""
    with open_http_child(folder, FLOWPORT_WAIT_SECONDS="600") as (child, url), ExitStack() as stack:
        yield child, url, stack


@pytest.mark.parametrize("era", ERAS)
def test_a_waiting_call_is_answered_with_its_run_when_the_server_ends(tmp_path: Path, era: str) -> None:
    """The client asks for the run after the restart, as it does when its wait budget ends."""
    with open_server(tmp_path / "f") as (child, url, stack):
        client = HttpCaller(url, era, stack)
        calls = [client.call(TOOL, {"prompt": f"a lake {n}"}) for n in range(3)]
        poll_until(lambda: len(list_runs(client)) == len(calls))
        child.process.send_signal(signal.SIGTERM)
        facts = [call.read()[1]["result"]["structuredContent"] for call in calls]
        code = child.wait()

    assert len({one["run_id"] for one in facts}) == len(calls)
    assert all("get_run" in one["next_step"] for one in facts)
    assert code == 0
    with open_server(tmp_path / "f") as (_, url, stack):
        rows = list_runs(HttpCaller(url, era, stack))
    assert {one["run_id"] for one in facts} == {row["run_id"] for row in rows}


def list_runs(client: HttpCaller) -> list[dict[str, Any]]:
    """Return the runs on record."""
    rows: list[dict[str, Any]] = client.call("list_runs", {"limit": 9}).read()[1]["result"]["structuredContent"]["runs"]
    return rows


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """Run a server that has a signal, and still waits for the rest of a request."""
    with open_http_child(tmp_path / "f") as (child, url), ExitStack() as stack:
        parts = urlsplit(url)
        slow = stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0)))
        slow.sendall(b"POST /mcp HTTP/1.1\r\nHost: %b\r\nContent-Length: 9\r\n\r\n" % parts.netloc.encode())
        poll_until(lambda: 'flowport_http_requests_open{method="POST"} 1.0' in get(url, "/metrics").text)
        child.process.send_signal(signal.SIGTERM)
        poll_until(lambda: get(url, "/readyz").status_code == 503)
        yield child, url


def get(url: str, path: str) -> httpx2.Response:
    """Ask a server beside its MCP endpoint."""
    return httpx2.get(url.removesuffix("/mcp") + path, trust_env=False, timeout=60)


def test_an_ending_server_says_so_and_takes_nothing_new(ending: tuple[Child, str]) -> None:
    """A load balancer sends requests elsewhere, and a client tries again."""
    child, url = ending
    refused = httpx2.post(
        url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, trust_env=False, timeout=PATIENCE_SECONDS
    )
    ready, health = get(url, "/readyz"), get(url, "/healthz")
    child.process.send_signal(signal.SIGTERM)

    assert child.wait() == 0
    assert (refused.status_code, refused.headers["retry-after"], refused.headers["connection"]) == (503, "5", "close")
    assert "Nothing was started" in refused.text
    assert ready.json()["problems"][0] == "Flowport is shutting down."
    assert health.status_code == 200


@pytest.mark.parametrize("what", ["get", "listen"])
async def test_streams_end_in_order(tmp_path: Path, what: str) -> None:
    """A client must not take it for a broken connection."""
    with open_http_child(tmp_path / "f") as (child, url):
        async with httpx2.AsyncClient(trust_env=False, timeout=60, headers=ACCEPTED) as http:
            request = build_listen(http, url) if what == "listen" else await build_legacy(http, url, what)
            answer = await http.send(request, stream=True)
            child.process.send_signal(signal.SIGTERM)
            # An end without the last chunk raises.
            await answer.aread()
        assert (answer.status_code, child.wait()) == (200, 0)
