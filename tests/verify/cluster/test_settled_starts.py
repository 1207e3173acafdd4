"""A start whose reply was lost is settled by its webhook, at whichever replica that arrives, and followed by a worker."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.callers import MODERN, HttpCaller
from tests.support.cluster import Team, open_team
from tests.support.provider_process import ProviderProcess, open_provider
from tests.verify.cluster.test_team_figures import SETTINGS, post_event, wait_for_event

TOOL = "text_to_picture"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose own deliveries reach no replica; the test makes them."""
    with open_provider(tmp_path_factory.mktemp("provider"), "--quick") as found:
        yield found


@pytest.fixture(scope="module")
def team(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Run two replicas and a worker."""
    settings = {
        **SETTINGS,
        "MAGNIFIC_WEBHOOK_SECRET": provider.ask("webhooks")["secret"],
        "FLOWPORT_PUBLIC_URL": "https://127.0.0.1:9",
    }
    folder: Path = tmp_path_factory.mktemp("team")
    with open_team(folder, provider, replicas=2, workers=1, proxy="", settings=settings) as found:
        yield found


def call(team: Team, place: int, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool at a replica, and return the facts of its answer."""
    with ExitStack() as stack:
        caller = HttpCaller(f"{team.replicas[place].url}/mcp", MODERN, stack, team.tokens["anna"])
        facts: dict[str, Any] = caller.call(tool, arguments).read()[1]["result"]["structuredContent"]
        return facts


@pytest.mark.parametrize("fault", ["drop", "truncate"])
def test_a_webhook_at_another_replica_settles_a_lost_start(team: Team, provider: ProviderProcess, fault: str) -> None:
    """The caller learns that the outcome is unknown; the event proves the start, and any replica has the result then."""
    before, seen = provider.ask("counts")["runs_accepted"], len(provider.ask("webhooks")["deliveries"])
    provider.ask("faults", {"operation": "run", "fault": fault})
    facts = call(team, 0, TOOL, prompt=f"a lake, {fault}")
    assert facts["state"] == "unknown"
    delivery = wait_for_event(provider, seen)

    assert post_event(team.replicas[1], delivery, provider.ask("webhooks")["secret"]) == http.client.OK

    settled = call(team, 0, "get_run", run_id=facts["run_id"])
    assert (settled["state"], len(settled["outputs"])) == ("succeeded", 1)
    assert provider.ask("counts")["runs_accepted"] == before + 1


def test_an_event_may_overtake_the_reply_at_another_replica(team: Team, provider: ProviderProcess) -> None:
    """The replica waits for the record of the start, which a worker makes, and hands the event on."""
    seen = len(provider.ask("webhooks")["deliveries"])
    provider.ask("faults", {"operation": "run", "fault": "late", "seconds": 1.0})
    with ExitStack() as stack:
        caller = HttpCaller(f"{team.replicas[0].url}/mcp", MODERN, stack, team.tokens["anna"])
        waiting = caller.call(TOOL, {"prompt": "an overtaken lake"})
        delivery = wait_for_event(provider, seen)
        status = post_event(team.replicas[1], delivery, provider.ask("webhooks")["secret"])
        facts = waiting.read()[1]["result"]["structuredContent"]

    assert (status, facts["state"]) == (http.client.OK, "succeeded")
