"""What the ledger costs: two hundred runs side by side with it, without it, and with every sync delayed."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
from figures import Figure
from instant import TOOL_NAME, Client, open_desk, open_provider

from flowport.cli.serve import SWITCH_SECONDS
from flowport.domain.models import Run, RunState
from flowport.domain.spending import PurseTerms
from flowport.store.interface import Ledger
from flowport.store.records import Accepted, AttachRules
from flowport.store.sqlite.connection import LEDGER_NAME, open_connection
from flowport.store.sqlite.store import SqliteLedger
from flowport.store.sqlite.thread import ConnectionThread, LedgerWorker

RUNS: Final = 200
ROUNDS: Final = 5
MIN_RATIO: Final = 0.6
MAX_ADDED_SECONDS: Final = 0.025
SYNC_DELAY_SECONDS: Final = 0.005

OpenLedger = Callable[[Path], Any]


class SlowThread(ConnectionThread):
    """A thread each of whose commits, and so each sync that a promise waits for, takes longer."""

    def write_group(self, jobs: Any) -> None:
        """Wait on the ledger's thread, where a slow disk would hold up the same."""
        if jobs:
            time.sleep(SYNC_DELAY_SECONDS)
        super().write_group(jobs)


class SlowWorker(LedgerWorker):
    """A worker whose writes go to a slow disk."""

    thread_type = SlowThread


class TimedLedger(SqliteLedger):
    """Notes how long each run waits for the ledger before its start request leaves."""

    def __init__(self, worker: LedgerWorker) -> None:
        super().__init__(worker)
        self.seconds: dict[str, float] = {}

    async def accept(self, run: Run, *args: Any, **options: Any) -> Any:
        """Accept and note how long it took."""
        began = time.perf_counter()
        try:
            return await super().accept(run, *args, **options)
        finally:
            self.seconds[run.id] = time.perf_counter() - began

    async def note_starting(self, run_id: str, **options: Any) -> bool:
        """Write `starting` and note how long it took."""
        began = time.perf_counter()
        try:
            return await super().note_starting(run_id, **options)
        finally:
            self.seconds[run_id] += time.perf_counter() - began


class NoLedger:
    """Keeps runs in memory, as a Flowport without promises would."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    async def accept(self, run: Run, *_: AttachRules | None, **__: PurseTerms | None) -> Accepted:
        """Keep a run."""
        self._runs[run.id] = run
        return Accepted(run)

    async def get_run(self, run_id: str, **_: Any) -> Run:
        """Return what is kept."""
        return self._runs[run_id]

    async def note_finished(self, run_id: str, *, state: RunState, outputs: Any, at: float, **_: Any) -> bool:
        """Keep the end."""
        self._runs[run_id] = replace(self._runs[run_id], state=state, outputs=tuple(outputs), finished_at=at)
        return True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Say yes to every other change, and nothing to every other question."""

        async def answer(*_: Any, **__: Any) -> Any:
            """Keep nothing."""
            return {"prune": 0, "take_mention": None}.get(name, True if name.startswith("note_") else ())

        return answer


def open_timed(path: Path) -> TimedLedger:
    """Open the ledger as it is."""
    return TimedLedger(LedgerWorker(open_connection(path)))


def open_slow(path: Path) -> TimedLedger:
    """Open the ledger on a slow disk."""
    return TimedLedger(SlowWorker(open_connection(path)))


def open_none(_: Path) -> Any:
    """Open nothing."""
    return NoLedger()


def measure_ledger_cost() -> list[Figure]:
    """Let the three take turns, and compare the medians."""
    sys.setswitchinterval(SWITCH_SECONDS)
    taken: dict[OpenLedger, list[float]] = {open_none: [], open_timed: [], open_slow: []}
    added: dict[OpenLedger, list[float]] = {one: [] for one in taken}
    with open_provider() as url:
        for number in range(ROUNDS + 1):
            for one, bursts in taken.items():
                seconds, waits = anyio.run(time_burst, one, url)
                # The first of each warms up.
                if number:
                    bursts.append(seconds)
                    added[one] += waits
    without = statistics.median(taken[open_none])
    return [
        build_ratio("instant provider", without, statistics.median(taken[open_timed])),
        build_ratio("every sync delayed 5 ms", without, statistics.median(taken[open_slow])),
        build_added("", added[open_timed], limit=MAX_ADDED_SECONDS),
        build_added(", every sync delayed 5 ms", added[open_slow], limit=None),
    ]


async def time_burst(open_one: OpenLedger, url: str) -> tuple[float, list[float]]:
    """Return how long the runs took together, and how long each waited for the ledger before its request left."""
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        folder = Path(name) / "home"
        folder.mkdir(mode=0o700)
        ledger: Ledger = open_one(folder / LEDGER_NAME)
        async with open_desk(folder, ledger, url) as desk:
            client, states = Client(desk), list[str]()

            async def run_one(number: int) -> None:
                """Ask for one run and wait for its end."""
                states.append((await client.call(TOOL_NAME, prompt=f"a lake, {number}"))["state"])

            await run_one(0)
            waits = ledger.seconds if isinstance(ledger, TimedLedger) else {}
            waits.clear()
            began = time.perf_counter()
            async with anyio.create_task_group() as group:
                for number in range(1, RUNS + 1):
                    group.start_soon(run_one, number)
            seconds = time.perf_counter() - began
        if states != ["succeeded"] * (RUNS + 1):
            raise RuntimeError(f"the runs are {sorted(set(states))}")
        return seconds, list(waits.values())


def build_ratio(what: str, without: float, with_ledger: float) -> Figure:
    """Return the line of a comparison."""
    ratio = without / with_ledger
    rates = f"{RUNS / with_ledger:.0f}/s; without {RUNS / without:.0f}/s"
    return Figure(
        f"throughput of {RUNS} runs side by side with a ledger, {what} ({rates})",
        f"{ratio:.2f} x",
        f"{MIN_RATIO} x",
        ratio >= MIN_RATIO,
    )


def build_added(what: str, waits: list[float], *, limit: float | None) -> Figure:
    """Return the line of what a run waits."""
    usual = statistics.quantiles(waits, n=20)[-1]
    median = statistics.median(waits)
    return Figure(
        f"what the ledger adds before the request leaves{what}, 95th percentile (median {median * 1000:.0f} ms)",
        f"{usual * 1000:.1f} ms",
        "" if limit is None else f"{limit * 1000:.0f} ms",
        limit is None or usual <= limit,
    )
