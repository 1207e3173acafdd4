"""The request limit of a team: windows in a database against those in a file, and processes on several machines."""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowport.domain.models import BootTime
from flowport.network.ratelimit.learned_limit import Limits
from flowport.network.ratelimit.limiter import _REQUESTS, Priority
from flowport.network.ratelimit.record import leave, note_answered_probe, note_delay, note_quota, note_refusal
from flowport.network.ratelimit.state import Change, SharedFile, SharedState
from flowport.network.ratelimit.window import Demand, Grant
from flowport.store.postgres.rate_windows import RateWindowTable
from flowport.store.sqlite.rate_windows import RateWindowFile
from tests.support.fake_clock import FakeClock
from tests.support.postgres import PostgresServer
from tests.support.virtual_database import VirtualDatabase

MACHINES: Final = 3


class MachineClock(FakeClock):
    """The clock of one of several machines, each of which was started at another time."""

    def __init__(self, machine: int, *, ahead_seconds: float) -> None:
        super().__init__(is_automatic=False)
        self._machine = machine
        self._ahead_seconds = ahead_seconds

    def boot_time(self) -> BootTime:
        """Return the time since this machine was started."""
        return BootTime(f"boot {self._machine}", self.monotonic() + self._ahead_seconds)


@dataclass(frozen=True)
class Wanted:
    """Requests that a process wants to send."""

    process: int
    priorities: list[Priority]


@dataclass(frozen=True)
class Noted:
    """A response that says something of the limit, or a process that leaves."""

    process: int
    change: Change


Step = float | Wanted | Noted

LIMITS = st.builds(
    Limits, per_minute=st.integers(1, 12), per_day=st.sampled_from([0, 0, 40]), ceiling=st.integers(0, 40)
)
PROCESSES = st.integers(0, MACHINES - 1)
SECONDS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.5, 7.0, 15.0, 31.0, 60.0, 130.0, 4000.0])


def build_changes(limits: Limits) -> st.SearchStrategy[Change]:
    """Return what responses say."""
    return st.one_of(
        st.builds(
            lambda seconds, age, is_probe: partial(
                note_refusal, limits=limits, seconds=seconds, age_seconds=age, is_probe=is_probe
            ),
            st.sampled_from([1.0, 10.0, 59.5, 400.0]),
            st.sampled_from([0.0, 0.5, 20.0]),
            st.booleans(),
        ),
        st.builds(lambda seconds: partial(note_delay, seconds=seconds), st.sampled_from([0.125, 0.5, 3.0])),
        st.builds(
            lambda left, reset: partial(note_quota, left=left, reset_seconds=reset),
            st.integers(0, 9),
            st.sampled_from([5.0, 60.0, 7200.0]),
        ),
        st.builds(lambda process: partial(leave, process_id=str(process)), PROCESSES),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Limits, list[Step]]:
    """Return limits and what happens."""
    limits = draw(LIMITS)
    wanted = st.builds(Wanted, PROCESSES, st.lists(st.sampled_from(Priority), min_size=1, max_size=6).map(sorted))
    noted = st.builds(Noted, PROCESSES, build_changes(limits))
    return limits, draw(st.lists(st.one_of(SECONDS, wanted, wanted, noted), max_size=40))


class Team:
    """Processes that share one record of an account."""

    def __init__(self, limits: Limits, files: list[SharedFile], clocks: list[FakeClock]) -> None:
        self.clocks = clocks
        self._limits = limits
        self._states = [SharedState(file, "key", clock) for file, clock in zip(files, clocks, strict=True)]

    async def play(self, step: Wanted | Noted) -> Grant | None:
        """Do what one of the processes does."""
        state = self._states[step.process]
        if isinstance(step, Noted):
            state.apply(step.change)
            # It is in the background; only the order in one process is certain.
            await state.read()
            return None
        demand = Demand(str(step.process), self._limits, [_REQUESTS[one] for one in step.priorities])
        grant = await state.exchange(demand)
        if grant.probed_at is not None:
            state.apply(partial(note_answered_probe, limits=self._limits, probed_at=grant.probed_at, used=grant.used))
        used = (await state.read()).used
        assert used == grant.used or not grant.used
        return grant


def simplify(grant: Grant) -> tuple[object, ...]:
    """Return a grant without instants, which two clocks count from different beginnings."""
    seconds = (grant.again_seconds, grant.ready_seconds, grant.resumes_seconds)
    rounded = tuple(None if one is None or one == float("inf") else round(one, 4) for one in seconds)
    learned = (grant.learned.proven, grant.learned.ceiling)
    return (grant.granted, grant.extra, grant.used, grant.limit, grant.can_rise, grant.is_reported, learned, rounded)


@pytest.fixture(scope="module")
def virtual(postgres: PostgresServer) -> VirtualDatabase:
    """Make a database whose clock the tests set."""
    return VirtualDatabase(postgres)


@given(history=histories())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_database_grants_what_a_file_grants(
    virtual: VirtualDatabase, tmp_path_factory: pytest.TempPathFactory, history: tuple[Limits, list[Step]]
) -> None:
    """The same demands, responses, refusals and pauses of several processes, on machines whose clocks say other things."""
    limits, steps = history
    virtual.execute("DELETE FROM rate_windows")
    path = tmp_path_factory.mktemp("home") / "limits.sqlite3"

    async def run() -> None:
        """Play it on both."""
        shared, apart = [FakeClock(is_automatic=False) for _ in range(MACHINES)], list(open_machines())
        tables = [RateWindowTable(virtual.url, clock=clock) for clock in apart]
        files = [RateWindowFile(path) for _ in range(MACHINES)]
        by_file, by_database = Team(limits, list(files), list(shared)), Team(limits, list(tables), list(apart))
        try:
            for step in steps:
                if isinstance(step, float):
                    for clock in (*shared, *apart):
                        clock.advance(step)
                    virtual.set(virtual.now + step)
                else:
                    granted = [await team.play(step) for team in (by_file, by_database)]
                    first, second = [simplify(one) if one else None for one in granted]
                    assert first == second
        finally:
            for table in tables:
                await table.close()
            for file in files:
                await file.close()

    anyio.run(run)


def open_machines() -> Iterator[MachineClock]:
    """Return the clocks of machines; one is behind and one ahead, by seconds, days and years."""
    for machine, ahead_seconds in zip(range(MACHINES), (0.0, 3.0, 86_400.0 * 500), strict=True):
        yield MachineClock(machine, ahead_seconds=ahead_seconds)


PROCESS: Final = """
import asyncio, json, sys
from tests.network.test_windows_across_machines import serve
asyncio.run(serve(*sys.argv[1:]))
"""


async def serve(url: str, machine: str, limit: str) -> None:
    """Be one process: send as many requests as are granted at each instant that the test names, and report them."""
    clock = MachineClock(int(machine), ahead_seconds=3.0 * int(machine) * (-1) ** int(machine) + 100.0)
    table = RateWindowTable(url, clock=clock, patience_seconds=60.0)
    state = SharedState(table, "key", clock)
    limits = Limits(int(limit), 0, int(limit))
    first = True
    while line := sys.stdin.readline():
        clock.advance(float(line))
        sent = 0
        while True:
            priorities = [Priority.START] * 2 + [Priority.POLL] * 6
            grant = await state.exchange(Demand(machine, limits, [_REQUESTS[one] for one in priorities]))
            sent += grant.granted
            if not grant.granted:
                break
        if first:
            state.apply(partial(note_delay, seconds=0.25))
            first = False
        sys.stdout.write(json.dumps({"sent": sent, "is_shared": state.is_shared}) + "\n")
        sys.stdout.flush()
    await table.close()


def test_three_processes_on_machines_with_other_clocks_use_one_limit(virtual: VirtualDatabase) -> None:
    """A provider that counts any 60 seconds refuses nothing, and gets at least 95 of 100 requests that it allows."""
    virtual.execute("DELETE FROM rate_windows")
    accepted: deque[float] = deque()
    total, refused, limit, minutes, step = 0, 0, 50, 6, 0.5
    with ExitStack() as stack:
        children = [stack.enter_context(open_process(virtual.url, machine, limit)) for machine in range(MACHINES)]
        now = 0.0
        while now < minutes * 60.0:
            for child in children:
                send_line(child, step)
            # The answers of all three: each asked at this instant, at the same time as the others.
            answers = [read_line(child) for child in children]
            assert all(one["is_shared"] for one in answers)
            while accepted and accepted[0] <= now - 60.0:
                accepted.popleft()
            for _ in range(sum(one["sent"] for one in answers)):
                if len(accepted) < limit:
                    accepted.append(now)
                    total += 1
                else:
                    refused += 1
            now += step
            virtual.set(virtual.now + step)
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
    assert refused == 0
    assert total >= 0.95 * limit * minutes


def open_process(url: str, machine: int, limit: int) -> "subprocess.Popen[str]":
    """Start one process of the team."""
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, url, str(machine), str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def send_line(child: "subprocess.Popen[str]", seconds: float) -> None:
    """Let time pass for a process, and have it send what it may."""
    stream: IO[str] | None = child.stdin
    assert stream is not None
    stream.write(f"{seconds}\n")
    stream.flush()


def read_line(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return what a process sent."""
    assert child.stdout is not None
    answer: dict[str, Any] = json.loads(child.stdout.readline())
    return answer


async def test_windows_void_each_other_where_machines_use_their_own_clocks(tmp_path: Path) -> None:
    """What the instant of the database is for: with a file on a shared disk, each machine would have a limit of its own."""
    clocks = list(open_machines())[:2]
    files = [RateWindowFile(tmp_path / "limits.sqlite3") for _ in clocks]
    limits = Limits(8, 0, 8)
    team = Team(limits, list(files), list(clocks))
    granted = 0
    for process in (0, 1) * 8:
        grant = await team.play(Wanted(process, [Priority.POLL]))
        granted += grant.granted if grant else 0
    assert granted > 8
    for one in files:
        await one.close()


async def test_what_was_sent_while_the_database_was_away_is_counted_by_its_clock(virtual: VirtualDatabase) -> None:
    """The machine's own clock says something else; the requests would count for years, or not at all."""
    virtual.execute("DELETE FROM rate_windows")
    clock = MachineClock(2, ahead_seconds=86_400.0 * 500)
    table = RateWindowTable(virtual.url, clock=clock)
    state = SharedState(table, "key", clock)
    demand = Demand("p", Limits(8, 0, 8), [_REQUESTS[Priority.POLL]])
    assert (await state.exchange(demand)).used == 1
    virtual.execute("ALTER TABLE rate_windows RENAME TO hidden")
    assert (await state.exchange(demand)).granted == 1
    assert not state.is_shared
    virtual.execute("ALTER TABLE hidden RENAME TO rate_windows")
    clock.advance(2.0)
    virtual.set(virtual.now + 2.0)
    assert (await state.exchange(demand)).used == 3
    assert state.is_shared
    clock.advance(60.0)
    virtual.set(virtual.now + 60.0)
    assert (await state.exchange(replace(demand, process_id="q"))).used == 2
    await table.close()
