"""The one fetcher, against servers on 127.0.0.1 that lie, stall, redirect and name places they should not."""

import contextlib
import datetime as dt
import hashlib
import io
import ssl
import threading
import tracemalloc
from pathlib import Path

import anyio
import anyio.abc
import anyio.streams.tls
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flowport.errors import FetchError
from flowport.fetch import (
    MAX_REDIRECTS,
    FetchRules,
    _build_request,
    _describe,
    _get_problems,
    _Target,
    is_public_address,
    resolve_host,
)
from flowport.receiving import HEAD_BYTES, Fetched
from tests.fetching import Names, Server, Speak, build_answer, fetching, serving

BODY = b"\x89PNG\r\n\x1a\n" + bytes(6000)


async def fetch(server: Server, path: str = "/", rules: FetchRules | None = None) -> tuple[Fetched, bytes]:
    """Fetch one path of a trusted server into memory."""
    trusted = frozenset({server.origin})
    rules = FetchRules(trusted_origins=trusted) if rules is None else rules
    written = io.BytesIO()
    async with fetching() as fetcher:
        return await fetcher.fetch_to_file(server.origin + path, written, rules=rules), written.getvalue()


async def refuse(url: str, *addresses: str, rules: FetchRules | None = None) -> FetchError:
    """Return the error of a fetch that must not succeed; without addresses the real name service is asked."""
    async with fetching(Names(addresses) if addresses else resolve_host) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch_to_file(url, io.BytesIO(), rules=rules or FetchRules())
        assert fetcher._transport is None, "nothing may be connected to"
    return caught.value


async def test_a_file_is_written_and_described() -> None:
    """The caller learns size, type, beginning and digest without reading the file again."""
    async with serving({"/": build_answer(BODY, "Content-Type: Image/PNG; q=1")}) as server:
        fetched, written = await fetch(server)
    assert written == BODY
    assert fetched == Fetched(len(BODY), "image/png", BODY[:HEAD_BYTES], hashlib.sha256(BODY).hexdigest())


async def test_an_empty_file_and_one_without_a_type_are_told_as_they_are() -> None:
    """What the server does not say is not invented."""
    async with serving({"/": build_answer()}) as server:
        fetched, written = await fetch(server)
    assert (fetched.size_bytes, fetched.content_type, fetched.head, written) == (0, "", b"", b"")


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """HTTP/1.1 allows it, and there is nothing to hold it against."""
    async with serving({"/": build_answer(b"whole", length="")}) as server:
        assert (await fetch(server))[1] == b"whole"


async def test_path_and_query_arrive_as_they_were_written() -> None:
    """Signed links break when an escape is written anew."""
    path = "/a%2Fb/%7Ec/ü?token=exp_1~hmac_a+b%3D%3D&x=/%20"
    wire = "/a%2Fb/%7Ec/%C3%BC?token=exp_1~hmac_a+b%3D%3D&x=/%20"
    async with serving({wire: build_answer(b"ok")}) as server:
        assert (await fetch(server, path))[1] == b"ok"


async def test_no_key_cookie_or_wish_for_packed_bodies_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_the_name_service_is_asked_once_for_each_hop() -> None:
    """An answer that changes between check and connection must have no chance to be used."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with serving({"/": build_answer(b"ok")}) as server, fetching(names) as fetcher:
        origin = f"http://changing.test:{server.port}"
        rules = FetchRules(trusted_origins=frozenset({origin}))
        await fetcher.fetch_to_file(f"{origin}/", io.BytesIO(), rules=rules)
    assert names.asked == [("changing.test", server.port)]
    assert f"Host: changing.test:{server.port}" in server.requests[0]


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_a_request_goes_to_the_checked_address_and_speaks_to_the_name(address: str) -> None:
    """The connection follows the URL; the certificate is verified for the name."""
    target = _Target(httpx2.URL("https://cdn.example/a%2Fb?t=%3D#part"), "cdn.example", (address,))
    request = _build_request(target, address, FetchRules())
    assert request.url.raw_host.decode() == address
    assert request.url.raw_path == b"/a%2Fb?t=%3D"
    assert request.headers["host"] == "cdn.example"
    assert request.extensions["sni_hostname"] == "cdn.example"


async def test_the_next_address_is_tried_when_the_first_cannot_be_reached() -> None:
    """Many hosts name an IPv6 address first, and many networks have no IPv6."""
    names = Names(["::1", "127.0.0.1"])
    async with serving({"/": build_answer(b"ok")}) as server, fetching(names) as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        assert (await fetcher.fetch_to_file(f"{server.origin}/", io.BytesIO(), rules=rules)).size_bytes == 2


async def test_a_server_that_is_not_there_is_a_failed_connection() -> None:
    """The last address has no other to fall back on."""
    async with serving({}) as server:
        pass
    with pytest.raises(FetchError, match="no secure connection"):
        await fetch(server)


def build_certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server that proves to be `name`, and of a client that believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM)
    private = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(secret + text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=text.decode())


@pytest.mark.parametrize(("asked", "is_fetched"), [("cdn.test", True), ("other.test", False)])
async def test_the_certificate_is_verified_for_the_name(asked: str, is_fetched: bool, tmp_path: Path) -> None:
    """Connecting by address must not loosen what TLS promises."""
    server_side, client_side = build_certificate("cdn.test", tmp_path)
    names, answers = Names(["127.0.0.1"]), {"/": build_answer(b"ok")}
    async with serving(answers, server_side) as server, fetching(names, client_side) as fetcher:
        origin = f"https://{asked}:{server.port}"
        rules = FetchRules(trusted_origins=frozenset({origin}))
        expected = contextlib.nullcontext() if is_fetched else pytest.raises(FetchError, match="no secure connection")
        with expected:
            await fetcher.fetch_to_file(f"{origin}/", io.BytesIO(), rules=rules)
    assert len(server.requests) == is_fetched


HOSTILE_URLS = [
    "",
    "cat.png",
    "/etc/passwd",
    "http://example.com/cat.png",
    "HTTP://example.com/cat.png",
    "ftp://example.com/cat.png",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "https://",
    "https:///etc/passwd",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com:22/",
    "https://example.com:80/",
    "https://example.com:6379/",
    "https://example.com:99999/",
    "https://example.com:port/",
    "https://exa mple.com/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/latest/meta-data",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://localhost/",
    "https://LOCALHOST:8443/",
    "https://localhost./",
    "https://127.0.0.1#@example.com/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/admin",
    "https://169.254.169.254/latest/meta-data",
    "https://100.100.100.200/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://①②⑦.⓪.⓪.①/",
    "https://\ud800.example/",
    "https://" + "a" * 300 + ".example/",
    "https://example.com/\r\nX-Evil: 1",
    "https://example.com/" + "a" * 70_000,
]


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=lambda url: ascii(url)[:50])
async def test_a_hostile_url_is_refused_before_any_connection(url: str) -> None:
    """Whoever wrote the URL must not be able to send this computer to its own network."""
    problem = await refuse(url)
    assert "secret" not in str(problem)
    assert "meta-data" not in str(problem)


PUBLIC = ["93.184.216.34", "1.1.1.1", "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001:81b::200e"]
CLOSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.216.34",
    "64:ff9b::5db8:d822",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:5db8:d822::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "example.com",
    "1.1.1.1.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    """Providers' storage lies there."""
    assert is_public_address(address)


@pytest.mark.parametrize("address", CLOSED)
async def test_a_name_that_leads_to_a_closed_address_is_refused(address: str) -> None:
    """Anybody can let a name of theirs point anywhere, and one bad address among good ones is enough."""
    assert not is_public_address(address)
    assert "public internet" in (await refuse("https://cdn.example/", "93.184.216.34", address)).problem


async def test_a_name_without_addresses_is_refused() -> None:
    """An empty answer of the name service proves nothing about the host."""
    async with fetching(Names([])) as fetcher:
        with pytest.raises(FetchError, match="has no address"):
            await fetcher.fetch_to_file("https://cdn.example/", io.BytesIO(), rules=FetchRules())


@pytest.mark.parametrize("problem", [OSError("no such host"), UnicodeError("label too long")])
async def test_a_name_that_cannot_be_resolved_is_refused(problem: Exception) -> None:
    """The name service is foreign too, so its errors are translated."""
    async with fetching(Names(problem)) as fetcher:
        with pytest.raises(FetchError, match="not known to the name service"):
            await fetcher.fetch_to_file("https://cdn.example/", io.BytesIO(), rules=FetchRules())


HOSTILE_LOCATIONS = [
    "http://127.0.0.1:1/",
    "//127.0.0.1:1/",
    "http://localhost:{port}/next",
    "http://127.1:{port}/next",
    "https://127.0.0.1:{port}/next",
    "http://user@127.0.0.1:{port}/next",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://169.254.169.254/",
    "http://169.254.169.254/",
    "http://example.com/",
    "https://example.com:22/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "https://[bad",
    "https:///",
]


@pytest.mark.parametrize("location", HOSTILE_LOCATIONS)
async def test_a_redirect_to_a_hostile_place_is_refused(location: str) -> None:
    """Each hop is checked like the first one, and trust ends at the exact origin."""
    answers: dict[str, bytes | Speak] = {}
    async with serving(answers) as server:
        answers["/"] = build_answer(b"", f"Location: {location.format(port=server.port)}", status=302)
        with pytest.raises(FetchError):
            await fetch(server)
    assert len(server.requests) == 1


async def test_a_redirect_does_not_reach_another_trusted_origin() -> None:
    """Being trusted for one's own files is no licence to send us to a neighbour."""
    answers: dict[str, bytes | Speak] = {}
    async with serving({"/": build_answer(b"ok")}) as other, serving(answers) as server:
        answers["/"] = build_answer(b"", f"Location: {other.origin}/", status=307)
        rules = FetchRules(trusted_origins=frozenset({server.origin, other.origin}))
        with pytest.raises(FetchError, match="not an https one"):
            await fetch(server, rules=rules)
    assert other.requests == []


@pytest.mark.parametrize("redirects", [MAX_REDIRECTS, MAX_REDIRECTS + 1])
async def test_a_few_redirects_are_followed_and_no_more(redirects: int) -> None:
    """Three are enough for any storage that we know of."""
    answers: dict[str, bytes | Speak] = {
        f"/{n}": build_answer(b"", f"Location: {n - 1}", status=303) for n in range(1, redirects + 1)
    }
    async with serving({**answers, "/0": build_answer(b"end")}) as server:
        is_followed = redirects <= MAX_REDIRECTS
        with contextlib.nullcontext() if is_followed else pytest.raises(FetchError, match="more than 3 times"):
            await fetch(server, f"/{redirects}")
    assert len(server.requests) == MAX_REDIRECTS + 1


async def test_a_redirect_that_names_no_place_is_given_up() -> None:
    """It counts as a redirect to itself, and those are counted."""
    async with serving({"/": build_answer(status=302)}) as server:
        with pytest.raises(FetchError, match="redirects"):
            await fetch(server)


async def send_for_ever(stream: anyio.abc.ByteStream) -> None:
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
    (send_for_ever, "larger than 1 MB"),
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
async def test_a_dead_link_is_told_from_a_broken_server(status: int) -> None:
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
    async with serving({"/": fall_silent}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        with anyio.move_on_after(0.05) as scope:
            await fetcher.fetch_to_file(f"{server.origin}/", io.BytesIO(), rules=rules)
        assert scope.cancelled_caught
        assert fetcher._transport is not None
        assert fetcher._transport._pool.connections == []


async def test_no_connection_is_used_twice() -> None:
    """The pool knows them by address, while the certificate was verified for a name."""
    async with serving({"/": build_answer(b"ok")}) as server, fetching() as fetcher:
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        await fetcher.fetch_to_file(f"{server.origin}/", io.BytesIO(), rules=rules)
        assert fetcher._transport is not None
        assert fetcher._transport._pool.connections == []


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
        assert fetcher._transport is None


def test_every_exception_of_the_http_library_has_a_sentence() -> None:
    """A new release of the library must not let an exception of its own through unexplained."""
    found = {
        value
        for name in httpx2.__all__
        if isinstance(value := getattr(httpx2, name), type) and issubclass(value, Exception)
    }
    assert found | {ValueError} == set(_get_problems())
    assert all(_describe(exception) for exception in found)


def test_a_subclass_is_described_like_its_parent() -> None:
    """Malformed text and numbers are ValueErrors of several kinds."""
    assert _describe(UnicodeDecodeError) == _describe(ValueError)
