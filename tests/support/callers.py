"""Clients of both transports and eras that lose their connection, cancel and repeat calls, written byte by byte."""

import http.client
import json
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.support.children import Child, open_child
from tests.support.patience import PATIENCE_SECONDS

MODERN = "2026-07-28"
ERAS = ("2025-06-18", MODERN)
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "matrix", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
JsonObject = dict[str, Any]


class Caller(Protocol):
    """A client that misbehaves on request."""

    def call(self, tool: str, arguments: Mapping[str, Any], *, request_id: int | str | None = None) -> Any:
        """Send a call and return a handle by which its answer is read."""
        ...

    def read(self, call: Any) -> JsonObject:
        """Return the answer to a call, unchanged."""
        ...

    def cancel(self, call: Any) -> None:
        """Cancel a call as the transport defines it."""
        ...

    def drop(self, call: Any) -> None:
        """Lose the connection, as when the client is killed; another call may follow at once."""
        ...

    def reconnect(self, call: Any) -> None:
        """Close the connection in order and open a new one."""
        ...


class StdioCaller:
    """Starts Flowport as its child process, repeatedly on the same home."""

    def __init__(self, folder: Path, environment: Mapping[str, str], era: str, stack: ExitStack) -> None:
        self._folder, self._environment, self._era, self._stack = folder, environment, era, stack
        self._unread: list[JsonObject] = []
        self._number = 100
        self._open()

    def _open(self) -> None:
        self._child: Child = self._stack.enter_context(open_child(self._folder, environment=self._environment))
        self._unread.clear()
        if self._era != MODERN:
            self._child.ask(
                "initialize",
                {
                    "protocolVersion": self._era,
                    "capabilities": {},
                    "clientInfo": _META["io.modelcontextprotocol/clientInfo"],
                },
            )
            self._child.send("notifications/initialized", is_request=False)

    def call(self, tool: str, arguments: Mapping[str, Any], *, request_id: int | str | None = None) -> int | str:
        """Send a call and return its id."""
        message = self.build(tool, arguments, request_id=request_id)
        self.send(message)
        number: int | str = message["id"]
        return number

    def build(self, tool: str, arguments: Mapping[str, Any], *, request_id: int | str | None = None) -> JsonObject:
        """Return the message of a call."""
        self._number += 1
        number = self._number if request_id is None else request_id
        params = {"name": tool, "arguments": arguments, **({"_meta": _META} if self._era == MODERN else {})}
        return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}

    def send(self, *messages: object) -> None:
        """Send messages, valid or not, in one write."""
        assert self._child.process.stdin is not None
        self._child.process.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in messages))
        self._child.process.stdin.flush()

    def read(self, call: int | str) -> JsonObject:
        """Return the answer with this id; keep other messages for later calls."""
        while True:
            for message in self._unread:
                if message.get("id") == call and type(message.get("id")) is type(call):
                    self._unread.remove(message)
                    return message
            self._unread.append(self._child.read())

    def cancel(self, call: int | str) -> None:
        """Send the cancellation of a call."""
        self.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call}})

    def drop(self, _: int | str) -> None:
        """Close both pipes at once, and start the next Flowport while this one is still shutting down."""
        assert self._child.process.stdout is not None
        self._child.process.stdout.close()
        self._child.close_input()
        self._open()

    def reconnect(self, _: int | str) -> None:
        """Close standard input, wait for the process to end, and start another."""
        self._child.close_input()
        self._child.process.wait(timeout=PATIENCE_SECONDS)
        self._open()


class HttpCall:
    """One request on a connection of its own."""

    def __init__(self, url: str, message: JsonObject, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._response: http.client.HTTPResponse | None = None
        self.id = message.get("id")
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_SECONDS)
        accepted = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        try:
            self.connection.request("POST", parts.path, json.dumps(message), {**accepted, **headers})
        except OSError:
            self.connection.close()
            raise

    def read(self) -> tuple[http.client.HTTPResponse, JsonObject]:
        """Return the answer: the whole body, or the event that contains it."""
        response = self._response = self.connection.getresponse()
        if not (response.getheader("content-type") or "").startswith("text/event-stream"):
            text = response.read()
            return response, json.loads(text) if text else {}
        while line := response.readline():
            if line.startswith(b"data: ") and (message := json.loads(line[6:])).get("id") == self.id:
                assert "method" not in message
                found: JsonObject = message
                return response, found
        raise AssertionError("the stream ended without an answer")

    def close_half(self) -> None:
        """Close the sending direction and continue to read, as some proxies do."""
        assert self.connection.sock is not None
        self.connection.sock.shutdown(socket.SHUT_WR)

    def close(self, *, is_reset: bool = False) -> None:
        """Close the connection, in order or by a reset."""
        if self.connection.sock is not None and is_reset:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        if self._response is not None:
            self._response.close()


class HttpCaller:
    """A client of one Flowport that listens on HTTP."""

    def __init__(self, url: str, era: str, stack: ExitStack, token: str = "") -> None:
        self._url, self._era, self._stack = url, era, stack
        self._token = {"authorization": f"Bearer {token}"} if token else {}
        self._headers: dict[str, str] = dict(self._token)
        self._number = 100
        self._open()

    def _open(self) -> None:
        if self._era == MODERN:
            return
        hello = {
            "protocolVersion": self._era,
            "capabilities": {},
            "clientInfo": _META["io.modelcontextprotocol/clientInfo"],
        }
        call = HttpCall(self._url, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}, self._token)
        response, _ = call.read()
        self._headers = {
            **self._token,
            "mcp-session-id": response.getheader("mcp-session-id") or "",
            "mcp-protocol-version": self._era,
        }
        call.close()
        self.notify("notifications/initialized", {})

    def notify(self, method: str, params: JsonObject) -> None:
        """Send a notification."""
        headers = {"mcp-protocol-version": MODERN, **self._headers}
        call = HttpCall(self._url, {"jsonrpc": "2.0", "method": method, "params": params}, headers)
        call.read()
        call.close()

    def call(self, tool: str, arguments: Mapping[str, Any], *, request_id: int | str | None = None) -> HttpCall:
        """Send a call."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments}, name=tool, request_id=request_id)

    def ask(self, method: str, params: JsonObject, *, name: str, request_id: int | str | None = None) -> HttpCall:
        """Send a request whose header carries a name."""
        self._number += 1
        number = self._number if request_id is None else request_id
        headers = dict(self._headers)
        if self._era == MODERN:
            params = {**params, "_meta": _META}
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method, "mcp-name": name}
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        call = HttpCall(self._url, message, headers)
        self._stack.callback(call.close)
        return call

    def read(self, call: HttpCall) -> JsonObject:
        """Return the answer and keep the connection open."""
        return call.read()[1]

    def cancel(self, call: HttpCall) -> None:
        """Cancel a call; since 2026-07-28 by closing its stream."""
        self.notify("notifications/cancelled", {"requestId": call.id})
        if self._era == MODERN:
            call.close()

    def drop(self, call: HttpCall) -> None:
        """Reset the connection of a call."""
        call.close(is_reset=True)

    def reconnect(self, call: HttpCall) -> None:
        """Close the connection of a call, and open a new session if the era has sessions."""
        call.close()
        self._open()


@contextmanager
def open_http_server(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a Flowport that listens on HTTP and yield its URL."""
    with open_child(folder, "--http", "127.0.0.1:0", "--no-auth", environment=environment) as child:
        assert child.process.stdout is not None
        found = re.search(r"http://\S+", child.process.stdout.readline().decode())
        assert found, (folder / "stderr.txt").read_text()
        yield found[0]
