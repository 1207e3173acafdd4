"""The server over real HTTP: a process, loopback sockets, and clients of both eras."""

import contextlib
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp.types as t
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.domain.errors import ConfigurationError
from flowport.server.handlers import build_stopped_server
from flowport.web.listen_address import Address, listen
from flowport.web.transport import serve
from tests.fakes.client import open_sandbox
from tests.support.children import HELLO, Child, open_child
from tests.support.end_of_test import EndOfTest
from tests.support.harness import MODES, Harness, Mode, open_harness
from tests.support.patience import PATIENCE_SECONDS
from tests.support.scripted import wait_until

ENDS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
ACCEPTED = {"accept": "application/json, text/event-stream"}
OPEN = {
    "an open stream of the newer era": "listen",
    "an open stream of the older era": "get",
    "a call": "call",
    "nothing": "",
}


@contextmanager
def open_http_child(folder: Path, **environment: str) -> Iterator[tuple[Child, str]]:
    """Start `flowport serve --http` without authentication and return its URL."""
    with open_child(folder, "--http", "127.0.0.1:0", "--no-auth", environment=environment) as child:
        assert child.process.stdout is not None
        found = re.search(r"http://\S+", child.process.stdout.readline().decode())
        assert found, (folder / "stderr.txt").read_text()
        yield child, found[0]


@asynccontextmanager
async def open_client(url: str, mode: Mode) -> AsyncIterator[Client]:
    """Connect a client of an era."""
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one Flowport on the built-in sandbox for the tests of this module."""
    with open_http_child(tmp_path_factory.mktemp("flowport")) as (_, url):
        yield url


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_each_era_runs_an_app(url: str, mode: Mode) -> None:
    """It is the same server over another transport."""
    messages: list[str] = []

    async def receive(progress: float, total: float | None, message: str | None) -> None:
        """Keep one notification."""
        messages.append(message or "")

    async with open_client(url, mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("sandbox_text_to_picture", {"prompt": "a lake"}, progress_callback=receive)

    assert "sandbox_text_to_picture" in tools
    assert isinstance(result.structured_content, dict)
    assert result.structured_content["state"] == "succeeded"
    assert messages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 200),
    ],
)
async def test_a_page_in_the_browser_cannot_reach_us(url: str, headers: dict[str, str], status: int) -> None:
    """An untrusted page can have its own name resolve to this computer, and clients do not authenticate."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        answer = await http.post(url, json=message, headers={**ACCEPTED, **headers})

    assert answer.status_code == status


@pytest.mark.parametrize("what", OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_signal_ends_it_gracefully_and_quickly(tmp_path: Path, end: signal.Signals, what: str) -> None:
    """An open stream or a waiting call must not delay the end; the store is closed in any case."""
    with open_http_child(tmp_path / "f", FLOWPORT_WAIT_SECONDS="600") as (child, url):
        async with anyio.create_task_group() as tasks:
            if what:
                await tasks.start(hold, url, what)
            child.process.send_signal(end)
            code = await anyio.to_thread.run_sync(child.wait)
            tasks.cancel_scope.cancel()

    assert (code, (tmp_path / "f/home/store.sqlite3-wal").exists()) == (0, False)


async def hold(url: str, what: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Keep a stream or a call open until it breaks or is cancelled; started when its first bytes have arrived."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60, headers=ACCEPTED) as http:
        request = build_listen(http, url) if what == "listen" else await build_legacy(http, url, what)
        answer = await http.send(request, stream=True)
        assert answer.status_code == 200
        with contextlib.suppress(httpx2.HTTPError):
            if what == "get":
                task_status.started()
            async for _ in answer.aiter_bytes():
                if what != "get":
                    task_status.started()
                    what = "get"
            await anyio.sleep_forever()


def build_listen(http: httpx2.AsyncClient, url: str) -> httpx2.Request:
    """Return the request of the newer era whose answer is a stream of changes."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "subscriptions/listen"}
    return http.build_request("POST", url, json=message, headers=headers)


async def build_legacy(http: httpx2.AsyncClient, url: str, what: str) -> httpx2.Request:
    """Initialise the session, and return the request for its stream or for a long call."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    session = {"mcp-session-id": (await http.post(url, json=message)).headers["mcp-session-id"]}
    await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
    if what == "get":
        return http.build_request("GET", url, headers=session)
    params = {"name": "sandbox_slow_cinema_still", "arguments": {"prompt": "x"}, "_meta": {"progressToken": 1}}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    return http.build_request("POST", url, json=call, headers=session)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:0", "needs authentication, and no valid token is on record"),
        ("example.com:80", "names a host instead of an IP address"),
    ],
)
def test_a_refused_address_is_reported_in_a_sentence(tmp_path: Path, address: str, words: str) -> None:
    """Users do not read a traceback."""
    with open_child(tmp_path / "f", "--http", address) as child:
        code = child.process.wait(timeout=60)

    error = (tmp_path / "f/stderr.txt").read_text()
    assert (code, words in error, error.count("\n")) == (2, True, 1)


def test_a_busy_port_is_reported_in_a_sentence(tmp_path: Path) -> None:
    """Starting the server twice is the most common mistake."""
    with listen(Address("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with open_child(tmp_path / "f", "--http", f"127.0.0.1:{port}") as child:
            code = child.process.wait(timeout=60)

    error = (tmp_path / "f/stderr.txt").read_text()
    assert (code, f"--http names port {port}, where another program listens." in error) == (2, True)


@pytest.mark.parametrize("mode", MODES)
async def test_a_bad_setting_is_answered_by_every_call(tmp_path: Path, mode: Mode) -> None:
    """As on standard input and output: the user sees the reason in the client."""
    with open_http_child(tmp_path / "f", FLOWPORT_WAIT_SECONDS="soon") as (_, url):
        async with open_client(url, mode) as client:
            result = await client.call_tool("get_balance", {})

    assert isinstance(result.structured_content, dict)
    assert "It takes a number" in result.structured_content["message"]


def test_a_server_on_standard_input_does_not_load_the_web_server(tmp_path: Path) -> None:
    """Loading it would delay each start, and most starts use standard input."""
    with open_child(tmp_path / "f", environment={"PYTHONVERBOSE": "1"}) as child:
        child.greet()
        child.ask("tools/list")
        child.close_input()
        child.wait()

    loaded = (tmp_path / "f/stderr.txt").read_text()
    assert not [name for name in ("transport", "auth", "oauth", "jwt_rules") if f"'flowport.web.{name}'" in loaded]
    assert "'flowport.web.listen_address'" in loaded


async def test_a_web_server_that_ends_by_itself_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that neither answers nor exits would be the worst outcome."""
    end = EndOfTest()

    async def fail(*args: Any, **kwargs: Any) -> None:
        """End at once."""

    monkeypatch.setattr("uvicorn.Server.serve", fail)
    server = build_stopped_server(ConfigurationError("X", "is wrong", "Correct it."))
    with listen(Address("127.0.0.1", 0)) as listener:
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(60):
                await serve(listener, server, tasks, end)

    assert end.code == 1
    assert "Flowport listens at http://127.0.0.1:" in capsys.readouterr().out


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_each_era_is_notified_over_http_of_changed_tools(tmp_path: Path, mode: Mode) -> None:
    """Its stream differs from that on standard input and output, and may break separately."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as harness:
        await harness.client.list_tools()
        end = EndOfTest()
        with listen(Address("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, listener, harness.server, tasks, end)
                with anyio.fail_after(60):
                    await await_tool_change(url, mode, harness)
                end.ask()

    assert end.code == 0


async def await_tool_change(url: str, mode: Mode, harness: Harness) -> None:
    """Subscribe as clients of the era do, change the tools, and return when the notification arrived."""
    received, streams = anyio.Event(), anyio.Event()

    async def receive(message: Any) -> None:
        """Receive the notification on the session's stream."""
        if isinstance(message, t.ToolListChangedNotification):
            received.set()

    async def watch(response: httpx2.Response) -> None:
        """Record when the session's stream is open; earlier notifications are lost."""
        if response.request.method == "GET":
            streams.set()

    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60, event_hooks={"response": [watch]}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, message_handler=receive) as client,
    ):
        if mode == "legacy":
            await streams.wait()
            await change_tools(harness)
        else:
            async with client.listen(tools_list_changed=True) as events:
                await change_tools(harness)
                async for _ in events:
                    break
            return
        await received.wait()


async def change_tools(harness: Harness) -> None:
    """List fewer apps from now on."""
    catalog = harness.assembly.workspace.catalogs[0].catalog
    catalog._max_tools = 3
    assert await catalog.refresh()


async def test_a_result_is_not_delivered_to_an_older_client_that_disconnected(tmp_path: Path) -> None:
    """Its call continues without it, and its answer reaches no client."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as harness:
        await sandbox.switch("next_run", hold=True, pending_seconds=0)
        end = EndOfTest()
        with listen(Address("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, listener, harness.server, tasks, end)
                with anyio.fail_after(60):
                    await call_and_leave(url)
                    row = (await harness.ask("list_runs"))["runs"][0]
                    await wait_until(lambda: count_waiting(tmp_path / "person" / "home") == 0)
                    run = await harness.assembly.workspace.store.get_run(row["run_id"], account_id=None, owner="local")
                    await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
                    joined = await harness.ask("text_to_picture", prompt="a lake")
                end.ask()
    assert (joined["run_id"], joined["state"]) == (row["run_id"], "succeeded")
    assert "joined" in joined


def count_waiting(home: Path) -> int:
    """Return the number of calls that wait for a run, by the store."""
    with contextlib.closing(sqlite3.connect(home / "store.sqlite3")) as connection:
        count: int = connection.execute("SELECT count(*) FROM waiting_calls").fetchone()[0]
        return count


async def call_and_leave(url: str) -> None:
    """Call as an older client does, and disconnect at the first progress of the live run."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60, headers=ACCEPTED) as http:
        hello = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO})
        session = {"mcp-session-id": hello.headers["mcp-session-id"]}
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}}
        await http.post(url, json=ready, headers=session)
        params = {"name": "text_to_picture", "arguments": {"prompt": "a lake"}, "_meta": {"progressToken": 1}}
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
        async with http.stream("POST", url, json=call, headers=session) as response:
            async for line in response.aiter_lines():
                if "running" in line:
                    return
