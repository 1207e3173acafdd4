"""Where the fetcher goes: only to public addresses that were checked, under the name that was asked for, at every hop."""

import contextlib
import datetime as dt
import io
import ssl
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flowport.network.causes import FetchError
from flowport.network.file_route import HostRefused, Outlet, build_request, is_public_address, resolve_host
from flowport.network.file_transfer import MAX_REDIRECTS, FetchRules
from tests.support.fetching import Names, Speak, build_answer, fetch, fetching, serving


async def refuse(url: str, *addresses: str, rules: FetchRules | None = None) -> FetchError:
    """Return the error of a fetch that must not succeed; without addresses the real name service is asked."""
    async with fetching(Names(addresses) if addresses else resolve_host) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch_to_file(url, io.BytesIO(), rules=rules or FetchRules())
        assert fetcher.outlet.is_unused, "nothing may be connected to"
    return caught.value


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
    request = build_request(httpx2.URL("https://cdn.example/a%2Fb?t=%3D#part"), address, {}, 30.0)
    assert request.url.raw_host.decode() == address
    assert request.url.raw_path == b"/a%2Fb?t=%3D"
    assert request.headers["host"] == "cdn.example"


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
    with pytest.raises(FetchError, match="connection refused"):
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
        expected = contextlib.nullcontext() if is_fetched else pytest.raises(FetchError, match="could not be verified")
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
    """Anyone who wrote the URL must not be able to send this computer to its own network."""
    problem = await refuse(url)
    assert "secret" not in str(problem)
    assert "meta-data" not in str(problem)


PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "8.8.8.8",
    "2606:2800:220:1::1",
    "2a00:1450:4001:81b::200e",
    "64:ff9b::808:808",
    "64:ff9b::5db8:d822",
]
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
    "64:ff9b::",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::c0a8:101",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::6440:1",
    "64:ff9b::c612:15",
    "64:ff9b:0:0:1::808:808",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
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
    """Anyone can let a name of theirs point anywhere."""
    assert not is_public_address(address)
    assert "public internet" in (await refuse("https://cdn.example/", address, "10.0.0.1")).problem


@pytest.mark.parametrize("address", CLOSED)
async def test_of_several_addresses_only_the_public_ones_are_used(address: str) -> None:
    """Some networks add one of their own to every answer; it is never connected to."""
    outlet = Outlet(resolve=Names([address, "93.184.216.34", "10.0.0.1", "8.8.8.8"]))
    way = await outlet.find_way(httpx2.URL("https://cdn.example/"), is_trusted=False)
    assert way.hosts == ("93.184.216.34", "8.8.8.8")


PLACEHOLDERS = ["198.18.0.21", "198.19.255.255"]


@pytest.mark.parametrize("address", PLACEHOLDERS)
@pytest.mark.parametrize("api", [["198.18.0.5"], ["198.19.1.1", "10.0.0.1"]])
async def test_a_placeholder_is_public_where_the_providers_own_host_has_one(address: str, api: list[str]) -> None:
    """A tunnel's name service gives one to every name; nothing would ever be fetched there."""

    async def resolve(host: str, _: int) -> list[str]:
        """Give everything a placeholder, and the file's host an address of the own network besides."""
        return api if host == "api.flowport.example" else [address, "192.168.1.1"]

    outlet = Outlet(resolve=resolve, api_hosts=["api.flowport.example"])
    assert (await outlet.find_way(httpx2.URL("https://cdn.example/"), is_trusted=False)).hosts == (address,)


@pytest.mark.parametrize("address", PLACEHOLDERS)
@pytest.mark.parametrize("api", [["93.184.216.34"], ["10.0.0.1"], OSError("no such host")])
async def test_a_placeholder_is_refused_elsewhere_and_said_to_be_one(address: str, api: list[str] | OSError) -> None:
    """The provider's own host is what reports that it is the whole network's way."""

    async def resolve(host: str, _: int) -> list[str]:
        """Answer for both."""
        if host == "cdn.example":
            return [address]
        if isinstance(api, OSError):
            raise api
        return api

    outlet = Outlet(resolve=resolve, api_hosts=["api.flowport.example"])
    with pytest.raises(HostRefused, match=rf"placeholder address \({address}\)"):
        await outlet.find_way(httpx2.URL("https://cdn.example/"), is_trusted=False)


@pytest.mark.parametrize(
    "host", ["198.18.0.21", "198.19.1.2", "0xc6.18.0.21", "3323068437", "198.1179669", "198.18.0.21."]
)
async def test_a_placeholder_that_is_written_into_the_address_is_refused(host: str) -> None:
    """No name service gave it."""

    async def resolve(_: str, __: int) -> list[str]:
        """Read every spelling of an address, as systems do."""
        return ["198.18.0.21"]

    outlet = Outlet(resolve=resolve, api_hosts=["api.flowport.example"])
    with pytest.raises(HostRefused):
        await outlet.find_way(httpx2.URL(f"https://{host}/"), is_trusted=False)


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
    """Being trusted for one's own files is not a licence to send us to a neighbour."""
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
