"""A start request whose first byte never left: nothing was started, and the sentence names what is wrong."""

import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.abc
import httpx2
import pytest

from flowport.domain.errors import Breakage, Operation, ProviderUnreachable
from flowport.network.api_client import Api, Location
from flowport.network.ratelimit.limiter import RateLimiter
from flowport.providers.interface import ApiAnswer, ApiRequest
from tests.network.authority import Authority, build_authority
from tests.network.relays import Relay, open_http_proxy, open_socks_proxy
from tests.support.fake_clock import FakeClock
from tests.support.raw_server import Ending, RawServer, Reply, build_reply, find_closed_origin, serving

START = ApiRequest(Operation.START_RUN, "POST", "/v1/ai/flows/x/run", {"inputs": {}})
READ = ApiRequest(Operation.READ_RUN, "GET", "/v1/ai/flows/runs/x")
HOST = "api.flowport.test"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")

Way: TypeAlias = Callable[[RawServer], AbstractAsyncContextManager[Relay]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give each test an environment that says nothing of the network."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give a test a private authority."""
    return build_authority(tmp_path / "authority")


async def send(request: ApiRequest = START, *, base_url: str = f"https://{HOST}", setting: str = "") -> ApiAnswer:
    """Send one request to the API on its own."""
    location = Location(base_url, {"x-magnific-api-key": "mk-secret"}, "mk-secret", setting=setting)
    api = Api("Magnific", location, RateLimiter(0, FakeClock()))
    try:
        return await api.send(request)
    finally:
        await api.aclose()


async def fail(*, base_url: str = f"https://{HOST}", setting: str = "") -> ProviderUnreachable:
    """Return the error of a start that gets no answer."""
    with pytest.raises(ProviderUnreachable) as caught:
        await send(base_url=base_url, setting=setting)
    return caught.value


@asynccontextmanager
async def serving_api(authority: Authority, reply: Reply | None = None) -> AsyncIterator[RawServer]:
    """Run the API under its name, with a certificate of the authority."""
    async with serving(reply or build_reply(status=202), authority.build_server_context(HOST)) as server:
        yield server


HTTP = partial(open_http_proxy)
HTTP_SIGNED_IN = partial(open_http_proxy, credentials="user:p@ss")
SOCKS = partial(open_socks_proxy)
SOCKS_SIGNED_IN = partial(open_socks_proxy, credentials="user:pass")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("way", "spell"),
    [
        (HTTP, lambda relay: relay.url),
        (HTTP, lambda relay: f"127.0.0.1:{relay.port}"),
        (HTTP, lambda relay: f" {relay.url}/ "),
        (partial(open_http_proxy, credentials="user:pass"), lambda relay: relay.url),
        (SOCKS, lambda relay: relay.url),
        (SOCKS, lambda relay: relay.url.replace("socks5h", "socks5")),
        (SOCKS, lambda relay: relay.url.replace("socks5h", "socks")),
        (SOCKS, lambda relay: relay.url.replace("socks5h", "SOCKS5H") + "/"),
        (SOCKS_SIGNED_IN, lambda relay: relay.url),
    ],
    ids=["http", "bare", "spaces", "http user", "socks5h", "socks5", "socks", "capitals", "socks user"],
)
async def test_a_start_goes_through_the_proxy_of_the_environment(
    authority: Authority, environment: pytest.MonkeyPatch, variable: str, way: Way, spell: Callable[[Relay], str]
) -> None:
    """A computer that reaches the world through a proxy alone runs apps like any other; the proxy resolves the name."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    async with serving_api(authority) as server, way(server) as relay:
        environment.setenv(variable, spell(relay))
        answer = await send()
    assert (answer.status, relay.asked, len(server.heads)) == (202, [f"{HOST}:443"], 1)


async def test_a_proxy_may_be_asked_over_a_secure_connection(
    authority: Authority, environment: pytest.MonkeyPatch
) -> None:
    """Its certificate is verified with the same authorities."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    tls = authority.build_server_context("localhost", "127.0.0.1")
    async with serving_api(authority) as server, open_http_proxy(server, tls=tls) as relay:
        environment.setenv("HTTPS_PROXY", f"https://localhost:{relay.port}")
        assert (await send()).status == 202
        environment.delenv("SSL_CERT_FILE")
        error = await fail()
    assert (error.breakage, error.was_sent, len(server.heads)) == (Breakage.PROXY_FAILED, False, 1)
    assert "HTTPS_PROXY" in str(error)
    assert "made no secure connection" in str(error)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("is_hashed", [True, False], ids=["hashed", "plain"])
async def test_a_private_authority_is_trusted_by_file_and_by_folder(
    *, authority: Authority, environment: pytest.MonkeyPatch, tmp_path: Path, variable: str, is_hashed: bool
) -> None:
    """A folder counts with OpenSSL's names and with plain ones, and beside files that hold no certificate."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(authority.path)]
    found = await anyio.run_process(command)
    path = folder / (f"{found.stdout.decode().strip()}.0" if is_hashed else "company.crt")
    path.write_bytes(authority.path.read_bytes())
    (folder / "README").write_text("not a certificate")
    environment.setenv(variable, str(folder if variable == "SSL_CERT_DIR" else path))
    async with serving_api(authority) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        assert (await send()).status == 202


BAD_PROXIES = [
    "socks4://127.0.0.1:1080",
    "socks4a://127.0.0.1:1080",
    "ftp://127.0.0.1:21",
    "://",
    "http://",
    "http://:3128",
    "http://[::1",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:0",
    "http://127.0.0.1:port",
    "127.0.0.1:3128x",
    "http://proxy host:3128",
    "http://..:3128",
    "http://\u20ac.:3128",
    "http://user:topsecret@[::1",
    "http://user:topsecret@127.0.0.1:-1",
    "http://user:topsecret@pro xy:1",
    "file:///etc/passwd",
    "none",
]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("value", BAD_PROXIES)
async def test_a_malformed_proxy_starts_nothing_and_is_named(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The value itself may hold a password, so only the variable is named."""
    environment.setenv(variable, value)
    error = await fail()
    assert not error.was_sent
    assert variable in str(error)
    assert "topsecret" not in f"{error}{error!r}"


@pytest.mark.parametrize("value", ["http://[::1", "socks4://127.0.0.1:1"])
async def test_the_proxy_of_another_scheme_is_not_looked_at(
    authority: Authority, environment: pytest.MonkeyPatch, value: str
) -> None:
    """A variable that does not apply must not stop what it does not concern."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    environment.setenv("HTTP_PROXY", value)
    environment.setenv("ALL_PROXY", value)
    async with serving_api(authority) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        assert (await send()).status == 202


async def test_an_empty_variable_in_lower_case_turns_the_proxy_off(environment: pytest.MonkeyPatch) -> None:
    """That is how programs are asked to use none."""
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    environment.setenv("https_proxy", "")
    assert (await fail()).breakage is Breakage.UNKNOWN_HOST


HTTP_REFUSALS = {
    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n": "wants a user name and a password",
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n": "HTTP 403 Forbidden",
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello": "HTTP 502 Bad Gateway",
    b"HTTP/1.1 503 \r\n\r\n": "HTTP 503",
    b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n": "HTTP 302",
    b"": "did not answer as an HTTP proxy does",
    b"SSH-2.0-OpenSSH_9.6\r\n": "did not answer as an HTTP proxy does",
    b"\x05\xff": "did not answer as an HTTP proxy does",
    b"HTTP/1.1 200 OK\r\n\r\nnot TLS at all": "no secure connection",
    b"HTTP/1.1 200 OK\r\n\r\n": "no secure connection",
}


@pytest.mark.parametrize("refusal", HTTP_REFUSALS)
async def test_a_proxy_that_makes_no_connection_starts_nothing(environment: pytest.MonkeyPatch, refusal: bytes) -> None:
    """The request to the proxy is not the start request, whatever becomes of it."""
    async with serving(build_reply()) as server, open_http_proxy(server, refusal=refusal) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        error = await fail()
    assert (error.was_sent, len(server.heads)) == (False, 0)
    assert HTTP_REFUSALS[refusal] in str(error)
    if "secure" not in HTTP_REFUSALS[refusal]:
        assert f"the proxy of HTTPS_PROXY ({relay.place})" in str(error)


SOCKS_REFUSALS = {
    b"": "did not answer as a SOCKS proxy does",
    b"\x05": "did not answer as a SOCKS proxy does",
    b"\x05\xff": "wants a user name and a password",
    b"\x05\x02": "wants a user name and a password",
    b"\x04\x5a": "did not answer as a SOCKS proxy does",
    b"SSH-2.0-OpenSSH_9.6\r\n": "did not answer as a SOCKS proxy does",
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "did not answer as a SOCKS proxy does",
}


@pytest.mark.parametrize("refusal", SOCKS_REFUSALS)
async def test_a_socks_proxy_that_makes_no_connection_starts_nothing(
    environment: pytest.MonkeyPatch, refusal: bytes
) -> None:
    """Its library's own errors mean that nothing was sent, too."""
    async with serving(build_reply()) as server, open_socks_proxy(server, refusal=refusal) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        error = await fail()
    assert (error.breakage, error.was_sent, len(server.heads)) == (Breakage.PROXY_FAILED, False, 0)
    assert f"the proxy of ALL_PROXY ({relay.place})" in str(error)
    assert SOCKS_REFUSALS[refusal] in str(error)


@pytest.mark.parametrize("reply", [1, 2, 3, 4, 5, 6, 7, 8, 9, 255])
async def test_what_a_socks_proxy_says_is_reported(environment: pytest.MonkeyPatch, reply: int) -> None:
    """Each of its answers but success is the end of a connection that was never made."""
    async with serving(build_reply()) as server, open_socks_proxy(server, reply=reply) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        error = await fail()
    assert (error.breakage, error.was_sent, len(server.heads)) == (Breakage.PROXY_FAILED, False, 0)


@pytest.mark.parametrize(
    ("variable", "way"),
    [
        ("HTTPS_PROXY", partial(open_http_proxy, credentials="user:topsecret", wanted="user:other")),
        ("ALL_PROXY", partial(open_socks_proxy, credentials="user:topsecret", wanted="user:other")),
    ],
)
async def test_a_wrong_password_of_a_proxy_is_said_and_not_shown(
    environment: pytest.MonkeyPatch, variable: str, way: Way
) -> None:
    """The sentence ends in a chat."""
    async with serving(build_reply()) as server, way(server) as relay:
        environment.setenv(variable, relay.url)
        error = await fail()
    assert (error.was_sent, len(server.heads)) == (False, 0)
    assert f"the proxy of {variable} ({relay.place}) does not accept the user name and password" in str(error)
    assert "topsecret" not in f"{error}{error!r}"


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_a_proxy_that_is_not_there_is_named(environment: pytest.MonkeyPatch, scheme: str) -> None:
    """A tunnel that was closed is the usual reason."""
    place = (await find_closed_origin()).replace("http", scheme, 1)
    environment.setenv("ALL_PROXY", place)
    error = await fail()
    assert (error.breakage, error.was_sent) == (Breakage.PROXY_FAILED, False)
    assert f"the proxy of ALL_PROXY ({place}) could not be reached (connection refused)" in str(error)


async def test_a_proxy_whose_name_no_one_knows_is_named(environment: pytest.MonkeyPatch) -> None:
    """It is not the provider's name that is unknown."""
    environment.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    error = await fail()
    assert (error.breakage, error.was_sent) == (Breakage.PROXY_FAILED, False)
    assert "the proxy of HTTPS_PROXY (http://proxy.invalid:3128) could not be reached" in str(error)
    assert "the name service" in str(error)


def write_cases(folder: Path) -> Mapping[str, tuple[str, str]]:
    """Return values of SSL_CERT_FILE that are no certificates, with what is said of each."""
    authority = build_authority(folder / "other")
    authority.build_server_context("key.test")
    key, _, _ = (authority.folder / "key.test.pem").read_text().partition("-----BEGIN CERTIFICATE")
    (folder / "empty.pem").write_bytes(b"")
    (folder / "text.pem").write_text("hello")
    (folder / "key.pem").write_text(key)
    (folder / "half.pem").write_bytes(authority.path.read_bytes()[:200])
    (folder / "der.crt").write_bytes(ssl.PEM_cert_to_DER_cert(authority.path.read_text()))
    if sys.platform == "win32":
        pytest.skip("there a pipe has no name among the files")
    os.mkfifo(folder / "pipe.pem")
    none = "holds no certificate in PEM form"
    return {
        "missing.pem": ("", "does not exist"),
        "folder": (str(folder), "is a folder"),
        "empty.pem": (str(folder / "empty.pem"), none),
        "text.pem": (str(folder / "text.pem"), none),
        "key.pem": (str(folder / "key.pem"), none),
        "half.pem": (str(folder / "half.pem"), none),
        "der.crt": (str(folder / "der.crt"), none),
        "pipe.pem": (str(folder / "pipe.pem"), "is not a file"),
        "no folder": (str(folder / "text.pem" / "x"), "cannot be read (Not a directory)"),
        "long": ("/" + "a" * 5000, "cannot be read"),
        "~": ("~/authority.pem", "does not exist"),
    }


FILE_CASES = (
    "missing.pem",
    "folder",
    "empty.pem",
    "text.pem",
    "key.pem",
    "half.pem",
    "der.crt",
    "pipe.pem",
    "no folder",
    "long",
    "~",
)


@pytest.mark.parametrize("case", FILE_CASES)
async def test_a_trust_store_that_cannot_be_used_starts_nothing(
    environment: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    """Each value of SSL_CERT_FILE that names no certificate is reported with the reason."""
    value, words = write_cases(tmp_path)[case]
    environment.setenv("SSL_CERT_FILE", value or str(tmp_path / case))
    error = await fail()
    assert (error.breakage, error.was_sent, error.is_lasting) == (Breakage.UNUSABLE_SETTING, False, True)
    assert "SSL_CERT_FILE names " in str(error)
    assert words in str(error)


@pytest.mark.parametrize("case", ["missing", "file", "empty folder", "folder of texts"])
async def test_a_folder_without_authorities_starts_nothing(
    environment: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    """The library takes such a folder without a word, and then trusts no server at all."""
    folder = tmp_path / "certificates"
    if case == "file":
        folder.write_text("hello")
    elif case != "missing":
        folder.mkdir()
    if case == "folder of texts":
        (folder / "a.pem").write_text("hello")
    environment.setenv("SSL_CERT_DIR", str(folder))
    error = await fail()
    assert (error.breakage, error.was_sent) == (Breakage.UNUSABLE_SETTING, False)
    assert f"SSL_CERT_DIR names {folder}" in str(error)


async def test_a_log_of_keys_that_cannot_be_written_stops_nothing(
    authority: Authority, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is a help for anyone who debugs connections, and no reason to run no app."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    environment.setenv("SSLKEYLOGFILE", str(tmp_path / "nowhere" / "keys"))
    async with serving_api(authority) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        assert (await send()).status == 202


@pytest.mark.parametrize("way", [HTTP, SOCKS], ids=["http", "socks"])
async def test_a_certificate_of_an_unknown_authority_starts_nothing(
    authority: Authority, environment: pytest.MonkeyPatch, way: Way
) -> None:
    """TLS is intercepted and the variable is not set: the sentence says which variable would help."""
    async with serving_api(authority) as server, way(server) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        error = await fail()
    assert (error.breakage, error.was_sent, len(server.heads)) == (Breakage.UNTRUSTED, False, 0)
    assert f"the certificate of {HOST} could not be verified" in str(error)
    assert "set SSL_CERT_FILE" in str(error)


async def test_a_trust_store_that_lacks_the_authority_is_named(
    authority: Authority, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable is set, but to another authority."""
    environment.setenv("SSL_CERT_FILE", str(build_authority(tmp_path / "other").path))
    async with serving_api(authority) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        error = await fail()
    assert (error.breakage, error.was_sent) == (Breakage.UNTRUSTED, False)
    assert "SSL_CERT_FILE must name the authority" in str(error)


@pytest.mark.parametrize("case", ["expired", "another name"])
async def test_a_certificate_that_does_not_fit_is_reported_as_it_is(
    authority: Authority, environment: pytest.MonkeyPatch, case: str
) -> None:
    """A clock that is wrong and a captive portal look like that."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    name = HOST if case == "expired" else "portal.test"
    context = authority.build_server_context(name, is_expired=case == "expired")
    async with serving(build_reply(), context) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        error = await fail()
    assert (error.breakage, error.was_sent) == (Breakage.UNTRUSTED, False)
    assert ("has expired" if case == "expired" else "mismatch") in str(error)
    assert ("date of this computer" in str(error)) is (case == "expired")
    # Another authority would not help: the certificate is good, and another server's.
    assert ("Another server answered in its place" in str(error)) is (case == "another name")
    assert "SSL_CERT_FILE" not in str(error)


async def test_a_name_that_no_one_knows_is_reported_with_its_variable() -> None:
    """A slip in the base address looks like a dead network otherwise."""
    error = await fail(base_url="https://api.magnifik.invalid/x", setting="MAGNIFIC_BASE_URL")
    assert (error.breakage, error.was_sent) == (Breakage.UNKNOWN_HOST, False)
    assert "api.magnifik.invalid" in str(error)
    assert "Check MAGNIFIC_BASE_URL" in str(error)


async def test_no_one_there_is_reported_with_the_address_that_was_tried() -> None:
    """Host and port, because the port may be the slip."""
    origin = await find_closed_origin()
    error = await fail(base_url=origin, setting="MAGNIFIC_BASE_URL")
    assert (error.breakage, error.was_sent) == (Breakage.NO_CONNECTION, False)
    assert f"no connection to {origin.removeprefix('http://')} could be made (connection refused)" in str(error)
    assert "Check MAGNIFIC_BASE_URL" in str(error)


NO_PROXY_ODDITIES = [
    "a b,[::1,1.2.3.4/99,http://[,%%",
    ",, ,",
    "*.",
    ".",
    "[",
    "]",
    "://",
    "\u20ac",
    "/",
    ":",
    "1.2.3.4/x",
]


@pytest.mark.parametrize("value", NO_PROXY_ODDITIES)
async def test_an_entry_of_no_proxy_that_cannot_be_read_excludes_nothing(
    authority: Authority, environment: pytest.MonkeyPatch, value: str
) -> None:
    """And it breaks nothing."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    environment.setenv("NO_PROXY", value)
    async with serving_api(authority) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        assert (await send()).status == 202


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    "value", ["*", HOST, f" {HOST} ", "flowport.test", ".flowport.test", f"x {HOST}:443", HOST.upper()]
)
async def test_an_excluded_host_is_asked_directly(environment: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Here no one knows the name, so the connection fails; the proxy receives nothing of it."""
    environment.setenv(variable, value)
    async with serving(build_reply()) as server, open_http_proxy(server) as relay:
        environment.setenv("HTTPS_PROXY", relay.url)
        error = await fail()
    assert (error.breakage, relay.asked) == (Breakage.UNKNOWN_HOST, [])


@pytest.mark.parametrize("way", [HTTP, SOCKS], ids=["http", "socks"])
@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_what_breaks_after_the_request_left_stays_unknown(
    authority: Authority, environment: pytest.MonkeyPatch, way: Way, ending: Ending
) -> None:
    """The provider has read the start; a proxy in between changes nothing of that."""
    environment.setenv("SSL_CERT_FILE", str(authority.path))
    async with serving_api(authority, Reply(b"", ending)) as server, way(server) as relay:
        environment.setenv("ALL_PROXY", relay.url)
        error = await fail()
    assert (error.was_sent, len(server.heads)) == (True, 1)


async def test_a_read_is_explained_alike(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The list of apps is a read, and find_apps reports why it could not be available."""
    environment.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ProviderUnreachable, match=r"SSL_CERT_FILE names .*missing\.pem, which does not exist"):
        await send(READ)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_never_answers_starts_nothing(environment: pytest.MonkeyPatch, scheme: str) -> None:
    """Time runs out, but not for the provider: it has received nothing."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        environment.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{port}")
        seconds = dict.fromkeys(Operation, 0.2)
        api = Api("Magnific", Location(f"https://{HOST}", {}), RateLimiter(0, FakeClock()), request_seconds=seconds)
        with pytest.raises(ProviderUnreachable) as caught:
            await api.send(START)
        await api.aclose()
    assert (caught.value.breakage, caught.value.was_sent) == (Breakage.PROXY_FAILED, False)
    assert "ALL_PROXY" in str(caught.value)


@pytest.mark.parametrize("value", ["mk\nsecret", "mk\x00secret", "mk\r\nhost: x"])
async def test_a_request_that_cannot_be_written_starts_nothing(value: str) -> None:
    """The library looks at each header before it writes the first byte."""
    async with serving(build_reply()) as server:
        api = Api("Magnific", Location(server.origin, {"x-key": value}), RateLimiter(0, FakeClock()))
        with pytest.raises(ProviderUnreachable) as caught:
            await api.send(START)
        await api.aclose()
    assert (caught.value.was_sent, len(server.heads)) == (False, 0)


async def test_the_library_reports_when_the_first_byte_leaves() -> None:
    """An upgrade that renames its events must fail here, rather than make a start that was sent look unsent."""
    events: list[str] = []

    async def note(event: str, info: Mapping[str, object]) -> None:
        """Keep an event."""
        events.append(event)

    async with serving(build_reply()) as server, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        await client.post(server.origin, json={}, extensions={"trace": note})
    first = ["connection.connect_tcp.started", "connection.connect_tcp.complete", "http11.send_request_headers.started"]
    assert events[:3] == first
