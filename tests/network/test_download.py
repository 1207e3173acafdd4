"""What the fetcher sends and takes, against servers on 127.0.0.1 that lie, stall and never end."""

import hashlib
import io
import threading
import tracemalloc
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import anyio.streams.tls
import httpcore2
import httpx2
import pytest

from flowport.network.causes import FetchError, describe_file_failure
from flowport.network.file_transfer import HEAD_BYTES, Fetched, FetchRules
from tests.support.fetching import Names, Speak, build_answer, fetch, fetching, serving

BODY = b"\x89PNG\r\n\x1a\n" + bytes(6000)


async def test_a_file_is_written_and_described() -> None:
    """The caller learns size, type, beginning and digest without reading the file again."""
    async with serving({"/": build_answer(BODY, "Content-Type: Image/PNG; q=1")}) as server:
        fetched, written = await fetch(server)
    assert written == BODY
    assert fetched == Fetched(len(BODY), "image/png", BODY[:HEAD_BYTES], hashlib.sha256(BODY).hexdigest())


async def test_an_empty_file_and_one_without_a_type_are_reported_as_they_are() -> None:
    """What the server does not say is not invented."""
    async with serving({"/": build_answer()}) as server:
        fetched, written = await fetch(server)
    assert (fetched.size_bytes, fetched.content_type, fetched.head, written) == (0, "", b"", b"")


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """HTTP/1.1 allows it, and there is nothing to hold it against."""
    async with serving({"/": build_answer(b"whole", length="")}) as server:
        assert (await fetch(server))[1] == b"whole"


async def test_path_and_query_arrive_as_they_were_written() -> None:
    """Signed links break when an escape is written again."""
    path = "/a%2Fb/%7Ec/ü?token=exp_1~hmac_a+b%3D%3D&x=/%20"
    wire = "/a%2Fb/%7Ec/%C3%BC?token=exp_1~hmac_a+b%3D%3D&x=/%20"
    async with serving({wire: build_answer(b"ok")}) as server:
        assert (await fetch(server, path))[1] == b"ok"


async def test_no_key_cookie_or_want_for_packed_bodies_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only these four headers leave, and a proxy from the environment plays no part."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    answers = {
        "/": build_answer(b"", "Location: /next", "Set-Cookie: a=b; Path=/", status=302),
        "/next": build_answer(b"ok"),
    }
    async with serving(answers) as server:
        await fetch(server)
    sent = [line.partition(":")[0].lower() for line in server.requests[1].splitlines()[1:] if line]
    assert sorted(sent) == ["accept", "accept-encoding", "host", "user-agent"]
    assert "Accept-Encoding: identity" in server.requests[1]


async def send_forever(stream: anyio.abc.ByteStream) -> None:
    """Answer with a body that has no end."""
    await stream.send(build_answer(length=""))
    while True:
        await stream.send(bytes(65536))


async def fall_silent(stream: anyio.abc.ByteStream) -> None:
    """Answer with the beginning of a body, and nothing more."""
    await stream.send(build_answer(b"begun", length="100"))
    await anyio.sleep_forever()


ODD_ANSWERS: list[tuple[bytes | Speak, str]] = [
    (build_answer(b"four", length="5"), "not valid HTTP"),
    (build_answer(b"four", length="-4"), "not valid HTTP"),
    (build_answer(b"four", "Content-Length: 7"), "not valid HTTP"),
    (build_answer(b"four", length="1" * 20), "larger than"),
    (build_answer(b"four", length="1" * 5000), "not valid HTTP"),
    (build_answer(b"four", length="2000000"), "larger than"),
    (build_answer(b"4\r\nfour\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length="3"), "not as long"),
    (build_answer(b"zz\r\nfour\r\n", "Transfer-Encoding: chunked", length=""), "not valid HTTP"),
    (build_answer(b"four", "Content-Encoding: gzip"), "compressed"),
    (build_answer(b"four", "Content-Encoding: identity, br"), "compressed"),
    (build_answer(b"four", "X: " + "x" * 200_000), "not valid HTTP"),
    (b"hello\r\n\r\n", "not valid HTTP"),
    (b"", "not valid HTTP"),
    (send_forever, "larger than 1 MB"),
    (build_answer(status=204, length=""), "HTTP 204"),
    (build_answer(b"part", status=206), "HTTP 206"),
    (build_answer(status=304), "HTTP 304"),
    (build_answer(status=401), "HTTP 401"),
    (build_answer(status=500), "HTTP 500"),
]


@pytest.mark.parametrize(("answer", "problem"), ODD_ANSWERS, ids=range(len(ODD_ANSWERS)))
async def test_an_answer_that_lies_or_never_ends_is_given_up(answer: bytes | Speak, problem: str) -> None:
    """A saved output is whole and what its server promised, or it is not saved."""
    async with serving({"/": answer}) as server:
        rules = FetchRules(max_bytes=1024**2, trusted_origins=frozenset({server.origin}))
        with pytest.raises(FetchError, match=problem) as caught:
            await fetch(server, rules=rules)
    assert (caught.value.place, caught.value.is_expired) == ("127.0.0.1", False)
    assert caught.value.is_refused == ("larger" in problem)


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_dead_link_is_reported_from_a_broken_server(status: int) -> None:
    """The run can be read again for a fresh link; a broken server can only be waited for."""
    async with serving({"/?token=secret": build_answer(status=status)}) as server:
        with pytest.raises(FetchError) as caught:
            await fetch(server, "/?token=secret")
    assert caught.value.is_expired
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("total_seconds", "read_seconds", "problem"), [(0.05, 30, "longer than 0.05"), (30, 0.05, "no answer came in time")]
)
async def test_a_server_that_falls_silent_is_given_up(total_seconds: float, read_seconds: float, problem: str) -> None:
    """A fetch holds a place among the fetches, so it has an end."""
    async with serving({"/": fall_silent}) as server:
        rules = FetchRules(
            trusted_origins=frozenset({server.origin}),
            total_timeout_seconds=total_seconds,
            read_timeout_seconds=read_seconds,
        )
        with pytest.raises(FetchError, match=problem):
            await fetch(server, rules=rules)


async def test_a_cancelled_fetch_gives_its_connection_back() -> None:
    """Otherwise twenty impatient callers would stop all fetching."""
    is_asked = anyio.Event()

    async def answer(stream: anyio.abc.ByteStream) -> None:
        """Fall silent, and let the caller go."""
        is_asked.set()
        await fall_silent(stream)

    async with serving({"/": answer}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(fetcher.fetch_to_file, f"{server.origin}/", io.BytesIO(), rules=rules))
            await is_asked.wait()
            tasks.cancel_scope.cancel()
        (transport,) = fetcher.outlet._transports.values()
        assert isinstance(transport._pool, httpcore2.AsyncConnectionPool)
        assert transport._pool.connections == []


class Keeper:
    """A server of kept connections, each of which answers so many requests and then closes without a word."""

    def __init__(self, answers_each: int) -> None:
        self.answers_each = answers_each
        self.requests: list[int] = []
        """By connection, how many requests came over it."""

    async def speak(self, stream: anyio.abc.ByteStream) -> None:
        """Answer the request that was read, and those that follow it."""
        place = len(self.requests)
        self.requests.append(1)
        while self.requests[place] <= self.answers_each:
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            try:
                await stream.receive()
            except anyio.EndOfStream:
                return
            self.requests[place] += 1


async def fetch_each(keeper: Keeper, *hosts: str) -> None:
    """Fetch a file from each host, one after the other; they have one address."""
    async with serving({"/": keeper.speak}) as server, fetching(Names(["127.0.0.1"])) as fetcher:
        origins = [f"http://{host}:{server.port}" for host in hosts]
        for origin in origins:
            written = io.BytesIO()
            rules = FetchRules(trusted_origins=frozenset(origins))
            await fetcher.fetch_to_file(f"{origin}/", written, rules=rules)
            assert written.getvalue() == b"ok"


async def test_a_connection_is_kept_for_the_next_file_of_its_host() -> None:
    """The pool knows them by address, while the certificate was verified for a name: two names share none."""
    keeper = Keeper(answers_each=9)
    await fetch_each(keeper, "a.example", "a.example", "b.example", "a.example")
    assert keeper.requests == [3, 1]


async def test_a_kept_connection_that_was_closed_is_replaced_by_a_new_one() -> None:
    """Servers close idle connections at any moment, also as the next request arrives."""
    keeper = Keeper(answers_each=1)
    await fetch_each(keeper, "a.example", "a.example")
    assert keeper.requests == [2, 1]


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    """Whether the same request may succeed later is for the caller to decide."""
    keeper = Keeper(answers_each=0)
    async with serving({"/": keeper.speak}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        with pytest.raises(FetchError):
            await fetcher.fetch_to_file(f"{server.origin}/", io.BytesIO(), rules=rules)
    assert keeper.requests == [1]


async def test_a_full_disk_is_not_blamed_on_the_server() -> None:
    """The operator must act, so the error stays what it is."""

    class FullDisk(io.BytesIO):
        """Takes nothing."""

        def write(self, _: object) -> int:
            """Fail."""
            raise OSError(28, "No space left on device")

    async with serving({"/": build_answer(b"ok")}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        with pytest.raises(OSError, match="No space left"):
            await fetcher.fetch_to_file(f"{server.origin}/", FullDisk(), rules=rules)


async def test_files_are_written_on_a_thread() -> None:
    """A slow disk must not stop the answers to everybody else."""
    threads = set()

    class Watched(io.BytesIO):
        """Remembers who writes."""

        def write(self, chunk: bytes) -> int:  # type: ignore[override]  # narrower than any buffer, as the fetcher is
            """Write as usual."""
            threads.add(threading.get_ident())
            return super().write(chunk)

    async with serving({"/": build_answer(b"ok")}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        await fetcher.fetch_to_file(f"{server.origin}/", Watched(), rules=rules)
    assert threads
    assert threading.get_ident() not in threads


async def test_a_large_file_passes_through_a_small_memory(tmp_path: Path) -> None:
    """Videos are streamed to the disk; nothing holds more than a few pieces of them."""
    size_bytes = 24 * 1024**2

    async def send_much(stream: anyio.abc.ByteStream) -> None:
        """Answer with zeros."""
        await stream.send(build_answer(length=str(size_bytes)))
        for _ in range(size_bytes // 65536):
            await stream.send(bytes(65536))

    async with serving({"/": send_much, "/small": build_answer(b"ok")}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        await fetcher.fetch_to_file(f"{server.origin}/small", io.BytesIO(), rules=rules)
        tracemalloc.start()
        with (tmp_path / "large").open("wb") as file:
            fetched = await fetcher.fetch_to_file(f"{server.origin}/", file, rules=rules)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert fetched.size_bytes == size_bytes == (tmp_path / "large").stat().st_size
    assert peak_bytes < 3 * 1024**2


async def test_closing_a_fetcher_that_fetched_nothing_is_harmless() -> None:
    """Most sessions end without a single output."""
    async with fetching() as fetcher:
        assert fetcher.outlet.is_unused


def test_a_file_fails_for_the_same_reasons_as_a_request_in_words_of_its_own() -> None:
    """One table of causes serves lists, starts, downloads and uploads; no one configured the address of a file."""
    assert describe_file_failure(httpx2.ReadTimeout("x")) == "no answer came in time"
    assert describe_file_failure(httpx2.ConnectTimeout("x")) == "the connection took too long to make"
    assert describe_file_failure(httpx2.RemoteProtocolError("x")) == "its server's answer was not valid HTTP"
    malformed = {describe_file_failure(error) for error in (httpx2.InvalidURL("x"), ValueError(), UnicodeError())}
    assert malformed == {"its address is malformed"}
    assert describe_file_failure(httpx2.StreamClosed()) == "the connection broke off"
