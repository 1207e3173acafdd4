"""Download files that a provider names: checked addresses, limits, sinks."""

import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread
import httpx2

from flowport.domain.text import clean_line
from flowport.network.causes import FetchError, describe_file_failure
from flowport.network.content_coding import BrokenCoding, Unpacker, find_unreadable_coding
from flowport.network.file_route import PORTS, HostRefused, NotConnected, Outlet, Resolve, resolve_host
from flowport.runtime.failpoints import Failpoint, trigger

HEAD_BYTES: Final = 4096
"""How much of the beginning is returned, to determine the type."""

GROUP_BYTES: Final = 512 * 1024
"""Pieces are gathered up to so many before a thread takes them: to ask one costs more than to write a small picture."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, once it is whole."""

    size_bytes: int
    content_type: str
    """What the server called it, in lower case without parameters; unverified. Empty when it said nothing."""
    head: bytes
    """The first `HEAD_BYTES` bytes."""
    sha256: str
    """Of the whole, in hexadecimal."""


class Sink(Protocol[T_co]):
    """Takes what is fetched. It is called on threads, one call after the other."""

    def write(self, piece: bytes, /) -> object:
        """Take the next piece; an OSError ends the fetch."""
        ...

    def finish(self, fetched: Fetched, /) -> T_co:
        """Return what the fetch is to return; called once, on the thread of the last `write`, when all of it came."""
        ...


class FileSink:
    """Writes to a file that is open already."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, piece: bytes, /) -> None:
        """Append a piece."""
        self._file.write(piece)

    def finish(self, fetched: Fetched, /) -> Fetched:
        """Return what was fetched; the file stays open."""
        return fetched


class BufferedSink(Generic[T]):
    """One body that is being received. Mutable; each thread job has the pieces of before to itself."""

    def __init__(self, sink: Sink[T], threads: anyio.CapacityLimiter) -> None:
        self._sink = sink
        self._threads = threads
        self._digest = hashlib.sha256()
        self._head = b""
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self.size_bytes = 0
        """Of what was added so far."""

    async def add(self, piece: bytes) -> None:
        """Take a piece; write it with those before it once they are enough."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        self.size_bytes += len(piece)
        if self._waiting_bytes >= GROUP_BYTES:
            await anyio.to_thread.run_sync(self._write, limiter=self._threads)

    async def finish(self, content_type: str) -> T:
        """Write the rest, and return the sink's result."""
        # Not abandoned when cancelled: a file that is half written must be closed and removed by who writes it.
        return await anyio.to_thread.run_sync(self._finish, content_type, limiter=self._threads)

    def _write(self) -> None:
        for piece in self._pieces:
            self._digest.update(piece)
            self._head += piece[: HEAD_BYTES - len(self._head)]
            self._sink.write(piece)
        self._pieces.clear()
        self._waiting_bytes = 0
        trigger(Failpoint.WHILE_DOWNLOADING)

    def _finish(self, content_type: str) -> T:
        self._write()
        return self._sink.finish(Fetched(self.size_bytes, content_type, self._head, self._digest.hexdigest()))


MAX_REDIRECTS: Final = 3
_CONNECT_SECONDS: Final = 10.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({403, 404, 410})
_OK: Final = 200

BROKEN_CODING: Final = "it came compressed, and cannot be unpacked"


@dataclass(frozen=True, slots=True)
class FetchRules:
    """How far a fetch may go."""

    max_bytes: int = 1024**3
    trusted_origins: frozenset[str] = frozenset()
    """Origins that may be http and on this computer: `http://127.0.0.1:4567`, lower case, without a default port."""
    total_timeout_seconds: float = 300.0
    """For everything together, redirects included."""
    read_timeout_seconds: float = 30.0
    """For the next piece to arrive."""


class Fetcher:
    """Owns the connections of all fetches; made once, closed with `aclose`."""

    def __init__(
        self,
        *,
        file_threads: anyio.CapacityLimiter,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
        api_hosts: Collection[str] = (),
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            file_threads: Bounds the threads that write files.
            resolve: Answers where a host is.
            ssl_context: How servers prove who they are; None for the trust store of every connection.
            api_hosts: See `Outlet`.
        """
        self._file_threads = file_threads
        self.outlet = Outlet(resolve=resolve, ssl_context=ssl_context, api_hosts=api_hosts)

    async def aclose(self) -> None:
        """Close all connections; fetches under way fail."""
        await self.outlet.aclose()

    async def fetch_to_file(self, url: str, destination: BinaryIO, *, rules: FetchRules) -> Fetched:
        """Write what lies at the URL to the destination, piece by piece, and return what it was; raises as `fetch`."""
        return await self.fetch(url, FileSink(destination), rules=rules)

    async def fetch(self, url: str, sink: Sink[T], *, rules: FetchRules) -> T:
        """Download the URL into the sink and return the sink's result.

        Raises:
            FetchError: It cannot or may not be fetched; the sink may have received a part.
            OSError: The sink cannot write.
        """
        place = "an unreadable address"
        try:
            first = httpx2.URL(url)
            place = _get_place(first)
            with anyio.fail_after(rules.total_timeout_seconds):
                async with self._open(first, rules) as response:
                    return await self._receive(response, place, sink, rules)
        except TimeoutError as exc:
            raise FetchError(place, f"it took longer than {rules.total_timeout_seconds:g} seconds") from exc
        except NotConnected as exc:
            raise FetchError(place, str(exc)) from exc
        # ValueError: the HTTP library lets it out for some malformed addresses.
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, httpx2.CookieConflict, ValueError) as exc:
            raise FetchError(place, describe_file_failure(exc)) from exc

    async def hand_over(self, read: Callable[[], bytes], sink: Sink[T]) -> T:
        """Pass bytes that are local already to the sink, as if they had been downloaded; they are read on a thread.

        Raises:
            OSError: The sink cannot write.
        """
        body = BufferedSink(sink, self._file_threads)
        await body.add(await anyio.to_thread.run_sync(read, limiter=self._file_threads))
        return await body.finish("")

    @contextlib.asynccontextmanager
    async def _open(self, first: httpx2.URL, rules: FetchRules) -> AsyncIterator[httpx2.Response]:
        """Yield the answer at the end of the redirects."""
        url = first
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(url, first, rules)
            try:
                if response.status_code not in _REDIRECTS:
                    _check_answer(response, _get_place(url), rules)
                    yield response
                    return
                url = url.join(response.headers.get("location", ""))
            finally:
                # Shielded: a cancelled fetch must give its connection back too.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        raise FetchError(_get_place(first), f"it redirects more than {MAX_REDIRECTS} times")

    async def _send(self, url: httpx2.URL, first: httpx2.URL, rules: FetchRules) -> httpx2.Response:
        """Return the answer of this hop, or refuse it."""
        # A redirect reaches a trusted origin from that origin alone.
        origin = _get_origin(url)
        is_trusted = origin in rules.trusted_origins and origin == _get_origin(first)
        if problem := _find_url_problem(url, is_trusted=is_trusted):
            raise FetchError(_get_place(url), problem, is_refused=True)
        try:
            way = await self.outlet.find_way(url, is_trusted=is_trusted)
            return await self.outlet.send(way, lambda host: _build_request(url, host, rules))
        except HostRefused as exc:
            raise FetchError(_get_place(url), str(exc)) from exc

    async def _receive(self, response: httpx2.Response, place: str, sink: Sink[T], rules: FetchRules) -> T:
        """Receive the body; check its length against the limit and against the announced length."""
        body, received_bytes = BufferedSink(sink, self._file_threads), 0
        unpacker = Unpacker(response.headers.get("content-encoding", ""))
        async with contextlib.aclosing(response.aiter_raw()) as pieces:
            async for piece in pieces:
                received_bytes += len(piece)
                for unpacked in _unpack(unpacker, piece, place):
                    if body.size_bytes + len(unpacked) > rules.max_bytes:
                        raise FetchError(place, _describe_too_large(rules), is_refused=True)
                    await body.add(unpacked)
        if _get_promised_bytes(response) not in {None, received_bytes}:
            raise FetchError(place, "it is not as long as its server said")
        if not unpacker.is_whole:
            raise FetchError(place, BROKEN_CODING)
        return await body.finish(response.headers.get("content-type", "").partition(";")[0].strip().lower())


def _unpack(unpacker: Unpacker, piece: bytes, place: str) -> Iterator[bytes]:
    try:
        yield from unpacker.feed(piece)
    except BrokenCoding as exc:
        raise FetchError(place, BROKEN_CODING) from exc


def _get_place(url: httpx2.URL) -> str:
    return clean_line(url.raw_host.decode("ascii")) or "an address without a host"


def _get_origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _find_url_problem(url: httpx2.URL, *, is_trusted: bool) -> str:
    """Return what forbids asking this URL, or nothing."""
    if url.userinfo:
        return "its address holds a user name or password"
    if is_trusted:
        return ""
    if url.scheme != "https":
        return "its address is not an https one"
    if not url.raw_host:
        return "its address names no host"
    return "" if url.port in PORTS else "its address names an unusual port"


def _build_request(url: httpx2.URL, host: str, rules: FetchRules) -> httpx2.Request:
    """Return a request that connects to an address, or to the name where a proxy resolves it, with the name as its host."""
    seconds = rules.read_timeout_seconds
    return httpx2.Request(
        "GET",
        url.copy_with(host=host),
        headers={
            "Host": url.netloc.decode("ascii"),
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "flowport",
        },
        extensions={"timeout": {"connect": _CONNECT_SECONDS, "read": seconds, "write": seconds, "pool": seconds}},
    )


def _check_answer(response: httpx2.Response, place: str, rules: FetchRules) -> None:
    """Refuse an answer whose body is not worth reading."""
    status = response.status_code
    if status in _GONE:
        raise FetchError(place, f"its link is no longer good (HTTP {status})", is_expired=True)
    if status != _OK:
        raise FetchError(place, f"its server answered HTTP {status}")
    if unreadable := find_unreadable_coding(response.headers.get("content-encoding", "")):
        raise FetchError(place, f"its server sent it compressed ({unreadable}), though it was not asked to")
    if (_get_promised_bytes(response) or 0) > rules.max_bytes:
        raise FetchError(place, _describe_too_large(rules), is_refused=True)


def _get_promised_bytes(response: httpx2.Response) -> int | None:
    """Return the length that the server announced, or None; the HTTP library lets only numbers through."""
    length = response.headers.get("content-length")
    return None if length is None else int(length)


def _describe_too_large(rules: FetchRules) -> str:
    return f"it is larger than {rules.max_bytes / 1024**2:.4g} MB, the most that is taken"
