"""Results and uploads in a company's network: by its proxy, with its authority, and never into its own network."""

import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import httpx2
import pytest

from flowport.media.sources import Fingerprint
from flowport.network.causes import FetchError, UploadError
from flowport.network.file_route import Outlet
from flowport.network.file_transfer import FetchRules, Uploader
from flowport.providers.interface import UploadPlace
from tests.network.authority import Authority, build_authority
from tests.network.relays import Relay, open_http_proxy, open_socks_proxy
from tests.support.fetching import Names, fetching
from tests.support.raw_server import RawServer, Reply, build_reply, find_closed_origin, serving

HOST = "cdn.example-files.com"
URL = f"https://{HOST}/f/x.png?token=t"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
FINGERPRINT = Fingerprint(hashlib.sha256(PNG).hexdigest(), len(PNG))
WAYS = {"http": open_http_proxy, "socks": open_socks_proxy}

Way: TypeAlias = Callable[..., AbstractAsyncContextManager[Relay]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give each test an environment that says nothing of the network."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
def authority(tmp_path: Path, environment: pytest.MonkeyPatch) -> Authority:
    """Give a test a private authority that is trusted."""
    authority = build_authority(tmp_path / "authority")
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    return authority


@asynccontextmanager
async def serving_files(
    authority: Authority, answer: Reply | Callable[[str], Reply] | None = None
) -> AsyncIterator[RawServer]:
    """Run the host of the files, under its name."""
    async with serving(answer or build_reply(PNG), authority.build_server_context(HOST)) as server:
        yield server


async def nowhere(_: str, __: int) -> list[str]:
    """Know no outside name, as an office's name service."""
    raise OSError("no such host")


async def fetch(url: str = URL) -> bytes:
    """Fetch a file where the name service knows nothing."""
    written = io.BytesIO()
    async with fetching(nowhere) as fetcher:
        await fetcher.fetch_to_file(url, written, rules=FetchRules())
    return written.getvalue()


async def put(url: str = URL) -> None:
    """Upload a file where the name service knows nothing."""
    outlet = Outlet(resolve=nowhere)
    uploader = Uploader(file_threads=anyio.CapacityLimiter(1), outlet=outlet)
    place = UploadPlace(
        put_url=url,
        headers={"Content-Type": "image/png"},
        put_seconds=10.0,
        asset_url="https://x.test/a",
        asset_seconds=60.0,
        provider_upload_id="f1",
    )
    try:
        await uploader.put(place, io.BytesIO(PNG), FINGERPRINT, trusted_origins=())
    finally:
        await outlet.aclose()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_result_is_fetched_through_the_proxy_by_its_name(
    authority: Authority, environment: pytest.MonkeyPatch, way: Way
) -> None:
    """As the list and the start are; here no one else knows the name."""
    async with serving_files(authority) as server, way(server) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        assert await fetch() == PNG
    assert relay.asked == [f"{HOST}:443"]
    assert f"Host: {HOST}\r\n" in server.heads[0]
    assert not any("token" in head for head in relay.heads)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_file_is_uploaded_through_the_proxy_by_its_name(
    authority: Authority, environment: pytest.MonkeyPatch, way: Way
) -> None:
    """Else it would go inside the request, smaller or worse."""
    async with serving_files(authority, build_reply()) as server, way(server) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        await put()
    assert (relay.asked, server.bodies) == ([f"{HOST}:443"], [PNG])


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_results_trust_the_same_authorities_as_the_api(
    authority: Authority, environment: pytest.MonkeyPatch, variable: str
) -> None:
    """Without a proxy too: TLS may be intercepted on the way."""
    environment.delenv("SSL_CERT_FILE")
    environment.setenv(variable, str(authority.path if variable == "SSL_CERT_FILE" else authority.folder))
    async with serving_files(authority) as server, fetching(Names(["127.0.0.1"])) as fetcher:
        origin = f"https://{HOST}:{server.origin.rpartition(':')[2]}"
        rules = FetchRules(trusted_origins=frozenset({origin}))
        fetched = await fetcher.fetch_to_file(f"{origin}/x.png", io.BytesIO(), rules=rules)
    assert fetched.size_bytes == len(PNG)


@pytest.mark.parametrize("value", [HOST, "example-files.com", "*", ".example-files.com"])
async def test_an_excluded_host_is_reached_directly(
    authority: Authority, environment: pytest.MonkeyPatch, value: str
) -> None:
    """Its name is resolved and its address checked, as without a proxy."""
    environment.setenv("NO_PROXY", value)
    async with serving_files(authority) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        with pytest.raises(FetchError, match="not known to the name service"):
            await fetch()
        with pytest.raises(UploadError, match="not known to the name service"):
            await put()
    assert relay.asked == []


INWARD = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://8.8.8.8/",
    "https://8.8.8.8./",
    "https://[::1]/",
    "https://[2606:2800:220:1::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://intranet/",
    "https://wiki.corp/",
    "https://printer.local/",
    "https://printer.LAN/",
    "https://metadata.google.internal/",
    "https://app.localhost/",
    "https://router.home.arpa/",
    "https://nas.home/",
    "https://.../",
    f"http://{HOST}/",
    f"https://{HOST}:22/",
    f"https://user@{HOST}/",
]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("url", INWARD)
async def test_no_address_and_no_local_name_is_asked_of_the_proxy(
    environment: pytest.MonkeyPatch, url: str, way: Way
) -> None:
    """It would look them up in its own network, on behalf of anyone who wrote the address."""
    async with serving(build_reply(PNG)) as server, way(server) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        with pytest.raises(FetchError):
            await fetch(url)
        with pytest.raises(UploadError):
            await put(url)
    assert (relay.asked, server.heads) == ([], [])


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://localhost/", "https://intranet/", f"http://{HOST}/"])
async def test_a_redirect_does_not_lead_the_proxy_inward(
    authority: Authority, environment: pytest.MonkeyPatch, url: str
) -> None:
    """Each hop is checked like the first one."""
    reply = build_reply(b"", f"Location: {url}", status=302)
    async with serving_files(authority, reply) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        with pytest.raises(FetchError):
            await fetch()
    assert relay.asked == [f"{HOST}:443"]


async def test_the_sandbox_is_reached_without_the_proxy(environment: pytest.MonkeyPatch) -> None:
    """It is on this computer, where no proxy reaches."""
    async with serving(build_reply(PNG)) as server, open_http_proxy(server) as relay:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            environment.setenv(name, relay.url)
        written = io.BytesIO()
        async with fetching() as fetcher:
            rules = FetchRules(trusted_origins=frozenset({server.origin}))
            await fetcher.fetch_to_file(f"{server.origin}/x.png", written, rules=rules)
    assert (written.getvalue(), relay.asked) == (PNG, [])


async def _wrong_password(environment: pytest.MonkeyPatch, relay: Relay) -> str:
    environment.setenv("HTTPS_PROXY", relay.url.replace("user:right", "user:wrong"))
    return rf"the proxy of HTTPS_PROXY \({relay.place}\) does not accept the user name and password"


async def _no_password(environment: pytest.MonkeyPatch, relay: Relay) -> str:
    environment.setenv("HTTPS_PROXY", relay.place)
    return rf"the proxy of HTTPS_PROXY \({relay.place}\) wants a user name and a password"


async def _no_proxy(environment: pytest.MonkeyPatch, _: Relay) -> str:
    environment.setenv("HTTPS_PROXY", await find_closed_origin())
    return r"the proxy of HTTPS_PROXY .* could not be reached \(connection refused\)"


async def _bad_proxy(environment: pytest.MonkeyPatch, _: Relay) -> str:
    environment.setenv("HTTPS_PROXY", "socks4://127.0.0.1:1")
    return "HTTPS_PROXY names a proxy with the scheme 'socks4'"


async def _no_authority(environment: pytest.MonkeyPatch, relay: Relay) -> str:
    environment.setenv("HTTPS_PROXY", relay.url)
    environment.delenv("SSL_CERT_FILE")
    return f"the certificate of {HOST} could not be verified .* set SSL_CERT_FILE"


async def _no_file(environment: pytest.MonkeyPatch, relay: Relay) -> str:
    environment.setenv("HTTPS_PROXY", relay.url)
    environment.setenv("SSL_CERT_FILE", "/nope/ca.pem")
    return "SSL_CERT_FILE names /nope/ca.pem, which does not exist"


TROUBLES = [_wrong_password, _no_password, _no_proxy, _bad_proxy, _no_authority, _no_file]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_cause_is_reported_as_for_the_api(
    authority: Authority,
    environment: pytest.MonkeyPatch,
    trouble: Callable[[pytest.MonkeyPatch, Relay], Awaitable[str]],
) -> None:
    """Certificate, proxy and name service are distinguished, with the variable."""
    async with serving_files(authority) as server, open_http_proxy(server, credentials="user:right") as relay:
        words = await trouble(environment, relay)
        with pytest.raises(FetchError, match=words) as fetched:
            await fetch()
        with pytest.raises(UploadError, match=words) as sent:
            await put()
    assert "right" not in f"{fetched.value}{sent.value}"


@pytest.mark.parametrize("refusal", [b"", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"\x05\xff"])
async def test_a_proxy_that_breaks_off_ends_no_fetch_in_a_traceback(
    environment: pytest.MonkeyPatch, refusal: bytes
) -> None:
    """Its library's errors are not the HTTP library's."""
    for way in (partial(open_http_proxy, refusal=refusal), partial(open_socks_proxy, refusal=refusal)):
        async with serving(build_reply()) as server, way(server) as relay:
            environment.setenv("ALL_PROXY", relay.url)
            with pytest.raises(FetchError, match="the proxy of ALL_PROXY"):
                await fetch()


async def test_an_unknown_name_is_reported_as_one() -> None:
    """Without a proxy the name service decides."""
    outlet = Outlet()
    with pytest.raises(Exception, match="not known to the name service"):
        await outlet.find_way(httpx2.URL("https://cdn.flowport.invalid/"), is_trusted=False)
