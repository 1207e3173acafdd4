"""What is believed of a request that a reverse proxy passed on, and the paths below a public URL."""

from collections.abc import Sequence
from ipaddress import ip_network

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from flowport.web.listen_address import Address, HostCheck, build_authorities, build_origins
from flowport.web.proxies import ForwardedHeaders, PublicPath, find_client

TRUSTED = (ip_network("127.0.0.1/32"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "hops", "client"),
    [
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7", " 10.0.0.2"], "203.0.113.7"),
        ("127.0.0.1", ["1.1.1.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        ("127.0.0.1", ["127.0.0.1", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7", "_hidden"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7", ""], "127.0.0.1"),
        ("127.0.0.1", ["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
        ("198.51.100.9", ["203.0.113.7"], "198.51.100.9"),
        ("198.51.100.9", ["127.0.0.1"], "198.51.100.9"),
        ("198.51.100.9", ["203.0.113.7", "127.0.0.1"], "198.51.100.9"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_not_a_trusted_proxy(
    peer: str, hops: Sequence[str], client: str
) -> None:
    """What stands further away was written by that client itself."""
    assert find_client(peer, hops, TRUSTED) == client


async def ask(peer: str, headers: dict[str, str]) -> list[str]:
    """Return client, scheme and the forwarded headers that the application sees of a request."""

    def answer(request: Request) -> PlainTextResponse:
        """Answer with them."""
        seen = [name for name in request.headers if "forwarded" in name or name == "x-real-ip"]
        host = request.client.host if request.client else ""
        return PlainTextResponse(f"{host} {request.url.scheme} {','.join(seen)}")

    app = ForwardedHeaders(Starlette(routes=[Route("/", answer)]), TRUSTED)
    transport = httpx2.ASGITransport(app, client=(peer, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        return (await http.get("/", headers=headers)).text.split(" ")


@pytest.mark.parametrize(
    ("peer", "scheme", "seen"),
    [("127.0.0.1", "https", "203.0.113.7"), ("198.51.100.9", "http", "198.51.100.9")],
)
async def test_headers_are_believed_from_trusted_proxies_alone(peer: str, scheme: str, seen: str) -> None:
    """And the application sees none of them, so that no part of it can believe one by mistake."""
    headers = {
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "evil.example",
        "forwarded": "for=127.0.0.1;proto=https",
        "x-real-ip": "127.0.0.1",
    }
    assert await ask(peer, headers) == [seen, scheme, ""]


async def test_an_unknown_scheme_is_not_believed() -> None:
    """Addresses are built with it."""
    assert (await ask("127.0.0.1", {"x-forwarded-proto": "javascript"}))[1] == "http"
    assert (await ask("127.0.0.1", {"x-forwarded-proto": "http, https"}))[1] == "https"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/flows/mcp", 200), ("/mcp", 200), ("/flowsmcp", 404), ("/flows", 404), ("/flows/flows/mcp", 404)],
)
async def test_paths_are_served_below_the_public_path_and_without_it(path: str, status: int) -> None:
    """Some proxies take the path off and some do not."""
    app = PublicPath(Starlette(routes=[Route("/mcp", PlainTextResponse("here"))]), "https://example.com/flows")
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        assert (await http.get(path)).status_code == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("flows.example.com", "https://flows.example.com", 200),
        ("flows.example.com:443", None, 200),
        ("FLOWS.example.com", "https://Flows.Example.com", 200),
        ("127.0.0.1:8765", None, 200),
        ("10.1.2.3:8765", None, 200),
        ("10.1.2.3", None, 421),
        ("flows.example.com:80", None, 421),
        ("evil.example", None, 421),
        ("flows.example.com", "http://flows.example.com", 403),
        ("flows.example.com", "https://evil.example", 403),
    ],
)
async def test_the_public_host_is_served_besides_the_listen_address(host: str, origin: str | None, status: int) -> None:
    """A web page's own name can resolve to any address; the address itself is not such a name."""
    address = Address("0.0.0.0", 8765)
    app = HostCheck(
        Starlette(routes=[Route("/mcp", PlainTextResponse("here"))]),
        address,
        "/mcp",
        public_url="https://flows.example.com/flows",
    )
    transport = httpx2.ASGITransport(app)
    headers = {"host": host, **({} if origin is None else {"origin": origin})}
    async with httpx2.AsyncClient(transport=transport, base_url="http://10.1.2.3:8765") as http:
        assert (await http.get("/mcp", headers=headers)).status_code == status


def test_a_public_url_with_a_port_is_named_with_it() -> None:
    """Its default port is another one."""
    address = Address("127.0.0.1", 8765)
    assert "flows.example.com:8443" in build_authorities(address, "https://flows.example.com:8443")
    assert "flows.example.com" not in build_authorities(address, "https://flows.example.com:8443")
    assert "https://flows.example.com:8443" in build_origins(address, "https://flows.example.com:8443")
