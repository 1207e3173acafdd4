"""Clients of a Flowport over HTTP that hold calls open: a process of its own, so that its cost is not measured.

    python waiting_clients.py URL ERA CALLS TOKEN

Opens the calls a few at a time, each on a connection of its own, and prints a line when each has reported progress. Then it lists
the tools again and again on one connection until standard input is closed, and prints the seconds that each list took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

TOOL: Final = "instant_picture"
MODERN: Final = "2026-07-28"
PEOPLE: Final = 50
"""Sessions of the older era; each person has one."""
AT_ONCE: Final = 25
PAUSE_SECONDS: Final = 0.05
"""Between two lists of tools."""
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_PROGRESS: Final = b"notifications/progress"


class Clients:
    """Raw connections to one server."""

    def __init__(self, url: str, era: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path
        self._is_modern = era == MODERN
        self._era = era
        self._token = token
        self._sessions: list[str] = []
        self._held: list[asyncio.StreamWriter] = []
        self._places = asyncio.Semaphore(AT_ONCE)

    async def open_sessions(self) -> None:
        """Greet the server as each person, in the era that has sessions."""
        if self._is_modern:
            return
        info = {"protocolVersion": self._era, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        for _ in range(PEOPLE):
            head, _ = await self.ask({"id": 1, "method": "initialize", "params": info}, {})
            session = next(line[16:] for line in head.split("\r\n") if line.lower().startswith("mcp-session-id: "))
            self._sessions.append(session)
            await self.ask({"method": "notifications/initialized"}, {"mcp-session-id": session})

    async def hold(self, number: int) -> None:
        """Call the app, and return when the call has reported progress; it stays open."""
        async with self._places:
            arguments = {"prompt": f"a lake {number}"}
            message = self._build("tools/call", number, {"name": TOOL, "arguments": arguments})
            reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(self._format(message, self._name("tools/call", number, TOOL)))
            self._held.append(writer)
            received = b""
            while _PROGRESS not in received:
                part = await reader.read(4096)
                if not part:
                    raise RuntimeError(f"call {number} has ended: {received[:400]!r}")
                received += part
            # The rest is read and thrown away, as by a client that shows it.
            asyncio.get_running_loop().create_task(_drop(reader), name=f"call {number}")

    async def list_tools(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        """Return the seconds that a list of the tools takes on a kept connection."""
        message = self._build("tools/list", number, {})
        began = time.perf_counter()
        writer.write(self._format(message, self._name("tools/list", number, "")))
        await _read_answer(reader)
        return time.perf_counter() - began

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection(self._host, self._port)

    async def ask(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[str, bytes]:
        """Send a request on a connection of its own, and return the head and the body of the answer."""
        reader, writer = await self.connect()
        writer.write(self._format({"jsonrpc": "2.0", **message}, headers))
        head, body = await _read_answer(reader)
        writer.close()
        return head, body

    def _build(self, method: str, number: int, params: Mapping[str, Any]) -> dict[str, Any]:
        meta = {"progressToken": number, **(_META if self._is_modern else {})}
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}}

    def _name(self, method: str, number: int, name: str) -> dict[str, str]:
        if not self._is_modern:
            return {"mcp-session-id": self._sessions[number % PEOPLE], "mcp-protocol-version": self._era}
        return {"mcp-protocol-version": MODERN, "mcp-method": method, **({"mcp-name": name} if name else {})}

    def _format(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
        body = json.dumps(message).encode()
        lines = {
            "host": f"{self._host}:{self._port}",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **({"authorization": f"Bearer {self._token}"} if self._token else {}),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self._path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _drop(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _read_answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return the head and the body of an answer with a length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    if not head.startswith("HTTP/1.1 2"):
        raise RuntimeError(head)
    lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "content-length" in lines:
        return head, await reader.readexactly(int(lines["content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return head, body


async def main(url: str, era: str, calls: int, token: str) -> None:
    """Hold the calls, then list the tools until standard input ends."""
    clients = Clients(url, era, token)
    await clients.open_sessions()
    warm = 20
    async with asyncio.TaskGroup() as group:
        for number in range(warm):
            group.create_task(clients.hold(number))
    print("warm", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(warm, warm + calls):
            group.create_task(clients.hold(number))
    print(f"open {time.perf_counter() - began:.1f}", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    reader, writer = await clients.connect()
    taken: list[float] = []
    for number in range(200):
        taken.append(await clients.list_tools(100_000 + number, reader, writer))
        await asyncio.sleep(PAUSE_SECONDS)
    print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
