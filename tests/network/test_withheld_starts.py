"""A start that must not leave any more is held back at the last moment: after its connection was made."""

from pathlib import Path

import pytest

from flowport.domain.errors import ProviderUnreachable
from flowport.network.api_client import Api, Location, Permit
from flowport.network.ratelimit.limiter import RateLimiter
from tests.network.authority import Authority, build_authority
from tests.network.test_unsent_starts import HOST, HTTP, SOCKS, START, Way, serving_api
from tests.support.fake_clock import FakeClock


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Give a test a private authority that is trusted."""
    authority = build_authority(tmp_path / "authority")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    return authority


async def send(permit: Permit) -> None:
    """Send a start with a permit."""
    api = Api("Magnific", Location(f"https://{HOST}", {}), RateLimiter(0, FakeClock()))
    try:
        await api.send(START, permit)
    finally:
        await api.aclose()


class Withdrawn(Exception):
    """A start must not leave."""


@pytest.mark.parametrize("way", [HTTP, SOCKS], ids=["http", "socks"])
async def test_the_last_look_before_a_start_leaves_is_after_its_connection_was_made(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    """A process may stand still while it connects; of a start that is withdrawn then not a byte leaves."""
    looks: list[int] = []

    async def refuse() -> None:
        """Note what the proxy was asked for by now, and refuse."""
        looks.append(len(relay.asked))
        raise Withdrawn

    async with serving_api(authority) as server, way(server) as relay:
        monkeypatch.setenv("HTTPS_PROXY", relay.url)
        with pytest.raises(Withdrawn):
            await send(refuse)
    assert (looks, server.heads) == ([1], [])


async def test_a_start_whose_body_is_held_back_starts_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the headers and the body a process may stand still too; then the headers have left, and nothing is certain."""
    looks = 0

    async def refuse_later() -> None:
        """Let the headers leave, and nothing after them."""
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Withdrawn

    async with serving_api(authority) as server, HTTP(server) as relay:
        monkeypatch.setenv("HTTPS_PROXY", relay.url)
        with pytest.raises(ProviderUnreachable) as caught:
            await send(refuse_later)
    assert (looks, server.bodies, caught.value.was_sent) == (2, [], True)
