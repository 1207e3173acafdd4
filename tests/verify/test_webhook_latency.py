"""How long it takes from a webhook to the result at the client that waits for it, with real processes."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.public_server import open_public_server
from tests.web.test_forged_webhooks import Attack, Target, World, finish, hold_target, to_lines

RUNS: Final = 15
"""Each takes two requests, and a limit is learned from fifty a minute: a later run would wait for the next minute."""


def wait_for_end(provider: ProviderProcess, run_id: str) -> None:
    """Let a run end at the provider."""
    provider.ask(f"runs/{run_id}", {"release": True})
    while provider.ask("runs")["runs"][run_id]["completed_at"] is None:
        pass


@pytest.mark.parametrize("limit", ["0", "500"], ids=["without limit", "within a limit"])
def test_a_result_is_at_the_client_soon_after_the_webhook(tmp_path: Path, limit: str) -> None:
    """The run is read at once, past the pace, and its file is saved before the call is answered; the median is printed."""
    with open_provider(tmp_path / "provider") as provider:
        secret = provider.ask("webhooks")["secret"]
        environment = {
            **provider.environment,
            "MAGNIFIC_WEBHOOK_SECRET": secret,
            "FLOWPORT_REQUESTS_PER_MINUTE": limit,
        }
        with open_public_server(tmp_path / "flowport", environment) as server:
            world = World(provider, server, secret, is_signed=True)
            provider.ask("webhooks", {"lost": ["finished"]})
            seconds = [measure(world, f"run {number}") for number in range(RUNS)]
    ordered = sorted(seconds)
    kind = "no request limit" if limit == "0" else f"a limit of {limit}"
    milliseconds = (statistics.median(ordered) * 1000, ordered[0] * 1000, ordered[-1] * 1000)
    found = "median {:.0f} ms, best {:.0f} ms, worst {:.0f} ms".format(*milliseconds)
    sys.stdout.write(f"\nwebhook to result at the waiting client, {kind}: {found} of {RUNS}\n")


def measure(world: World, prompt: str) -> float:
    """Return the seconds from the event of an end to the answer."""
    target: Target = hold_target(world, prompt)
    wait_for_end(world.provider, target.provider_run_id)
    event = finish(target)
    attack = Attack("true", target.path, headers=to_lines(world.sign(event, message_id=target.run_id)), body=event)
    began = time.perf_counter()
    assert world.send(attack) == 200
    answer: dict[str, Any] = world.calls[-1].read()[1]
    ended = time.perf_counter()
    assert answer["result"]["structuredContent"]["state"] == "succeeded"
    return ended - began
