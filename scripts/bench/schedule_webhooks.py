"""The figures of the schedule while providers report the ends of runs: the real scheduler in virtual time, over seeds.

The limit is pinned at fifty requests a minute. A bound follows from the same runs: each row takes one start and its own time,
and at a provider that has no bulk status one read as well.
"""

import random
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import anyio
from figures import Figure
from omniscient import WINDOW_SECONDS
from schedule import BOUND_SECONDS, ROWS, Outcome, build_figure, carry_by_schedule, carry_out_rows, get_p95
from schedule_both import MagicaAccount
from schedule_world import HISTORY, LATENCY_SECONDS, LIMIT, Job, VirtualAccount, World, draw_seconds, open_world
from virtual import VirtualClock, run_virtually

from flowport.domain.models import Urgency
from flowport.network.ratelimit.limiter import RateLimiter

SEEDS: Final = 20
DELIVERY_SECONDS: Final = 0.1
"""From a run's end to its event at our address."""
WAITED_RUNS: Final = 60
WAITED_EVERY_SECONDS: Final = 5.0

IsLost = Callable[[int, float], bool]
"""Whether a delivery is lost, by its number and the time."""


def lose_none(_: int, __: float) -> bool:
    """Return that it arrives."""
    return False


def lose_fifth(number: int, _: float) -> bool:
    """Return whether it is one of every five."""
    return number % 5 == 0


def stop_after_minute(_: int, now: float) -> bool:
    """Return whether the first minute is over."""
    return now > WINDOW_SECONDS


class Reporter:
    """Delivers the events of an account's runs."""

    def __init__(self, world: World, tasks: anyio.abc.TaskGroup, is_lost: IsLost) -> None:
        self._world = world
        self._tasks = tasks
        self._is_lost = is_lost
        self._deliveries = 0

    def watch(self, run_id: str) -> None:
        """Report the start and the end of a run that was just started."""
        self._tasks.start_soon(self._follow, run_id)

    async def _follow(self, run_id: str) -> None:
        clock, job = self._world.clock, self._world.account.jobs[run_id]
        self._deliver(run_id, is_end=False)
        await clock.sleep(job.started_at + job.duration_seconds + DELIVERY_SECONDS - clock.monotonic())
        self._deliver(run_id, is_end=True)

    def _deliver(self, run_id: str, *, is_end: bool) -> None:
        self._deliveries += 1
        entry = self._world.live_runs.get(run_id)
        if entry is not None and not self._is_lost(self._deliveries, self._world.clock.monotonic()):
            self._world.poller.announce(run_id, self._world.account, is_end=is_end)


def build_pinned_magnific(clock: VirtualClock, chance: random.Random) -> VirtualAccount:
    """Return an account without bulk status."""
    return VirtualAccount(clock, chance)


def build_pinned_magica(clock: VirtualClock, chance: random.Random) -> VirtualAccount:
    """Return an account with bulk status, at the same limit."""
    account = MagicaAccount(clock, chance)
    account.limiter = RateLimiter(LIMIT, clock)
    return account


BuildAccount = Callable[[VirtualClock, random.Random], VirtualAccount]


async def play_rows(build_account: BuildAccount, is_lost: IsLost, seed: int) -> Outcome:
    """Carry out the rows."""
    found: list[Outcome] = []
    async with open_world(seed, build_account=build_account) as world, anyio.create_task_group() as tasks:
        world.report = Reporter(world, tasks, is_lost).watch
        found.append(await carry_out_rows(world, carry_by_schedule, 0.0))
    return found[0]


async def play_waited(build_account: BuildAccount, is_lost: IsLost, seed: int) -> Outcome:
    """Carry out awaited runs, one after the other beginning every few seconds."""
    jobs: list[Job] = []
    async with open_world(seed, build_account=build_account) as world:

        async def ask() -> None:
            """Wait for one."""
            jobs.append(await world.carry_out(Urgency.WAITED))

        async with anyio.create_task_group() as tasks:
            world.report = Reporter(world, tasks, is_lost).watch
            for _ in range(WAITED_RUNS):
                tasks.start_soon(ask)
                await world.clock.sleep(WAITED_EVERY_SECONDS)
    return Outcome(max(job.reported_at for job in jobs), (), jobs, world.account.requests)


def find_starts_bound(seed: int) -> float:
    """Return when the last row ends if starts alone take requests, and every end is known at once."""
    chance, sent, last = random.Random(seed), deque[float](), 0.0  # noqa: S311 - reproducible on purpose
    for _ in range(HISTORY):
        draw_seconds(chance)
    now = 0.0
    for _ in range(ROWS):
        if len(sent) == LIMIT:
            now = max(now, sent.popleft() + WINDOW_SECONDS)
        sent.append(now)
        last = max(last, now + LATENCY_SECONDS / 2 + draw_seconds(chance))
    return last


def play(work: Callable[..., object], *args: object) -> list[Outcome]:
    """Return the outcome for each seed."""
    return [run_virtually(partial(work, *args), seed) for seed in range(SEEDS)]  # type: ignore[arg-type]


def measure_schedule_webhooks() -> list[Figure]:
    """Return the lines of the table."""
    magnific = play(play_rows, build_pinned_magnific, lose_none)
    magica = play(play_rows, build_pinned_magica, lose_none)
    bounds = [find_starts_bound(seed) for seed in range(SEEDS)]
    by_starts = statistics.mean(one.finished_seconds / bound for one, bound in zip(magica, bounds, strict=True))
    without = statistics.mean(one.finished_seconds / bound for one, bound in zip(magnific, bounds, strict=True))
    by_both = statistics.mean(one.finished_seconds / BOUND_SECONDS for one in magnific)
    what = f"{ROWS} rows, reported"
    return [
        build_reads_figure(f"{what}, Magnific", magnific),
        # Rows leave one request in fifty to calls that may come, so that the four hundredth waits for a ninth minute.
        build_figure(f"{what}, Magnific: time to finish, by the bound of a start and a read each", by_both, 1.2, "x"),
        Figure(
            f"{what}, Magnific: the same by the bound of starts alone; its API reads one run a request",
            f"{without:.2f} x",
            "-",
            is_reached=True,
        ),
        build_reads_figure(f"{what}, Magica", magica),
        build_figure(f"{what}, Magica: time to finish, by the bound of starts alone", by_starts, 1.1, "x"),
        *build_waited_figures("all arrive", play(play_waited, build_pinned_magnific, lose_none), 1.2),
        *build_waited_figures("one in five is lost", play(play_waited, build_pinned_magnific, lose_fifth), None),
        *build_waited_figures("none after a minute", play(play_waited, build_pinned_magnific, stop_after_minute), None),
    ]


def build_reads_figure(what: str, outcomes: Sequence[Outcome]) -> Figure:
    """Return the line with the reads of a row."""
    reads = statistics.mean((one.requests - ROWS) / ROWS for one in outcomes)
    return build_figure(f"{what}: reads of a run", reads, 1.2, "")


def build_waited_figures(what: str, outcomes: Sequence[Outcome], limit: float | None) -> list[Figure]:
    """Return the lines for awaited runs."""
    reads = statistics.mean((one.requests - WAITED_RUNS) / WAITED_RUNS for one in outcomes)
    delays = sorted(job.excess_seconds for one in outcomes for job in one.others)
    title = f"awaited runs whose ends are reported, {what}"
    first = (
        Figure(f"{title}: reads of a run", f"{reads:.2f}", "-", is_reached=True)
        if limit is None
        else build_figure(f"{title}: reads of a run", reads, limit, "")
    )
    late = f"{statistics.median(delays):.2f} s, 95th percentile {get_p95(delays):.1f} s"
    return [first, Figure(f"{title}: call to result less the run, median", late, "-", is_reached=True)]
