"""A spending cap shared by several real processes of one home that all spend at once."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.provider_process import ProviderProcess, open_provider

PROCESSES, CALLS = 4, 50
PRICES = {"text_to_picture": 2, "always_fails": 1}
CAP = 101
"""Odd, so that only a run of one credit can use it up; all calls together ask for three times as much."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ProviderProcess]:
    """Run a sandbox whose runs end at once."""
    with open_provider(tmp_path / "sandbox") as provider:
        yield provider


def call_all(child: Child, name: int) -> list[dict[str, Any]]:
    """Send all calls of one process before reading the first answer, and return the structured answers."""
    tools = list(PRICES)
    numbers = set()
    for n in range(CALLS):
        tool = tools[n % 2]
        text = "prompt" if tool == "text_to_picture" else "note"
        numbers.add(child.send("tools/call", {"name": tool, "arguments": {text: f"{name} {n}"}}))
    found = []
    while numbers:
        message = child.read()
        if message.get("id") in numbers:
            numbers.remove(message["id"])
            found.append(message["result"]["structuredContent"])
    return found


def add_up(home: Path) -> float:
    """Return the credits that the store on disk counts as spent and reserved."""
    with closing(sqlite3.connect(home / "store.sqlite3")) as connection:
        total: float = connection.execute("SELECT total(spent_credits + reserved_credits) FROM runs").fetchone()[0]
    return total


def test_parallel_processes_never_exceed_the_cap(
    tmp_path: Path, sandbox: ProviderProcess, request: pytest.FixtureRequest
) -> None:
    """Four clients that spend on one key, each calling as often as it likes, never exceed the cap by one credit."""
    environment = {
        **sandbox.environment,
        "FLOWPORT_MAX_CREDITS_PER_DAY": str(CAP),
        "FLOWPORT_REQUESTS_PER_MINUTE": "0",
        "FLOWPORT_SAVE_OUTPUTS": "false",
        "FLOWPORT_PREVIEWS": "false",
    }
    with ExitStack() as stack:
        children = [stack.enter_context(open_child(tmp_path / "me", environment=environment)) for _ in range(PROCESSES)]
        for child in children:
            child.greet()
        with ThreadPoolExecutor(PROCESSES) as threads:
            answers = [one for found in threads.map(call_all, children, range(PROCESSES)) for one in found]
        balance = children[0].call("get_balance")["accounts"][0]
    started = [PRICES[one["tool"]] for one in answers if "run_id" in one]
    refused = [one["error"] for one in answers if "run_id" not in one]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(  # noqa: T201 - the figure is part of the report
            f"\ncaps: {PROCESSES} processes x {CALLS} calls at once, {sum(started)} of {CAP} credits spent by "
            f"{len(started)} runs, {len(refused)} calls refused"
        )
    assert (len(answers), set(refused)) == (PROCESSES * CALLS, {"DayCapReached"})
    assert CAP - max(PRICES.values()) < sum(started) <= CAP
    assert (add_up(tmp_path / "me" / "home"), sandbox.ask("counts")["run"]) == (sum(started), len(started))
    spent, left = balance["spent_credits_24_hours"] + balance["reserved_credits"], balance["left_credits_24_hours"]
    assert (spent, left) == (sum(started), CAP - sum(started))
