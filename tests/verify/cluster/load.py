"""Clients of the official SDK that repeat a call until they have its result, as people and their programs do."""

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import psycopg
from mcp import Client

from tests.support.cluster import Team
from tests.support.harness import Mode
from tests.support.provider_process import ProviderProcess

TOOL: Final = "slow_cinema_still"
PAUSE_SECONDS: Final = 1.0
DECIDE_SECONDS: Final = 40.0
"""How long a client is refused, because the outcome of its run is unknown, before it looks at the provider."""
CALL_SECONDS: Final = 120.0
"""When a client takes its connection for dead, as programs do: longer than a call waits."""
DATABASE: Final = "database"
"""A word of every sentence about a database that is gone."""
PROMPT_OF: Final = "SELECT arguments_json::json ->> 'prompt' FROM runs WHERE id = %s"
UNCERTAIN: Final = ("may or may not have been started", "Nothing new was started")
"""Words about a run whose outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who calls, and how."""

    token: str
    mode: Mode


@dataclass
class Load:
    """The clients, and what they were given."""

    team: Team
    provider: ProviderProcess
    context: Any
    is_over: anyio.Event = field(default_factory=anyio.Event)
    """Set when no new call is begun."""
    wanted: list[str] = field(default_factory=list)
    """The prompts of all calls and rows that were begun."""
    finished: Counter[str] = field(default_factory=Counter)
    """The prompts of calls that had their result, and the rows of batches that had."""
    finished_at: list[float] = field(default_factory=list)
    """When each call had its result, in monotonic seconds."""
    ends: Counter[str] = field(default_factory=Counter)
    """Every other final state that a client was given."""
    retries: int = 0
    connections: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    """How calls ended that were not answered."""
    texts: Counter[str] = field(default_factory=Counter)
    """What clients were refused with."""
    decided: list[str] = field(default_factory=list)
    """Prompts whose unknown run a person gave up, since the provider never had it."""
    named: list[str] = field(default_factory=list)
    """Prompts whose run a person has found at the provider, and named to Flowport."""
    person: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    """The one who does so."""

    async def work(self, line: "Line", name: str) -> None:
        """Make one call after the other."""
        number = 0
        while not self.is_over.is_set():
            number += 1
            prompt = f"{name}, call {number}"
            self.wanted.append(prompt)
            await self._call_until_done(line, TOOL, {"prompt": prompt})
            self.finished[prompt] += 1
        line.close()

    async def work_in_batches(self, line: "Line", name: str, rows: int) -> None:
        """Make one batch after the other."""
        number = 0
        while not self.is_over.is_set():
            number += 1
            prompts = [f"{name}, batch {number}, row {row}" for row in range(rows)]
            self.wanted.extend(prompts)
            arguments = {"app": TOOL, "rows": [{"prompt": one} for one in prompts]}
            await self._call_until_done(line, "run_batch", arguments)
            self.finished.update(prompts)
        line.close()

    async def _call_until_done(self, line: "Line", tool: str, arguments: dict[str, Any]) -> None:
        """Repeat a call until it is answered with the result."""
        refused_at: float | None = None
        while True:
            facts = await line.try_call(tool, arguments)
            # Rows that the provider never had are counted at the end.
            if facts.get("state") == "succeeded" or (tool == "run_batch" and facts.get("state") == "partial"):
                self.finished_at.append(time.monotonic())
                return
            if facts.get("state") in {"failed", "partial", "cancelled"}:
                self.ends[f"{facts['state']}: {facts.get('problem', facts.get('summary'))}"] += 1
            is_refused = facts.get("refused", False)
            refused_at = (refused_at or time.monotonic()) if is_refused else None
            if refused_at is not None and time.monotonic() - refused_at > DECIDE_SECONDS:
                refused_at = None
                await self._decide(facts["run_id"])
            self.retries += 1
            await anyio.sleep(PAUSE_SECONDS)

    async def _decide(self, run_id: str) -> None:
        """Look at the provider for an unknown run, and name its run there or give it up; the plain call is repeated then."""
        started = await anyio.to_thread.run_sync(lambda: self.provider.ask("runs")["prompt_runs"])
        try:
            (prompt,) = (await anyio.to_thread.run_sync(self.team.query, PROMPT_OF, [run_id]))[0]
            if prompt in started:
                await self.name_run(run_id, prompt, started[prompt])
                return
            words = ("settle", run_id, "--lost", "--not-charged")
            await anyio.to_thread.run_sync(self.team.run_command, *words, limiter=self.person)
        except (psycopg.OperationalError, AssertionError) as exc:
            # The database is away, or the run was settled meanwhile: a call that is still refused comes here again.
            self.broken[describe(exc)] += 1
        else:
            self.decided.append(prompt)

    async def name_run(self, run_id: str, prompt: str, provider_run_id: str) -> None:
        """Do what a person does who has found the run of an unknown start at the provider."""
        self.named.append(prompt)
        words = ("settle", run_id, "--provider-run", provider_run_id)
        await anyio.to_thread.run_sync(self.team.run_command, *words, limiter=self.person)


class Line:
    """A client's connection, made again after each error. It lives in a task of its own: an error ends that alone."""

    def __init__(self, load: Load, person: Person, tasks: anyio.abc.TaskGroup) -> None:
        self._load = load
        self._person = person
        self._tasks = tasks
        self._client: Client | None = None
        self._close = anyio.Event()

    def close(self) -> None:
        """Disconnect."""
        self._client = None
        self._close.set()

    async def _live(self, *, task_status: anyio.abc.TaskStatus[Client | None]) -> None:
        """Be connected until it is over; the client is None where there is no connection."""
        close = self._close = anyio.Event()
        is_started = False
        try:
            async with self._load.team.connect(
                self._person.token, self._person.mode, context=self._load.context
            ) as client:
                # As clients do. Otherwise the SDK asks for the list after a result, and loses the result where that fails.
                await client.list_tools()
                self._load.connections += 1
                is_started = True
                task_status.started(client)
                await close.wait()
        except Exception as exc:  # noqa: BLE001 - whatever ends a connection, the client makes another
            self._load.broken[describe(exc)] += 1
        if not is_started:
            task_status.started(None)

    async def try_call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the facts of an answer; nothing where there was none."""
        if self._client is None:
            with anyio.move_on_after(CALL_SECONDS):
                self._client = await self._tasks.start(self._live)
        if self._client is None:
            return {}
        try:
            with anyio.fail_after(CALL_SECONDS):
                result = await self._client.call_tool(tool, arguments)
        except Exception as exc:  # noqa: BLE001 - likewise
            self._load.broken[describe(exc)] += 1
            self.close()
            return {}
        if result.is_error:
            text = getattr(result.content[0], "text", "")
            self._load.texts[shorten(text)] += 1
            found = re.search(r"\brun_\w+", text)
            return {"refused": "new_run" in text, "run_id": found[0] if found else ""}
        return result.structured_content or {}


def describe(exc: BaseException) -> str:
    """Return an error's kind and sentence; of a group, those of its first member."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {shorten(str(exc))}"


def shorten(text: str) -> str:
    """Return the beginning of a text, without what differs from run to run."""
    return " ".join("…" if any(letter.isdigit() for letter in word) else word for word in text.split())[:160]


# The SDK reports each lost connection.
logging.getLogger("mcp").setLevel(logging.CRITICAL)


@asynccontextmanager
async def open_load(
    load: Load, people: Sequence[Person], *, clients: int, batches: int, rows: int
) -> AsyncIterator[None]:
    """Have so many clients work, and let each have its result at the end."""
    async with anyio.create_task_group() as tasks:
        lines = (Line(load, people[number % len(people)], tasks) for number in range(clients + batches))
        for number in range(clients):
            tasks.start_soon(load.work, next(lines), f"client {number}")
        for number in range(batches):
            tasks.start_soon(load.work_in_batches, next(lines), f"person {number}", rows)
        try:
            yield
        finally:
            load.is_over.set()


async def watch(team: Team, every_seconds: float, note: Callable[[Team], None]) -> None:
    """Look at the team again and again, until it is cancelled."""
    while True:
        await anyio.to_thread.run_sync(note, team)
        await anyio.sleep(every_seconds)


def report(line: str) -> None:
    """Print a figure."""
    sys.stdout.write(f"\n{line}\n")
