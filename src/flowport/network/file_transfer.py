"""Transfer files between this machine and addresses that a provider names, without our key.

The address is untrusted: https, a usual port, and a host that `file_route` lets through. A trusted origin is exempt by its
exact name. Downloads are bounded and follow few redirects. Uploads follow none; the file is read as it is sent, and what
was sent is compared with what was meant.
"""

import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread
import httpx2

from flowport.domain.text import clean_line
from flowport.media.sources import CHUNK_BYTES, Fingerprint
from flowport.network.causes import FetchError, UploadError, describe_file_failure
from flowport.network.content_coding import BrokenCoding, Unpacker, find_unreadable_coding
from flowport.network.file_route import PORTS, HostRefused, NotConnected, Outlet, Resolve, resolve_host
from flowport.providers.interface import UploadPlace
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

    def finish(self, fetched: Fetched, /) -> T_co:
        """Return what the fetch is to return; called once, on the thread of the last `write`, when all of it came."""


@dataclass(frozen=True, slots=True)
class FileSink:
    """Writes to a file that is open already."""

    file: BinaryIO

    def write(self, piece: bytes, /) -> None:
        """Append a piece."""
        self.file.write(piece)

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
        # Not abandoned when cancelled: the writer must close and remove a half-written file.
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
_FETCH_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({403, 404, 410})
_OK: Final = 200


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
        """Prepare; nothing is opened yet. `file_threads` bounds the threads that write files; the rest is for the outlet."""
        self._file_threads = file_threads
        self.outlet = Outlet(resolve=resolve, ssl_context=ssl_context, api_hosts=api_hosts)

    async def aclose(self) -> None:
        """Close all connections; fetches under way fail."""
        await self.outlet.aclose()

    async def fetch_to_file(self, url: str, destination: BinaryIO, *, rules: FetchRules) -> Fetched:
        """Write what lies at the URL to the destination and return what it was; raises as `fetch`."""
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
        except BrokenCoding as exc:
            raise FetchError(place, "it came compressed, and cannot be unpacked") from exc
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
            return await self.outlet.send(way, url, _FETCH_HEADERS, seconds=rules.read_timeout_seconds)
        except HostRefused as exc:
            raise FetchError(_get_place(url), str(exc)) from exc

    async def _receive(self, response: httpx2.Response, place: str, sink: Sink[T], rules: FetchRules) -> T:
        """Receive the body; check its length against the limit and against the announced length."""
        body, received_bytes = BufferedSink(sink, self._file_threads), 0
        coding = response.headers.get("content-encoding", "")
        unpacker = Unpacker(coding) if coding else None
        async with contextlib.aclosing(response.aiter_raw()) as pieces:
            async for piece in pieces:
                received_bytes += len(piece)
                for unpacked in (piece,) if unpacker is None else unpacker.feed(piece):
                    if body.size_bytes + len(unpacked) > rules.max_bytes:
                        raise FetchError(place, _describe_too_large(rules), is_refused=True)
                    await body.add(unpacked)
        if _get_promised_bytes(response) not in {None, received_bytes}:
            raise FetchError(place, "it is not as long as its server said")
        if unpacker is not None and not unpacker.is_whole:
            raise BrokenCoding
        return await body.finish(response.headers.get("content-type", "").partition(";")[0].strip().lower())


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


def _check_answer(response: httpx2.Response, place: str, rules: FetchRules) -> None:
    """Refuse an answer whose body is not worth reading."""
    status = response.status_code
    if status in _GONE:
        raise FetchError(place, f"its link is no longer good (HTTP {status})", is_expired=True)
    if status != _OK:
        raise FetchError(place, f"its server answered HTTP {status}")
    coding = response.headers.get("content-encoding", "")
    if coding and (unreadable := find_unreadable_coding(coding)):
        raise FetchError(place, f"its server sent it compressed ({unreadable}), though it was not asked to")
    if (_get_promised_bytes(response) or 0) > rules.max_bytes:
        raise FetchError(place, _describe_too_large(rules), is_refused=True)


def _describe_too_large(rules: FetchRules) -> str:
    return f"it is larger than {rules.max_bytes / 1024**2:.4g} MB, the most that is taken"


def _get_promised_bytes(response: httpx2.Response) -> int | None:
    # The HTTP library lets only numbers through.
    length = response.headers.get("content-length")
    return None if length is None else int(length)


PASSING_STATUSES: Final = frozenset({408, 425, 429})
"""Of the statuses below 500, those after which the same request may succeed."""

_PUT_SECONDS: Final = 60.0
"""For the server to take the next piece, or to answer."""

SLOWEST_BYTES_PER_SECOND: Final = 100_000
"""How slow a line may be: a place is good for a short time to begin with, and a gigabyte takes longer than that."""


class Uploader:
    """Puts files where providers take them."""

    def __init__(
        self,
        *,
        file_threads: anyio.CapacityLimiter,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        """Prepare; nothing is opened yet. The arguments are those of the fetcher, whose outlet may be shared."""
        self._file_threads = file_threads
        self._outlet = outlet or Outlet(resolve=resolve, ssl_context=ssl_context)

    async def put(
        self, place: UploadPlace, file: BinaryIO, expected: Fingerprint, *, trusted_origins: Collection[str]
    ) -> None:
        """Send the file, from its beginning, to its place.

        Raises:
            UploadError: It did not get there, or not as it was meant.
        """
        host, body = "an unreadable address", _Body(place, file, expected, self._file_threads)
        try:
            url = httpx2.URL(place.put_url)
            host = clean_line(url.host)
            with anyio.fail_after(place.put_seconds) as body.scope:
                await self._send(url, body, trusted_origins)
        except TimeoutError as exc:
            raise UploadError(host, f"it took longer than {body.seconds or place.put_seconds:g} seconds") from exc
        except (HostRefused, NotConnected) as exc:
            raise UploadError(host, str(exc)) from exc
        # ValueError: the HTTP library lets it out for some malformed addresses.
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
            raise UploadError(host, describe_file_failure(exc)) from exc
        except OSError as exc:
            raise UploadError(host, f"the file cannot be read ({exc.strerror or type(exc).__name__})") from exc

    async def _send(self, url: httpx2.URL, body: "_Body", origins: Collection[str]) -> None:
        host = clean_line(url.host)
        is_trusted = _get_origin(url) in origins
        if _find_url_problem(url, is_trusted=is_trusted):
            raise UploadError(host, "its address is not one that files are sent to", is_permanent=True)
        way = await self._outlet.find_way(url, is_trusted=is_trusted)
        headers = {**body.place.headers, "Content-Length": str(body.expected.size_bytes)}
        response = await self._outlet.send(way, url, headers, seconds=_PUT_SECONDS, iterate_body=body.iterate)
        await response.aclose()
        if not 200 <= (status := response.status_code) < 300:  # noqa: PLR2004
            is_permanent = status < 500 and status not in PASSING_STATUSES  # noqa: PLR2004
            raise UploadError(host, f"its server answered HTTP {status}", status=status, is_permanent=is_permanent)
        if body.digest.hexdigest() != body.expected.sha256:
            raise UploadError(host, "the file changed while it was sent", is_permanent=True)


def count_put_seconds(place_seconds: float, size_bytes: int) -> float:
    """Return how long sending a file may take at a place that is good for so long to begin with."""
    return place_seconds + size_bytes // SLOWEST_BYTES_PER_SECOND


@dataclass(slots=True)
class _Body:
    """A file on its way, counted and digested as it goes. Mutable."""

    place: UploadPlace
    file: BinaryIO
    expected: Fingerprint
    threads: anyio.CapacityLimiter
    seconds: float = 0.0
    """How long it may take once there is a connection; the place's own time is for reaching it."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    async def iterate(self) -> AsyncIterator[bytes]:
        """Yield the file piece by piece, from its beginning for each address that is tried, and no more than announced."""
        remaining = self.expected.size_bytes
        self.digest = hashlib.sha256()
        self.seconds = count_put_seconds(self.place.put_seconds, remaining)
        self.scope.deadline = anyio.current_time() + self.seconds
        await anyio.to_thread.run_sync(self.file.seek, 0, limiter=self.threads)
        while remaining > 0:
            chunk = await anyio.to_thread.run_sync(self.file.read, min(CHUNK_BYTES, remaining), limiter=self.threads)
            if not chunk:
                raise OSError("the file has become shorter")
            remaining -= len(chunk)
            self.digest.update(chunk)
            yield chunk
            trigger(Failpoint.DURING_UPLOAD)
