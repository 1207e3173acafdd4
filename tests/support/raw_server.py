"""A server on the loopback interface that sends prepared bytes and records the requests."""

import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum, auto

import anyio
import anyio.abc
import anyio.streams.tls

_READ_ERRORS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Ending(Enum):
    """What the server does after it sent its bytes."""

    KEEP = auto()
    """Wait for the next request on the connection."""
    CLOSE = auto()
    RESET = auto()
    """Reset the connection, as a crashing machine does."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request, and what happens to the connection."""

    data: bytes = b""
    ending: Ending = Ending.KEEP


def build_reply(
    body: bytes = b"{}", *headers: str, status: int = 200, length: int | None = None, ending: Ending = Ending.KEEP
) -> Reply:
    """Return an HTTP response; `length` overrides its Content-Length."""
    promised = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {promised}", *headers, "", ""]
    return Reply("\r\n".join(lines).encode() + body, ending)


class RawServer:
    """The server; `answer` may be replaced while it runs."""

    def __init__(self, answer: Callable[[str], Reply]) -> None:
        self.answer = answer
        """Returns the reply to a request, given its head as text."""
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.open_connections = 0
        self.origin = ""

    async def handle(self, stream: anyio.abc.ByteStream) -> None:
        """Serve one connection until it ends."""
        self.connections += 1
        self.open_connections += 1
        try:
            async with stream:
                with contextlib.suppress(*_READ_ERRORS):
                    while await self._serve_request(stream):
                        pass
        finally:
            self.open_connections -= 1

    async def _serve_request(self, stream: anyio.abc.ByteStream) -> bool:
        head, body = await _read_request(stream)
        self.heads.append(head)
        self.bodies.append(body)
        reply = self.answer(head)
        await stream.send(reply.data)
        if reply.ending is Ending.RESET:
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return reply.ending is Ending.KEEP


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[str], Reply] | Reply, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Run a server inside a block; a single reply is sent to each request."""
    server = RawServer((lambda _: answer) if isinstance(answer, Reply) else answer)
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = plain.extra(anyio.abc.SocketAttribute.local_port)
    listener = plain if tls is None else anyio.streams.tls.TLSListener(plain, tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        server.origin = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        tasks.start_soon(listener.serve, server.handle)
        yield server
        tasks.cancel_scope.cancel()


async def find_closed_origin() -> str:
    """Return an address on this machine at which no program listens."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        return f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"


async def _read_request(stream: anyio.abc.ByteStream) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode()
    lengths = [line for line in text.lower().split("\r\n") if line.startswith("content-length:")]
    while lengths and len(body) < int(lengths[0].partition(":")[2]):
        body += await stream.receive()
    return text, body
