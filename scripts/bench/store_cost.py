"""The cost of the store: two hundred concurrent runs with it, without it, and with every sync delayed."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
from figures import Figure
from instant import TOOL_NAME, Client, open_provider, open_workspace

from flowport.cli.serve import SWITCH_SECONDS
from flowport.domain.models import Run
from flowport.domain.run_events import RunEvent, StartRequested, apply
from flowport.domain.spending import SpendingCheck
from flowport.store.interface import Store
from flowport.store.records import Accepted, AttachRules, Recorded, RecordOutcome
from flowport.store.sqlite.connection import STORE_NAME, open_connection
from flowport.store.sqlite.store import SqliteStore
from flowport.store.sqlite.thread import ConnectionThread, StoreWorker

RUNS: Final = 200
ROUNDS: Final = 5
MIN_RATIO: Final = 0.6
MAX_ADDED_SECONDS: Final = 0.025
SYNC_DELAY_SECONDS: Final = 0.005

OpenStore = Callable[[Path], Any]


class SlowThread(ConnectionThread):
    """A thread each of whose commits takes longer, and so each sync that a promise waits for."""

    def write_group(self, jobs: Any) -> None:
        """Wait on the store's thread, where a slow disk would delay it as well."""
        if jobs:
            time.sleep(SYNC_DELAY_SECONDS)
        super().write_group(jobs)


class SlowWorker(StoreWorker):
    """A worker whose writes go to a slow disk."""

    thread_type = SlowThread


class TimedStore(SqliteStore):
    """Records how long each run waits for the store before its start request leaves."""

    def __init__(self, worker: StoreWorker) -> None:
        super().__init__(worker)
        self.seconds: dict[str, float] = {}

    async def accept(self, run: Run, *args: Any, **options: Any) -> Any:
        """Accept a run and record the duration."""
        began = time.perf_counter()
        try:
            return await super().accept(run, *args, **options)
        finally:
            self.seconds[run.id] = time.perf_counter() - began

    async def record(self, run_id: str, event: RunEvent, lease: int | None = None, **options: Any) -> RecordOutcome:
        """Record an event, and how long a run waited before its start request could leave."""
        began = time.perf_counter()
        try:
            return await super().record(run_id, event, lease, **options)
        finally:
            if isinstance(event, StartRequested):
                self.seconds[run_id] += time.perf_counter() - began


class NoStore:
    """Keeps runs in memory, as a Flowport without promises would."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    async def accept(self, run: Run, *_: AttachRules | None, **__: SpendingCheck | None) -> Accepted:
        """Keep a run."""
        self._runs[run.id] = run
        return Accepted(run)

    async def get_run(self, run_id: str, **_: Any) -> Run:
        """Return the run in memory."""
        return self._runs[run_id]

    async def record(self, run_id: str, event: RunEvent, _: int | None = None, **__: Any) -> Recorded:
        """Keep the run to which the event was applied."""
        self._runs[run_id] = apply(self._runs[run_id], event)
        return Recorded(self._runs[run_id])

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Accept every other change, and return nothing for every other query."""

        async def answer(*_: Any, **__: Any) -> Any:
            """Keep nothing."""
            return {"prune": 0, "take_reminder": None}.get(name, ())

        return answer


def open_timed(path: Path) -> TimedStore:
    """Open the store unchanged."""
    return TimedStore(StoreWorker(open_connection(path)))


def open_slow(path: Path) -> TimedStore:
    """Open the store on a slow disk."""
    return TimedStore(SlowWorker(open_connection(path)))


def open_none(_: Path) -> Any:
    """Open nothing."""
    return NoStore()


def measure_store_cost() -> list[Figure]:
    """Run the three in turn, and compare the medians."""
    sys.setswitchinterval(SWITCH_SECONDS)
    taken: dict[OpenStore, list[float]] = {open_none: [], open_timed: [], open_slow: []}
    added: dict[OpenStore, list[float]] = {one: [] for one in taken}
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


async def time_burst(open_one: OpenStore, url: str) -> tuple[float, list[float]]:
    """Return the duration of all runs together, and how long each waited for the store before its request left."""
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        folder = Path(name) / "home"
        folder.mkdir(mode=0o700)
        store: Store = open_one(folder / STORE_NAME)
        async with open_workspace(folder, store, url) as workspace:
            client, states = Client(workspace), list[str]()

            async def run_one(number: int) -> None:
                """Start one run and wait for its end."""
                states.append((await client.call(TOOL_NAME, prompt=f"a lake, {number}"))["state"])

            await run_one(0)
            waits = store.seconds if isinstance(store, TimedStore) else {}
            waits.clear()
            began = time.perf_counter()
            async with anyio.create_task_group() as group:
                for number in range(1, RUNS + 1):
                    group.start_soon(run_one, number)
            seconds = time.perf_counter() - began
        if states != ["succeeded"] * (RUNS + 1):
            raise RuntimeError(f"the runs are {sorted(set(states))}")
        return seconds, list(waits.values())


def build_ratio(what: str, without: float, with_store: float) -> Figure:
    """Return the line of a comparison."""
    ratio = without / with_store
    rates = f"{RUNS / with_store:.0f}/s; without {RUNS / without:.0f}/s"
    return Figure(
        f"throughput of {RUNS} runs side by side with a store, {what} ({rates})",
        f"{ratio:.2f} x",
        f"{MIN_RATIO} x",
        ratio >= MIN_RATIO,
    )


def build_added(what: str, waits: list[float], *, limit: float | None) -> Figure:
    """Return the line with the waits of a run."""
    usual = statistics.quantiles(waits, n=20)[-1]
    median = statistics.median(waits)
    return Figure(
        f"what the store adds before the request leaves{what}, 95th percentile (median {median * 1000:.0f} ms)",
        f"{usual * 1000:.1f} ms",
        "" if limit is None else f"{limit * 1000:.0f} ms",
        limit is None or usual <= limit,
    )
