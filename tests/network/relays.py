"""Proxies on the loopback: HTTP with CONNECT, and SOCKS 5. Each resolves every name to one port of this machine."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.raw_server import RawServer

Answer: TypeAlias = bytes | None
"""What a proxy says in the place of making a connection; None to make it."""


@dataclass
class Relay:
    """A proxy that runs."""

    target_port: int
    """Where every connection leads."""
    scheme: str
    refusal: Answer = None
    credentials: str = ""
    """`user:password`, when they are wanted."""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """The targets, as `host:port`, in order."""
    heads: list[str] = field(default_factory=list)
    """Of HTTP proxies: what they were asked, with all headers."""

    @property
    def url(self) -> str:
        """Its address, as a variable would name it."""
        userinfo = f"{self.credentials}@" if self.credentials else ""
        return f"{self.scheme}://{userinfo}127.0.0.1:{self.port}"

    @property
    def place(self) -> str:
        """Its address without credentials, as an error may show it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def open_http_proxy(
    target: RawServer | int,
    *,
    refusal: Answer = None,
    credentials: str = "",
    tls: ssl.SSLContext | None = None,
    wanted: str = "",
) -> AsyncIterator[Relay]:
    """Run an HTTP proxy for the length of a block.

    Args:
        refusal: What it answers instead of making the connection; empty to hang up.
        credentials: What `url` holds.
        wanted: The credentials that it accepts; empty for those of `url`.
    """
    relay = Relay(_get_port(target), "http" if tls is None else "https", refusal, credentials)
    accepted = wanted or credentials

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        relay.heads.append(head)
        relay.asked.append(head.split(" ")[1])
        if relay.refusal is not None:
            writer.write(relay.refusal)
            return
        if accepted and f"basic {_encode(accepted)}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _join((reader, writer), relay.target_port)

    async with _serving(relay, handle, tls):
        yield relay


@asynccontextmanager
async def open_socks_proxy(
    target: RawServer | int, *, refusal: Answer = None, reply: int = 0, credentials: str = "", wanted: str = ""
) -> AsyncIterator[Relay]:
    """Run a SOCKS 5 proxy for the length of a block.

    Args:
        refusal: What it answers to the greeting, in the place of a handshake; empty to hang up.
        reply: Its answer to the request for a connection; 0 makes one.
        credentials: What `url` holds.
        wanted: The credentials that it asks for; empty for those of `url`.
    """
    relay = Relay(_get_port(target), "socks5h", refusal, credentials)
    accepted = wanted or credentials

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        if relay.refusal is not None:
            writer.write(relay.refusal)
            return
        method = 2 if accepted else 0
        if method not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, method)))
        if accepted:
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            is_right = f"{user.decode()}:{password.decode()}" == accepted
            writer.write(bytes((1, not is_right)))
            if not is_right:
                return
        *_, kind = await reader.readexactly(4)
        assert kind == 3, "a name, not an address, is what the proxy must resolve"
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        relay.asked.append(f"{host}:{int.from_bytes(await reader.readexactly(2))}")
        writer.write(bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0)))
        if not reply:
            await _join((reader, writer), relay.target_port)

    async with _serving(relay, handle, None):
        yield relay


@asynccontextmanager
async def open_tls_front(port: int, tls: ssl.SSLContext, *, host: str = "") -> AsyncIterator[Relay]:
    """Run a server that takes secure connections and carries them, decrypted, to a port of this machine.

    Args:
        host: Its name, in the place of which the server behind it receives the name of this machine.
    """
    relay, spoken = Relay(port, "https"), f"Host: {host}\r\n".encode()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        await _join((reader, writer), port, lambda data: data.replace(spoken, f"Host: 127.0.0.1:{port}\r\n".encode()))

    async with _serving(relay, handle, tls):
        yield relay


def _get_port(target: RawServer | int) -> int:
    return target if isinstance(target, int) else int(target.origin.rpartition(":")[2])


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@asynccontextmanager
async def _serving(
    relay: Relay,
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None,
) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # A stream's server reports a handler that was cancelled as an error.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handle(reader, writer)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _keep(data: bytes) -> bytes:
    return data


async def _join(client: Stream, port: int, change: Callable[[bytes], bytes] = _keep) -> None:
    """Carry bytes both ways until either side ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        ways = [
            asyncio.ensure_future(_carry(client[0], writer, change)),
            asyncio.ensure_future(_carry(reader, client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    finally:
        writer.close()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes] = _keep
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(change(data))
            await writer.drain()
