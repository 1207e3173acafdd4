"""Webhooks that reach a real server from a real provider, and what each of them causes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.public_server import PublicServer, open_public_server

TOOL = "text_to_picture"


@dataclass(frozen=True, slots=True)
class World:
    """A provider, and a Flowport that it reaches."""

    provider: ProviderProcess
    server: PublicServer

    def run(self, prompt: str) -> dict[str, Any]:
        """Call a tool and return its facts."""
        facts: dict[str, Any] = (
            self.server.connect().call(TOOL, {"prompt": prompt}).read()[1]["result"]["structuredContent"]
        )
        return facts

    def get_deliveries(self) -> list[dict[str, Any]]:
        """Return what was delivered so far."""
        deliveries: list[dict[str, Any]] = self.provider.ask("webhooks")["deliveries"]
        return deliveries


@pytest.fixture(scope="module", params=[True, False], ids=["signed", "unsigned"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a provider that reports its runs, and a Flowport at a public address."""
    folder = tmp_path_factory.mktemp("webhooks")
    with open_provider(folder / "provider", speed=0.02) as provider:
        secret = {"MAGNIFIC_WEBHOOK_SECRET": f"an-older-one, {provider.ask('webhooks')['secret']}"}
        environment = {**(secret if request.param else {}), "FLOWPORT_REQUESTS_PER_MINUTE": "0"}
        with open_public_server(folder / "flowport", provider, environment) as server:
            yield World(provider, server)


def test_an_announced_run_is_read_once(served: World) -> None:
    """From the second run on webhooks are known to arrive, and a run takes its start and one read."""
    served.run("the first")
    before = served.provider.ask("counts")
    facts = served.run("the second")
    after = served.provider.ask("counts")
    assert facts["state"] == "succeeded"
    assert [after[name] - before[name] for name in ("run", "status")] == [1, 1]
    assert {one["status"] for one in served.get_deliveries()} == {200}
