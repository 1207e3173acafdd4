"""The figures of the schedule: the real scheduler in virtual time, over seeds, compared with polls at a fixed pace."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
from figures import Figure
from omniscient import find_best_finish
from schedule_world import APP, LIMIT, Job, World, open_world
from virtual import run_virtually

from flowport.domain.models import Urgency
from flowport.network.ratelimit.limiter import Priority
from flowport.runs.steps import get_max_live_rows

SEEDS: Final = 20
ROWS: Final = 200
BOUND_SECONDS: Final = 420.0
"""One start and one poll for each of the rows, fifty in any minute."""
SIDE_BY_SIDE: Final = 10
FIXED_SECONDS: Final = 4.0


@dataclass(frozen=True)
class Outcome:
    """The outcome of one measurement."""

    finished_seconds: float
    rows: Sequence[Job]
    others: Sequence[Job]
    """Runs with a waiting caller."""
    requests: int


Carry = Callable[[World, Urgency], Awaitable[Job]]


async def carry_by_schedule(world: World, urgency: Urgency) -> Job:
    """Carry a run out as the program does."""
    return await world.carry_out(urgency)


async def play_batch(carry: Carry, every_seconds: float, seed: int) -> Outcome:
    """Carry out the rows in a world of their own."""
    async with open_world(seed) as world:
        return await carry_out_rows(world, carry, every_seconds)


async def carry_out_rows(world: World, carry: Carry, every_seconds: float) -> Outcome:
    """Carry out the rows, each as a slot becomes free, and beside them an awaited run at a fixed interval."""
    rows: list[Job] = []
    others: list[Job] = []
    left = iter(range(ROWS))
    over = anyio.Event()

    async def work() -> None:
        """Take rows until none is left."""
        rows.extend([await carry(world, Urgency.BATCH) for _ in left])
        if len(rows) == ROWS:
            over.set()

    async def ask() -> None:
        """Start an awaited run."""
        others.append(await carry(world, Urgency.WAITED))

    async with anyio.create_task_group() as tasks:
        for _ in range(get_max_live_rows(world.account.limiter.limit)):
            tasks.start_soon(work)
        if every_seconds:
            while not over.is_set():
                await world.clock.sleep(every_seconds * (0.5 if not world.clock.monotonic() else 1.0))
                if not over.is_set():
                    tasks.start_soon(ask)
    return Outcome(max(job.reported_at for job in rows), rows, others, world.account.requests)


async def play_side_by_side(carry: Carry, seed: int) -> Outcome:
    """Start ten awaited runs at once."""
    others: list[Job] = []
    async with open_world(seed) as world:

        async def ask() -> None:
            """Wait for one."""
            others.append(await carry(world, Urgency.WAITED))

        async with anyio.create_task_group() as tasks:
            for _ in range(SIDE_BY_SIDE):
                tasks.start_soon(ask)
    return Outcome(max(job.reported_at for job in others), (), others, world.account.requests)


async def carry_by_fixed_pace(world: World, _: Urgency) -> Job:
    """Start a run, then poll it every four seconds as far as the rate limit allows; starts go first."""
    job = Job(world.clock.monotonic())
    name = f"f{len(world.account.jobs)}"
    world.account.jobs[name] = job
    await world.account.wait_for_turn(Priority.START)
    start = world.account.provider
    await world.account.send_now(start.build_start_request(APP, {"n": name}))
    while True:
        await world.clock.sleep(FIXED_SECONDS)
        await world.account.wait_for_turn(Priority.POLL)
        answer = await world.account.send_now(start.build_status_request(name))
        if start.parse_status(answer, now=world.clock.now()).state.is_final:
            job.reported_at = world.clock.monotonic()
            return job


def play(work: Callable[..., Awaitable[Outcome]], *args: object) -> list[Outcome]:
    """Return the outcome for each seed."""
    return [run_virtually(partial(work, *args), seed) for seed in range(SEEDS)]


def measure_schedule() -> list[Figure]:
    """Return the lines of the table."""
    alone = play(play_batch, carry_by_schedule, 0.0)
    shared = play(play_batch, carry_by_schedule, 60.0)
    beside = play(play_side_by_side, carry_by_schedule)
    fixed = play(play_side_by_side, carry_by_fixed_pace)
    return [
        *build_batch_figures(alone),
        build_best_figure(),
        *build_shared_figures(shared),
        *build_beside_figures(beside, fixed),
    ]


def build_batch_figures(alone: Sequence[Outcome]) -> list[Figure]:
    """Return the lines for a batch alone."""
    ratios = [one.finished_seconds / BOUND_SECONDS for one in alone]
    delays = [sorted(job.delay_seconds for job in one.rows) for one in alone]
    looks = statistics.mean(one.requests - ROWS for one in alone) / ROWS
    what = f"{ROWS} rows alone"
    worst = [build_figure(f"{what}: time to finish, worst seed", max(ratios), 1.6, "x")] if len(alone) > 1 else []
    return [
        build_figure(
            f"{what}: time to finish, by the bound ({looks:.2f} looks a row)", statistics.mean(ratios), 1.25, "x"
        ),
        *worst,
        build_figure(
            f"{what}: from a row's end to its result, mean", statistics.mean(map(statistics.mean, delays)), 60, "s"
        ),
        build_figure(f"{what}: 95th percentile", statistics.mean(map(get_p95, delays)), 110, "s"),
    ]


def build_best_figure() -> Figure:
    """Return the line with the optimum for as many live rows, whatever the delays; it has no limit itself."""
    live_rows = get_max_live_rows(LIMIT)
    seconds, gathered = find_best_finish(range(SEEDS), rows=ROWS, live_rows=live_rows)
    order = {1: "looks first", live_rows: "starts first"}.get(gathered, f"looks from {gathered} ends on")
    what = f"{ROWS} rows alone, were every end known at once ({order}): time to finish"
    return Figure(what, f"{seconds / BOUND_SECONDS:.2f} x", "-", is_reached=True)


def build_shared_figures(shared: Sequence[Outcome]) -> list[Figure]:
    """Return the lines for a batch beside awaited runs."""
    ratios = [one.finished_seconds / BOUND_SECONDS for one in shared]
    delays = [sorted(job.excess_seconds for job in one.others) for one in shared]
    what = f"{ROWS} rows and one run a minute that is waited for"
    return [
        build_figure(f"{what}: time to finish", statistics.mean(ratios), 1.45, "x"),
        build_figure(
            f"{what}: from call to result less its duration, median",
            statistics.mean(map(statistics.median, delays)),
            5.5,
            "s",
        ),
        build_figure(f"{what}: 95th percentile", get_p95(sorted(d for one in delays for d in one)), 10, "s"),
    ]


def build_beside_figures(beside: Sequence[Outcome], fixed: Sequence[Outcome]) -> list[Figure]:
    """Return the line for concurrent runs."""
    ours, theirs = (
        statistics.mean(job.excess_seconds for one in outcomes for job in one.others) for outcomes in (beside, fixed)
    )
    return [
        build_figure(
            f"{SIDE_BY_SIDE} runs side by side: from call to result less the run, mean; at most as every 4 s",
            ours,
            theirs,
            "s",
        )
    ]


def build_figure(what: str, measured: float, limit: float, unit: str) -> Figure:
    """Return a line."""
    return Figure(what, f"{measured:.2f} {unit}", f"{limit:.4g} {unit}", measured <= limit)


def get_p95(values: Sequence[float]) -> float:
    """Return the 95th percentile of sorted values."""
    return values[round(0.95 * len(values)) - 1]
