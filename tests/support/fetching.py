"""A server with prepared answers, a name service with prepared answers, and a fetcher that uses them."""

import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import anyio
import anyio.abc
import anyio.streams.tls

from flowport.network.file_route import resolve_host
from flowport.network.file_transfer import Fetched, Fetcher, FetchRules

Speak = Callable[[anyio.abc.ByteStream], Awaitable[None]]


def build_answer(body: bytes = b"", *headers: str, status: int = 200, length: str | None = None) -> bytes:
    """Return the bytes of an HTTP response; an empty length omits the header."""
    promised = str(len(body)) if length is None else length
    lines = [f"HTTP/1.1 {status} Said", *([f"Content-Length: {promised}"] if promised else []), *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """A server that answers each path with prepared bytes and records the requests."""

    def __init__(self, answers: Mapping[str, bytes | Speak]) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self.port = 0

    @property
    def origin(self) -> str:
        """Where it listens, as a trusted origin."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, stream: anyio.abc.ByteStream) -> None:
        """Read one request and answer it."""
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                request = b""
                while b"\r\n\r\n" not in request:
                    request += await stream.receive()
                self.requests.append(request.decode())
                answer = self.answers[request.split(b" ")[1].decode()]
                await (stream.send(answer) if isinstance(answer, bytes) else answer(stream))


@contextlib.asynccontextmanager
async def serving(answers: Mapping[str, bytes | Speak], tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server inside a block."""
    server = Server(answers)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    wrapped = listener if tls is None else anyio.streams.tls.TLSListener(listener, tls, standard_compatible=False)
    async with wrapped, anyio.create_task_group() as tasks:
        tasks.start_soon(wrapped.serve, server.handle)
        yield server
        tasks.cancel_scope.cancel()


class Names:
    """A name service with prepared answers, the last of which is repeated; it records the questions."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextlib.asynccontextmanager
async def fetching(
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve_host, context: ssl.SSLContext | None = None
) -> AsyncIterator[Fetcher]:
    """Open a fetcher inside a block."""
    fetcher = Fetcher(file_threads=anyio.CapacityLimiter(2), resolve=resolve, ssl_context=context)
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def fetch(server: Server, path: str = "/", rules: FetchRules | None = None) -> tuple[Fetched, bytes]:
    """Fetch one path of a trusted server into memory."""
    trusted = frozenset({server.origin})
    rules = FetchRules(trusted_origins=trusted) if rules is None else rules
    written = io.BytesIO()
    async with fetching() as fetcher:
        return await fetcher.fetch_to_file(server.origin + path, written, rules=rules), written.getvalue()
