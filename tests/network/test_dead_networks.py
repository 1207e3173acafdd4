"""A person whose network settings are wrong: nothing is paid, the cause is said, and all goes on once they are right."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowport.bootstrap import open_assembly
from flowport.domain.spending import SpendingLimits
from flowport.providers.registry import ProviderSettings
from tests.fakes.client import KEY
from tests.fakes.client import Client as SandboxClient
from tests.network.authority import build_authority
from tests.network.relays import Relay, open_http_proxy, open_tls_front
from tests.support.harness import MODES, Harness, Mode, build_settings, open_harness
from tests.support.raw_server import Ending, Reply, build_reply, find_closed_origin, serving

HOST = "api.flowport.test"


@dataclass
class Office:
    """A network whose only way out is a proxy, and whose connections are signed by its own authority."""

    sandbox: SandboxClient
    folder: Path
    environment: pytest.MonkeyPatch
    proxy: Relay

    def repair(self) -> None:
        """Set the variables as they should be."""
        for name in ("ALL_PROXY", "SSL_CERT_DIR"):
            self.environment.delenv(name, raising=False)
        self.environment.setenv("HTTPS_PROXY", self.proxy.url)
        self.environment.setenv("SSL_CERT_FILE", str(self.folder / "authority" / "authority.pem"))

    async def open(self, stack: AsyncExitStack, mode: Mode) -> Harness:
        """Start Flowport in this network."""
        providers = (ProviderSettings("magnific", f"https://{HOST}", KEY),)
        opened = open_harness(
            self.sandbox,
            self.folder / "person",
            mode=mode,
            providers=providers,
            spending_limits=SpendingLimits(max_credits_per_day=5),
            should_save_outputs=False,
        )
        return await stack.enter_async_context(opened)

    async def count_starts(self) -> int:
        """Return how many start requests arrived."""
        counts = (await self.sandbox.http.get("/_sandbox/counts")).json()
        return int(counts["run"])


@pytest.fixture
async def office(sandbox: SandboxClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Run the network of an office."""
    authority = build_authority(tmp_path / "authority")
    port = int(sandbox.addresses.api_url.rpartition(":")[2])
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    async with (
        open_tls_front(port, authority.build_server_context(HOST), host=HOST) as front,
        open_http_proxy(front.port) as proxy,
    ):
        office = Office(sandbox, tmp_path, monkeypatch, proxy)
        office.repair()
        yield office


async def break_proxy(office: Office) -> str:
    """Name a proxy that is not there."""
    office.environment.delenv("HTTPS_PROXY")
    office.environment.setenv("ALL_PROXY", (await find_closed_origin()).replace("http", "socks5h", 1))
    return "ALL_PROXY"


async def misspell_proxy(office: Office) -> str:
    """Name a proxy of a kind that Flowport does not speak."""
    office.environment.setenv("HTTPS_PROXY", "socks4://127.0.0.1:1")
    return "HTTPS_PROXY"


async def lose_file(office: Office) -> str:
    """Name a file that is not there."""
    office.environment.setenv("SSL_CERT_FILE", "/nope/ca.pem")
    return "SSL_CERT_FILE"


async def lose_folder(office: Office) -> str:
    """Name a folder that is not there."""
    office.environment.delenv("SSL_CERT_FILE")
    office.environment.setenv("SSL_CERT_DIR", "/nope")
    return "SSL_CERT_DIR"


async def distrust(office: Office) -> str:
    """Set no authority where TLS is intercepted."""
    office.environment.delenv("SSL_CERT_FILE")
    return "SSL_CERT_FILE"


BREAKS = [break_proxy, misspell_proxy, lose_file, lose_folder, distrust]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spoil", BREAKS)
async def test_a_start_that_never_left_costs_nothing_and_may_be_made_again(
    office: Office, spoil: Callable[[Office], Awaitable[str]], mode: Mode
) -> None:
    """The list is known, so the tool is called; neither the day's cap nor the equal call afterwards suffers."""
    async with AsyncExitStack() as stack:
        flowport = await office.open(stack, mode)
        await flowport.client.list_tools()
        assert await flowport.assembly.workspace.catalogs[0].catalog.refresh()
    variable = await spoil(office)
    async with AsyncExitStack() as stack:
        flowport = await office.open(stack, mode)
        answer = await flowport.call("text_to_picture", prompt="a lake")
        failed, balance = answer.structured_content, await flowport.ask("get_balance")
    assert failed is not None
    assert (answer.is_error, failed["state"], failed["credits"]) == (True, "failed", 0)
    assert variable in failed["failure"]
    assert "nothing was started, and nothing is charged" in failed["failure"]
    assert balance["accounts"][0]["spent_credits_24_hours"] == 0
    assert await office.count_starts() == 0
    office.repair()
    async with AsyncExitStack() as stack:
        flowport = await office.open(stack, mode)
        succeeded = await flowport.ask("text_to_picture", prompt="a lake")
    assert (succeeded["state"], await office.count_starts()) == ("succeeded", 1)


@pytest.mark.parametrize("spoil", BREAKS)
async def test_a_first_start_reports_why_there_are_no_apps(
    office: Office, spoil: Callable[[Office], Awaitable[str]]
) -> None:
    """Both where apps are looked for and where one is called; never "try again in a moment" forever."""
    variable = await spoil(office)
    async with AsyncExitStack() as stack:
        flowport = await office.open(stack, "auto")
        await flowport.client.list_tools()
        await flowport.assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
        found = await flowport.ask("find_apps")
        called = await flowport.ask("run_app", app="text_to_picture", arguments={"prompt": "a lake"})
    assert variable in found["summary"]
    assert variable in called["message"]
    assert "try again in a moment" not in found["summary"]


WRONG = {
    "404": build_reply(b"<html>Not found</html>", status=404),
    "a website": build_reply(b"<!doctype html><title>Magnific</title>", "Content-Type: text/html"),
    "a redirect": build_reply(b"", "Location: https://www.magnific.com/", status=301),
    "another API": build_reply(b'{"hello": "world"}', "Content-Type: application/json"),
    "no answer": Reply(ending=Ending.CLOSE),
    "a reset": Reply(ending=Ending.RESET),
    "another protocol": Reply(b"SSH-2.0-OpenSSH_9.2\r\n", Ending.CLOSE),
    "a gateway": build_reply(b"<html>Bad gateway</html>", status=502),
    "a login": build_reply(b"<html>Log in</html>", status=511),
}


@pytest.mark.parametrize("reply", WRONG.values(), ids=WRONG)
async def test_a_base_address_where_there_is_not_an_api_is_named(tmp_path: Path, reply: Reply) -> None:
    """A slip in the path or the host; a status alone would send the person to the provider."""
    async with serving(reply) as server, AsyncExitStack() as stack:
        url = f"{server.origin}/apy"
        settings = build_settings(tmp_path / "person", url)
        assembly = await stack.enter_async_context(open_assembly(settings))
        catalog = assembly.workspace.catalogs[0].catalog
        assert not await catalog.refresh()
    assert f"MAGNIFIC_BASE_URL is {url}: check that it is the address of Magnific's API." in catalog.problem


async def test_the_providers_own_address_is_not_uncertain(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Where a person has set none, or the API answers, the address is not what is wrong."""
    async with serving(build_reply(b"{}", status=401)) as server, AsyncExitStack() as stack:
        settings = build_settings(tmp_path / "person", server.origin)
        assembly = await stack.enter_async_context(open_assembly(settings))
        catalog = assembly.workspace.catalogs[0].catalog
        assert not await catalog.refresh()
    assert "MAGNIFIC_BASE_URL" not in catalog.problem
