"""The host names under which Flowport answers over HTTP."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from flowport.web.listen_address import Address, HostCheck, build_authorities, build_origins


async def ask(address: Address, **headers: str) -> httpx2.Response:
    """Send a request with these headers to an application that returns the names that it receives."""

    def answer(request: Request) -> PlainTextResponse:
        """Answer with the names."""
        return PlainTextResponse(f"{request.headers.get('host')} {request.headers.get('origin')}")

    app = HostCheck(Starlette(routes=[Route("/mcp", answer)]), address, "/mcp")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=address.origin) as http:
        return await http.get("/mcp", headers=headers)


@pytest.mark.parametrize(
    ("port", "host"),
    [
        (80, "127.0.0.1"),
        (80, "127.0.0.1:80"),
        (80, "localhost"),
        (80, "[::1]"),
        (8765, "127.0.0.1:8765"),
        (8765, "localhost:8765"),
        (8765, "LOCALHOST:8765"),
        (8765, "LocalHost:8765"),
        (8765, "[::1]:8765"),
    ],
)
async def test_local_names_are_served_in_any_case_and_without_the_default_port(port: int, host: str) -> None:
    """As in pipeboard-co/meta-ads-mcp#123: clients omit `:80`, and every request was refused."""
    answer = await ask(Address("127.0.0.1", port), host=host, origin=f"http://{host}")
    assert answer.status_code == 200
    assert answer.text == f"{host.lower()} http://{host.lower()}"


@pytest.mark.parametrize(
    ("port", "host"),
    [
        (8765, "127.0.0.1"),
        (8765, "127.0.0.1:80"),
        (8765, "localhost"),
        (8765, "evil.example:8765"),
        (8765, "127.0.0.1.evil.example:8765"),
        (8765, "localhost:8765.evil.example"),
        (8765, "192.168.1.5:8765"),
        (8765, ""),
        (80, "evil.example"),
        (80, "localhost:8080"),
        (80, "evil.example:80"),
    ],
)
async def test_foreign_names_are_refused_with_the_right_one(port: int, host: str) -> None:
    """A page in the browser can have its own name resolve to this computer."""
    answer = await ask(Address("127.0.0.1", port), host=host)
    assert answer.status_code == 421
    assert answer.text.endswith(f" Flowport answers at http://127.0.0.1:{port}/mcp.")


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:8765", "null", "http://localhost", "x"])
async def test_pages_of_other_origins_are_refused_with_the_right_address(origin: str) -> None:
    """Browsers send a page's origin, and pages cannot change it."""
    answer = await ask(Address("127.0.0.1", 8765), host="127.0.0.1:8765", origin=origin)
    assert answer.status_code == 403
    assert answer.text.endswith(" Flowport answers at http://127.0.0.1:8765/mcp.")


def test_another_loopback_address_is_accepted() -> None:
    """All of 127.0.0.0/8 is this computer."""
    assert "127.9.9.9:1" in build_authorities(Address("127.9.9.9", 1))
    assert build_origins(Address("::1", 80)) >= {"http://[::1]", "http://[::1]:80", "http://localhost"}
