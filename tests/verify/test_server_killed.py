"""A server that is killed again and again under load: nothing is lost, nothing is started twice.

Clients repeat a call until they have its result, as people and their programs do. The provider answers each start late, so that
a kill often falls between a start request and its answer: such a run becomes `unknown`, and its webhook settles it. A kill
between the record of `starting` and the request leaves a run `unknown` that the provider never had. No webhook can come for it,
and the client does what a person does: it looks at the provider, and asks for a new run.
"""

import http.client
import json
import os
import sqlite3
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.patience import PATIENCE_SECONDS
from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.public_server import PublicServer, open_public_server

SECONDS: Final = float(os.environ.get("FLOWPORT_TEST_KILL_SECONDS", "60"))
"""How long the server is killed; five minutes were measured once."""
EVERY_SECONDS: Final = 10.0
CLIENTS: Final = 100
ROWS: Final = 60
TOOL: Final = "slow_cinema_still"
SPEED: Final = 0.4
"""A run takes 18 seconds."""
LATE_SECONDS: Final = 1.0
"""From the start of a run to the answer."""
RETRY_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the attempts of a webhook, as Svix makes them in the first minutes."""
PAUSE_SECONDS: Final = 1.0
DECIDE_SECONDS: Final = 60.0
"""How long a client is refused, because the outcome of its run is unknown, before it looks at the provider."""
_BROKEN: Final = (OSError, http.client.HTTPException, AssertionError, ValueError)
"""How a call ends whose server was killed."""


@dataclass
class Load:
    """The clients, and what they were given."""

    server: PublicServer
    is_over: threading.Event = field(default_factory=threading.Event)
    """Set when no new call is begun."""
    wanted: list[str] = field(default_factory=list)
    """The prompts of all calls and rows that were begun."""
    finished: Counter[str] = field(default_factory=Counter)
    """The prompts of calls that had their result, and the rows of batches that had."""
    ends: Counter[str] = field(default_factory=Counter)
    """Every other final state that a client was given."""
    retries: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    """What clients were refused with."""
    decided: list[str] = field(default_factory=list)
    """Prompts for which a client asked for a new run, since the provider never had the first."""
    provider: ProviderProcess | None = None

    def work(self, name: str) -> None:
        """Make one call after the other."""
        number = 0
        while not self.is_over.is_set():
            number += 1
            prompt = f"{name}, call {number}"
            self.wanted.append(prompt)
            self.call_until_done(TOOL, {"prompt": prompt})
            self.finished[prompt] += 1

    def work_in_batches(self) -> None:
        """Make one batch after the other."""
        number = 0
        while not self.is_over.is_set():
            number += 1
            prompts = [f"batch {number}, row {row}" for row in range(ROWS)]
            self.wanted.extend(prompts)
            self.call_until_done("run_batch", {"app": TOOL, "rows": [{"prompt": one} for one in prompts]})
            self.finished.update(prompts)

    def call_until_done(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Repeat a call, each time on a new connection, until it is answered with the result."""
        refused_at: float | None = None
        while True:
            facts = self.try_call(tool, arguments)
            # Rows that the provider never had are counted at the end.
            if facts.get("state") == "succeeded" or (tool == "run_batch" and facts.get("state") == "partial"):
                return facts
            # A run that was not sent when its server was killed is cancelled, and the repeated call makes another.
            if facts.get("state") in {"failed", "partial"}:
                self.ends[f"{facts['state']}: {facts.get('problem', facts.get('summary'))}"] += 1
            is_refused = facts.get("refused", False)
            refused_at = (refused_at or time.monotonic()) if is_refused else None
            if refused_at is not None and time.monotonic() - refused_at > DECIDE_SECONDS:
                refused_at = None
                assert self.provider is not None
                if arguments.get("prompt") not in self.provider.ask("runs")["prompts"]:
                    self.decided.append(str(arguments.get("prompt")))
                    arguments = {**arguments, "new_run": True}
            self.retries += 1
            time.sleep(PAUSE_SECONDS)

    def try_call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the facts of an answer; nothing where there was none."""
        try:
            call = self.server.connect().call(tool, arguments)
        except _BROKEN:
            return {}
        try:
            result = call.read()[1].get("result", {})
        except _BROKEN:
            return {}
        finally:
            call.close()
        if result.get("isError"):
            self.texts[result["content"][0]["text"][:300]] += 1
            return {"refused": "new_run" in result["content"][0]["text"]}
        facts: dict[str, Any] = result.get("structuredContent") or {}
        return facts


def find_in_state(home: Path, *states: str) -> set[str]:
    """Return the ids of the runs in some states, from the record."""
    with closing(
        sqlite3.connect(f"file:{home / 'store.sqlite3'}?mode=ro", uri=True, timeout=PATIENCE_SECONDS)
    ) as connection:
        marks = ", ".join("?" * len(states))
        rows = connection.execute(f"SELECT id FROM runs WHERE state IN ({marks})", states).fetchall()
    return {row[0] for row in rows}


def find_prompts(home: Path, *states: str) -> list[str]:
    """Return the prompts of the runs in some states, from the record."""
    ids = find_in_state(home, *states)
    with closing(
        sqlite3.connect(f"file:{home / 'store.sqlite3'}?mode=ro", uri=True, timeout=PATIENCE_SECONDS)
    ) as connection:
        rows = connection.execute("SELECT id, arguments_json FROM runs WHERE row_count = 0").fetchall()
    return [str(json.loads(text)["prompt"]) for run_id, text in rows if run_id in ids]


@dataclass
class Kills:
    """What the record had just after each kill."""

    count: int = 0
    starting: set[str] = field(default_factory=set)
    """Runs whose start request may have been on its way."""
    unknown: set[str] = field(default_factory=set)
    """Runs that were seen with an unknown outcome, at any time."""


def kill_again_and_again(server: PublicServer, kills: Kills, seconds: float) -> None:
    """Kill the server at every tenth second and start it again at once."""
    began = time.monotonic()
    while True:
        kills.count += 1
        due_at = began + kills.count * EVERY_SECONDS
        if due_at > began + seconds:
            kills.count -= 1
            return
        while (left := due_at - time.monotonic()) > 0:
            kills.unknown |= find_in_state(server.home, "unknown")
            time.sleep(min(left, 0.25))
        server.kill()
        kills.starting |= find_in_state(server.home, "starting")
        server.start()


def prepare(provider: ProviderProcess) -> None:
    """Have the provider answer starts late, and repeat webhooks that found no server."""
    for _ in range(5):
        provider.ask("faults", {"operation": "run", "fault": "late", "seconds": LATE_SECONDS, "times": 1000})
    provider.ask("webhooks", {"retry_seconds": [*RETRY_SECONDS]})


def test_a_killed_server_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Each wanted run was started once and its result given; unknown ones were being started when the server was killed."""
    with open_provider(tmp_path / "provider", speed=SPEED) as provider:
        prepare(provider)
        environment = {
            **provider.environment,
            "MAGNIFIC_WEBHOOK_SECRET": provider.ask("webhooks")["secret"],
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "1000000",
            "FLOWPORT_PREVIEWS": "false",
        }
        with open_public_server(tmp_path / "flowport", environment) as server:
            load, kills = Load(server, provider=provider), Kills()
            people = [
                *(threading.Thread(target=load.work, args=(f"client {n}",), daemon=True) for n in range(CLIENTS)),
                threading.Thread(target=load.work_in_batches, daemon=True),
            ]
            for one in people:
                one.start()
            kill_again_and_again(server, kills, SECONDS)
            load.is_over.set()
            for one in people:
                while one.is_alive():
                    kills.unknown |= find_in_state(server.home, "unknown")
                    one.join(1.0)
            time.sleep(sum(RETRY_SECONDS))
            left = find_prompts(server.home, "unknown")
            live = find_prompts(server.home, "accepted", "starting", "queued", "running")
            succeeded = Counter(find_prompts(server.home, "succeeded"))
            started = Counter[str](provider.ask("runs")["prompts"])
            report(provider, load, kills, started, left)
    # What the provider never had stays unknown until a person decides; of a row nothing else is done here.
    assert [prompt for prompt in left if prompt in started and prompt not in load.decided] == []
    assert [prompt for prompt in load.wanted if not succeeded[prompt] and prompt not in left] == []
    assert {prompt: count for prompt, count in started.items() if count > 1} == {}
    assert set(started) == set(load.wanted) - (set(left) - set(load.decided))
    assert load.ends == {}
    assert live == []
    assert kills.unknown <= kills.starting


def report(provider: ProviderProcess, load: Load, kills: Kills, started: Counter[str], left: list[str]) -> None:
    """Print the figures."""
    lost = [prompt for prompt in load.wanted if prompt in started and not load.finished[prompt]]
    twice = [prompt for prompt, count in started.items() if count > 1]
    unsettled = [prompt for prompt in left if prompt in started and prompt not in load.decided]
    deliveries = Counter(str(one["status"]) for one in provider.ask("webhooks")["deliveries"])
    sys.stdout.write(
        f"\n{kills.count} kills in {SECONDS:g} s under {CLIENTS} clients and batches of {ROWS} rows: {len(load.wanted)} runs "
        f"wanted, {len(started)} started, {len(lost)} lost, {len(twice)} started twice; {len(kills.starting)} were being "
        f"started at a kill, {len(kills.unknown)} became unknown, {len(left)} of them never arrived at the provider, "
        f"{len(unsettled)} arrived and are unsettled; {load.retries} repeated calls, {provider.ask('counts')['status']} "
        f"reads, webhooks answered {dict(deliveries)}; decided {load.decided}; other ends {dict(load.ends)}\n"
    )
    for text, count in load.texts.most_common(8):
        sys.stdout.write(f"  {count} x {text}\n")
