"""Replicas and workers that are killed and paused, and a database that goes away, under load: nothing is lost or paid twice.

Clients repeat a call until they have its result. The provider answers each start late, so that a kill often falls between a
start request and its answer: such a run becomes `unknown`, and its webhook settles it. Where the provider sends no webhooks, a
person names its run. A kill between the record of `starting` and the request leaves a run `unknown` that the provider never
had: no webhook can come for it, so a person looks at the provider and gives the run up, and the client repeats its call.
"""

import gc
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import psycopg
import pytest

from tests.support.cluster import Team, open_team
from tests.support.harness import Mode
from tests.support.provider_process import ProviderProcess, open_provider
from tests.verify.cluster.faults import (
    Faults,
    is_clear,
    keep_running,
    kill_again_and_again,
    pause_again_and_again,
    restart_the_database,
)
from tests.verify.cluster.history import REPLY, UnknownRuns, find_unknown_runs, install_history
from tests.verify.cluster.load import DATABASE, UNCERTAIN, Load, Person, open_load, report, watch

# Clients of the SDK give up connections that they were about to make; each may be noticed much later.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

SECONDS: Final = float(os.environ.get("FLOWPORT_TEST_KILL_SECONDS", "60"))
"""How long members are killed; 300 for the long form."""
CLIENTS: Final = 200
BATCHES: Final = 2
ROWS: Final = 60
SPEED: Final = 0.6
"""A run takes 27 seconds."""
LATE_SECONDS: Final = 1.0
"""From the start of a run to the answer."""
RETRY_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the attempts of a webhook, as Svix makes them in the first minutes."""
RESUMED_SECONDS: Final = 10.0
"""How soon everything goes on after the database is back."""
LEFT_SECONDS: Final = 300.0
"""How long the calls that are open at the end may take; a figure of a test that failed, no promise."""
LIVE: Final = ("accepted", "starting", "queued", "running")
PEOPLE: Final[dict[str, Mode]] = {"anna": "auto", "ben": "auto", "cem": "auto", "dora": "legacy", "emil": "legacy"}
"""Who calls, and the era of their client."""
SETTINGS: Final = {
    "FLOWPORT_REQUESTS_PER_MINUTE": "0",
    "FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "1000000",
    "FLOWPORT_PERSON_MAX_WAITING_CALLS": "1000",
    "FLOWPORT_PREVIEWS": "false",
}


def find_in_state(team: Team, *states: str) -> set[str]:
    """Return the ids of runs in some states; none while the database is away."""
    try:
        return team.find_in_state(*states)
    except psycopg.OperationalError:
        return set()


Doing = Callable[[Team, Faults, float], Coroutine[Any, Any, None]]


def prepare(provider: ProviderProcess, *, is_reporting: bool) -> None:
    """Have the provider answer starts late, and repeat webhooks that found no server, or lose them all."""
    for _ in range(3 if SECONDS < 100 else 10):
        provider.ask("faults", {"operation": "run", "fault": "late", "seconds": LATE_SECONDS, "times": 1000})
    lost = [] if is_reporting else ["initialized", "finished", "failed"]
    provider.ask("webhooks", {"retry_seconds": [*RETRY_SECONDS], "lost": lost})


async def drive(
    team: Team,
    provider: ProviderProcess,
    faults: Faults,
    seconds: float,
    *doings: Doing,
) -> Load:
    """Have the clients work while things happen to the team; return what they were given."""
    install_history(team)
    people = [Person(team.tokens[name], mode) for name, mode in PEOPLE.items()]
    load = Load(team, provider, team.build_context())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, team, 0.5, faults.note_ready)
        tasks.start_soon(keep_running, team, faults)
        with anyio.fail_after(seconds + LEFT_SECONDS):
            async with open_load(load, people, clients=CLIENTS, batches=BATCHES, rows=ROWS):
                until = time.monotonic() + seconds
                async with anyio.create_task_group() as doing:
                    for one in doings:
                        doing.start_soon(one, team, faults, until)
                # What goes on again is measured while the clients begin calls.
                rest_seconds = RESUMED_SECONDS if faults.returns else 0.0
                await anyio.sleep(max(rest_seconds, until - time.monotonic()))
        await anyio.to_thread.run_sync(settle, team, provider)
        tasks.cancel_scope.cancel()
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # connections that the SDK's client gave up while it made them
    return load


def settle(team: Team, provider: ProviderProcess) -> None:
    """Wait until no run is live, and the last attempts of the webhooks are over if they could still change anything."""
    deadline = time.monotonic() + sum(RETRY_SECONDS)
    while time.monotonic() < deadline:
        started = set(provider.ask("runs")["prompts"])
        if not find_in_state(team, *LIVE) and not started & set(team.find_prompts("unknown")):
            return
        time.sleep(0.5)


@dataclass
class Ending:
    """What the record and the provider have at the end."""

    unknown: UnknownRuns
    live: list[str]
    succeeded: Counter[str]
    started: Counter[str]


async def look(team: Team, provider: ProviderProcess, load: Load, faults: Faults) -> Ending:
    """Return how everything stands, once a person has settled what no webhook settles."""
    started = Counter[str](provider.ask("runs")["prompts"])
    find = partial(find_unknown_runs, team, faults.interruptions, started.keys(), load.decided)
    unknown = await anyio.to_thread.run_sync(find)
    for run_id, prompt in unknown.unsettled.items():
        # A row of a batch, for which no client asks.
        await load.name_run(run_id, prompt, provider.ask("runs")["prompt_runs"][prompt])
    if unknown.unsettled:
        await anyio.to_thread.run_sync(settle, team, provider)
        unknown = await anyio.to_thread.run_sync(find)
    for run_id in unknown.absent:
        await anyio.to_thread.run_sync(team.run_command, "settle", run_id, "--lost", "--not-charged")
    return Ending(unknown, team.find_prompts(*LIVE, "unknown"), Counter(team.find_prompts("succeeded")), started)


def print_figures(what: str, load: Load, faults: Faults, ending: Ending, seconds: float) -> None:
    """Print the figures."""
    lost = [prompt for prompt in load.wanted if prompt in ending.started and not load.finished[prompt]]
    twice = [prompt for prompt, count in ending.started.items() if count > 1]
    deliveries = Counter(str(one["status"]) for one in load.provider.ask("webhooks")["deliveries"])
    report(
        f"{what}: {faults.kills.total()} kills, {faults.pauses.total()} pauses, {len(faults.returns)} returns of the database "
        f"in {seconds:g} s under {CLIENTS} clients and {BATCHES} batches of {ROWS} rows: {len(load.wanted)} runs wanted, "
        f"{len(ending.started)} started, {len(lost)} lost, {len(twice)} started twice; {ending.unknown}; "
        f"{len(load.finished_at)} answers, {load.retries} repeated calls, {load.connections} connections, webhooks answered "
        f"{dict(deliveries)}; {len(load.named)} runs named by a person, {len(load.decided)} given up by one; other "
        f"ends {dict(load.ends)}; ended by themselves {dict(faults.ended)}"
    )
    for prompt in twice[:5]:
        report(f"  started twice: {prompt}: {load.team.query(_RUNS_OF, [prompt])}")
    for history in ending.unknown.unexplained[:5]:
        report(f"  unexplained: {history}")
    for kind, found in (("refused", load.texts), ("broken", load.broken), ("while it was away", faults.answers)):
        for text, count in found.most_common(8):
            report(f"  {kind}: {count} x {text}")


_RUNS_OF: Final = (
    "SELECT id, state, lease, process_id, provider_run_id, to_timestamp(accepted_at), to_timestamp(starting_at), "
    "to_timestamp(started_at), to_timestamp(finished_at), to_timestamp(delivered_at), delivered_to, witness, failure "
    "FROM runs WHERE arguments_json::json ->> 'prompt' = %s ORDER BY accepted_at"
)
"""What is on record of the runs with a prompt."""


def check(team: Team, load: Load, ending: Ending, witness: str) -> None:
    """Nothing is lost or repeated, and only a kill or a pause makes an outcome unknown."""
    assert {prompt: count for prompt, count in ending.started.items() if count > 1} == {}
    assert ending.live == []
    assert set(ending.started) - set(load.wanted) == set()
    # A row that the provider never had is given up; nothing else asks for it again.
    absent = [prompt for prompt in load.wanted if prompt not in ending.started]
    assert len(absent) <= len(ending.unknown.absent) + len(ending.unknown.given_up)
    assert [prompt for prompt in load.wanted if not ending.succeeded[prompt] and prompt not in absent] == []
    assert [prompt for prompt in load.wanted if not load.finished[prompt]] == []
    assert ending.unknown.unexplained == []
    assert (ending.unknown.settled.keys() - {witness, REPLY}, ending.unknown.unsettled) == (set(), {})
    assert load.ends == {}
    assert [member.name for member in team.members if "Traceback" in member.log.read_text(errors="replace")] == []


@pytest.mark.parametrize("is_reporting", [True, False], ids=["webhooks", "no webhooks"])
async def test_a_killed_and_paused_team_loses_and_repeats_nothing(tmp_path: Path, *, is_reporting: bool) -> None:
    """Each wanted run was started once and its result given; unknown ones were being started at a kill or a pause."""
    faults = Faults()
    with open_provider(tmp_path / "provider", "--quick", speed=SPEED) as provider:
        prepare(provider, is_reporting=is_reporting)
        settings = {**SETTINGS, "MAGNIFIC_WEBHOOK_SECRET": provider.ask("webhooks")["secret"]}
        with open_team(tmp_path / "team", provider, people=[*PEOPLE], settings=settings) as team:
            load = await drive(team, provider, faults, SECONDS, kill_again_and_again, pause_again_and_again)
            ending = await look(team, provider, load, faults)
            what = "killed and paused" if is_reporting else "killed and paused without webhooks"
            print_figures(what, load, faults, ending, SECONDS)
    check(team, load, ending, "webhook" if is_reporting else "person")
    assert not (load.named and is_reporting)


async def test_a_team_whose_database_goes_away_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """The same faults, while PostgreSQL is restarted three times and every connection is cut; work goes on within 10 s."""
    faults = Faults()
    with open_provider(tmp_path / "provider", "--quick", speed=SPEED) as provider:
        prepare(provider, is_reporting=True)
        settings = {**SETTINGS, "MAGNIFIC_WEBHOOK_SECRET": provider.ask("webhooks")["secret"]}
        with open_team(tmp_path / "team", provider, people=[*PEOPLE], settings=settings) as team:
            doings = (kill_again_and_again, pause_again_and_again, restart_the_database)
            load = await drive(team, provider, faults, SECONDS, *doings)
            ending = await look(team, provider, load, faults)
            print_figures("database restarted", load, faults, ending, SECONDS)
            resumed = measure_resumption(faults, load, provider)
    for one in resumed:
        report(f"database back: {', '.join(f'{name} after {seconds:.1f} s' for name, seconds in one.items())}")
    check(team, load, ending, "webhook")
    assert load.named == []
    assert [text for text in load.texts if not any(words in text for words in (DATABASE, *UNCERTAIN))] == []
    assert [answer for answer in faults.answers if not is_clear(answer)] == []
    assert [one for one in resumed if max(one.values()) > RESUMED_SECONDS] == []


def measure_resumption(faults: Faults, load: Load, provider: ProviderProcess) -> list[dict[str, float]]:
    """Return for each return of the database how soon a run was started, and a replica was ready.

    Where the last worker that ran is killed meanwhile, the time counts from then on.
    """
    offset = time.time() - time.monotonic()
    runs: list[Any] = list(provider.ask("runs")["runs"].values())
    starts = sorted(run["started_at"] - offset for run in runs if run["started_at"] is not None)
    found: list[dict[str, float]] = []
    for back_at in faults.returns:
        start_at = next((at for at in starts if at > back_at), math.inf)
        ready_at = next((at for at in sorted(faults.ready_at) if at > back_at), math.inf)
        since = max([back_at, *(at for at in faults.alone_at if at < start_at)])
        found.append({"a start": start_at - since, "a ready replica": ready_at - back_at})
    return found
