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

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its facts."""
        call = self.server.connect().call(tool, arguments)
        facts: dict[str, Any] = call.read()[1]["result"]["structuredContent"]
        call.close()
        return facts

    def run_to_the_end(self, prompt: str) -> dict[str, Any]:
        """Run the app, and ask for the run until its end is known for certain."""
        facts = self.call(TOOL, prompt=prompt)
        while facts["state"] not in {"succeeded", "failed"}:
            facts = self.call("get_run", run_id=facts["run_id"])
        return facts

    def count(self, name: str) -> int:
        """Return how many requests of a kind the provider had."""
        return int(self.provider.ask("counts")[name])

    def get_deliveries(self) -> list[dict[str, Any]]:
        """Return what was delivered so far."""
        deliveries: list[dict[str, Any]] = self.provider.ask("webhooks")["deliveries"]
        return deliveries


@pytest.fixture(scope="module", params=["magnific", "magica"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a provider that reports its runs, and a Flowport at a public address."""
    folder = tmp_path_factory.mktemp("webhooks")
    with open_provider(folder / "provider", speed=0.02) as provider:
        prefix = f"{request.param.upper()}_"
        environment = {one: value for one, value in provider.variables.items() if one.startswith(prefix)}
        environment[f"{prefix}WEBHOOK_SECRET"] = f"an-older-one, {provider.ask('webhooks')['secret']}"
        environment["FLOWPORT_REQUESTS_PER_MINUTE"] = "0"
        with open_public_server(folder / "flowport", environment) as server:
            yield World(provider, server)


@pytest.fixture
def world(served: World, request: pytest.FixtureRequest) -> World:
    """Give the two to one test, with the usual rules and no counts, after a run that shows that webhooks arrive."""
    served.provider.ask("reset", {})
    assert served.run_to_the_end(f"before {request.node.name}")["state"] == "succeeded"
    return served


def test_an_announced_run_is_read_once(world: World) -> None:
    """It takes its start and one read."""
    before = world.count("status")
    assert world.call(TOOL, prompt="announced")["state"] == "succeeded"
    assert (world.count("runs_accepted"), world.count("status") - before) == (2, 1)
    assert {one["status"] for one in world.get_deliveries()} == {200}


def test_repeated_and_disordered_events_cause_one_read(world: World) -> None:
    """The end is announced first and three times, then the start."""
    before = world.count("status")
    world.provider.ask("webhooks", {"copies": 3, "out_of_order": True})
    assert world.call(TOOL, prompt="disordered")["state"] == "succeeded"
    found: list[int] = []
    while len(found) < 6:
        deliveries = world.get_deliveries()
        run_id = deliveries[-1]["run_id"]
        found = [one["status"] for one in deliveries if one["run_id"] == run_id]
    assert set(found) == {200}
    assert world.count("status") - before == 1


@pytest.mark.parametrize("lost", [[], ["initialized", "run.started"], ["finished", "run.completed"]])
@pytest.mark.parametrize("fault", ["drop", "truncate", "status_after"])
def test_a_webhook_settles_a_start_whose_reply_was_lost(world: World, fault: str, lost: list[str]) -> None:
    """Its start or its end proves that the request arrived and names the run, which is followed to its result."""
    before = world.count("runs_accepted")
    world.provider.ask("webhooks", {"lost": lost})
    world.provider.ask("faults", {"operation": "run", "fault": fault})
    facts = world.run_to_the_end(f"lost by {fault}, {lost}")
    assert (facts["state"], len(facts["outputs"])) == ("succeeded", 1)
    assert world.count("runs_accepted") - before == 1


def test_an_event_may_overtake_the_reply_to_the_start(world: World) -> None:
    """It waits until the reply is recorded, and the run is followed as any other."""
    before = world.count("runs_accepted")
    world.provider.ask("faults", {"operation": "run", "fault": "late", "seconds": 1.0})
    assert world.run_to_the_end("overtaken")["state"] == "succeeded"
    assert world.count("runs_accepted") - before == 1


def test_a_run_ends_without_its_webhooks(world: World) -> None:
    """Polls find what is not announced."""
    world.provider.ask("webhooks", {"lost": ["initialized", "finished", "run.started", "run.completed"]})
    assert world.run_to_the_end("not announced")["state"] == "succeeded"
