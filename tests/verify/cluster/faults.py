"""What is done to a team while clients work: members are killed and paused, and the database goes away."""

import http.client
import json
import math
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import anyio
import anyio.to_thread

from tests.support.callers import MODERN, HttpCaller
from tests.support.cluster import Member, Team
from tests.verify.cluster.history import Interruption

KILL_EVERY_SECONDS: Final = 10.0
PAUSE_EVERY_SECONDS: Final = 60.0
PAUSED_SECONDS: Final = 20.0
RESTART_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 22.0
ABSENCES: Final = ((0.0, False), (8.0, False), (2.0, True))
"""Seconds for which the database is away, and whether it ends as by a crash: shortly, for longer than a call waits, and a crash."""

NONE: Final = "no answer"
SERVED: Final = "served"


@dataclass
class Faults:
    """What was done to a team, and how it stood."""

    kills: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    interruptions: list[Interruption] = field(default_factory=list)
    """The same, with the process that it met."""
    ready_at: list[float] = field(default_factory=list)
    """When a replica said that it can do its work."""
    returns: list[float] = field(default_factory=list)
    """When the database was back, in monotonic seconds."""
    answers: Counter[str] = field(default_factory=Counter)
    """What replicas answered while the database was away."""
    paused: Member | None = None
    alone_at: list[float] = field(default_factory=list)
    """When a worker was killed while the other one was paused: none ran until its next process had begun."""
    ended: Counter[str] = field(default_factory=Counter)
    """Members that ended by themselves, as they do when they begin without a database, and were started again."""

    def note_ready(self, team: Team) -> None:
        """Note whether a replica can do its work."""
        if any(replica.ask("/readyz")[0] == HTTPStatus.OK for replica in team.replicas):
            self.ready_at.append(time.monotonic())

    def kill(self, victim: Member) -> None:
        """Kill a member, and start it again at once."""
        self.kills[victim.name] += 1
        self.interruptions.append(Interruption(victim.process_name, time.time(), math.inf))
        if self.paused is not None and {victim.name, self.paused.name} == {"worker-1", "worker-2"}:
            self.alone_at.append(time.monotonic())
        victim.restart()


async def keep_running(team: Team, faults: Faults) -> None:
    """Start what has ended by itself again, as whatever runs containers does."""
    while True:
        await anyio.sleep(RESTART_SECONDS)
        for member in team.members:
            if member.process is not None and member.process.poll() is not None:
                faults.ended[f"{member.name} with {member.process.returncode}"] += 1
                member.start()


async def kill_again_and_again(team: Team, faults: Faults, until: float) -> None:
    """Kill a member at every tenth second and start it again at once."""
    order = [one for pair in zip(team.workers, team.replicas, strict=False) for one in pair]
    order += team.replicas[len(team.workers) :]
    number, began = 0, time.monotonic()
    while (due_at := began + (number + 1) * KILL_EVERY_SECONDS) <= until:
        await anyio.sleep(due_at - time.monotonic())
        victim = next(one for n in range(len(order)) if (one := order[(number + n) % len(order)]) is not faults.paused)
        number += 1
        await anyio.to_thread.run_sync(faults.kill, victim)


async def pause_again_and_again(team: Team, faults: Faults, until: float) -> None:
    """Pause a member every minute and let it go on after twenty seconds."""
    order = [team.workers[0], team.replicas[-1], team.workers[-1], team.replicas[0]]
    number, began = 0, time.monotonic() + FIRST_PAUSE_SECONDS
    while (due_at := began + number * PAUSE_EVERY_SECONDS) <= until:
        await anyio.sleep(max(0.0, due_at - time.monotonic()))
        paused = faults.paused = order[number % len(order)]
        number += 1
        faults.pauses[paused.name] += 1
        began_at = time.time()
        paused.pause()
        try:
            await anyio.sleep(PAUSED_SECONDS)
        finally:
            paused.resume()
            faults.paused = None
            faults.interruptions.append(Interruption(paused.process_name, began_at, time.time()))


async def restart_the_database(team: Team, faults: Faults, until: float) -> None:
    """Restart the database three times, and then cut all connections."""
    away_seconds = sum(seconds for seconds, _ in ABSENCES)
    gap_seconds = (until - time.monotonic() - away_seconds) / (len(ABSENCES) + 2)
    for seconds, is_at_once in ABSENCES:
        await anyio.sleep(gap_seconds)
        await anyio.to_thread.run_sync(lambda at_once: team.postgres.stop(is_at_once=at_once), is_at_once)
        async with anyio.create_task_group() as tasks:
            for replica in team.replicas if seconds else ():
                tasks.start_soon(anyio.to_thread.run_sync, call, team, replica, faults)
            await anyio.sleep(seconds)
            await anyio.to_thread.run_sync(team.postgres.start)
            faults.returns.append(time.monotonic())
    await anyio.sleep(gap_seconds)
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'flowport%%'"
    await anyio.to_thread.run_sync(team.query, cut)
    faults.returns.append(time.monotonic())


def call(team: Team, replica: Member, faults: Faults) -> None:
    """Note what a replica answers while the database is away; one that is just starting answers nothing."""
    with ExitStack() as stack:
        try:
            caller = HttpCaller(f"{replica.url}/mcp", MODERN, stack, team.tokens["anna"])
            response, answer = caller.call("list_runs", {}).read()
        except (OSError, http.client.HTTPException, AssertionError) as exc:
            faults.answers[f"{NONE} ({type(exc).__name__})"] += 1
        else:
            faults.answers[describe_answer(response, answer)] += 1


def describe_answer(response: http.client.HTTPResponse, answer: dict[str, Any]) -> str:
    """Return an answer as its status, whether it says when to ask again, and its words."""
    result = answer.get("result", {})
    if response.status == HTTPStatus.OK and result and not result.get("isError"):
        # The database was back in time.
        return SERVED
    again = ", Retry-After" if response.getheader("retry-after") else ""
    words = result["content"][0]["text"] if result.get("isError") else json.dumps(answer)
    return f"HTTP {response.status}{again}: {words}"


def is_clear(answer: str) -> bool:
    """Return whether an answer says what its caller can do: the database is away, and to ask again."""
    if answer == SERVED or answer.startswith(NONE):
        return True
    if answer.startswith(f"HTTP {HTTPStatus.SERVICE_UNAVAILABLE.value}, Retry-After"):
        return "ry again" in answer
    is_sentence = "the database cannot be reached" in answer and "ask again in a moment" in answer
    return answer.startswith(f"HTTP {HTTPStatus.OK.value}: ") and is_sentence
