"""The figures of the schedule while a second provider carries out its own batch in the same process.

Each account has its own limiter, poller and slots, so the figures must equal those of the account alone, except for the
order of simultaneous events.
"""

import random
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from figures import Figure
from schedule import ROWS, Outcome, carry_by_schedule, carry_out_rows, get_p95, play_batch
from schedule_world import APP, VirtualAccount, World, build_answer, open_world
from virtual import VirtualClock, run_virtually

from flowport.domain.errors import Operation
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.providers.magica.api import Magica
from flowport.providers.magica.inputs import RequestField, build_inputs

SEEDS: Final = 6
"""Few, because each must be equal."""
TOLERANCE: Final = 0.002
"""The most that the order of simultaneous events may change."""
EVERY_SECONDS: Final = (0.0, 60.0)
"""Between two awaited runs beside the rows; 0 for none."""
_FIELD: Final = RequestField("node", "n", {"id": "n", "type": "text"})
_APP: Final = replace(APP, provider="magica", inputs=build_inputs("a", [_FIELD]))

T = TypeVar("T")


class MagicaAccount(VirtualAccount):
    """The same, with Magica's API and limits."""

    def __init__(self, clock: VirtualClock, chance: random.Random) -> None:
        super().__init__(clock, chance, Magica(), _APP)

    def read_name(self, body: Any) -> str:
        """Return which run a start request is for."""
        return str(body["values"]["node"]["n"])

    def answer_start(self, run_id: str) -> ApiAnswer:
        """Answer a start request."""
        return build_answer({"runId": run_id}, 202)

    def answer_poll(self, request: ApiRequest) -> ApiAnswer:
        """Answer a poll of one run or of several."""
        if request.operation is Operation.READ_RUNS:
            ids: Any = (request.body or {})["ids"]
            return build_answer({"runs": [{"id": one, **_build_run(is_over=self.is_over(one))} for one in ids]})
        return build_answer(_build_run(is_over=self.is_over(request.path.rpartition("/")[2].partition("?")[0])))


def _build_run(*, is_over: bool) -> dict[str, Any]:
    made = [{"nodeType": "response", "status": "COMPLETED", "output": {"result": ["https://cdn.example/a.png"]}}]
    return {"status": "COMPLETED" if is_over else "RUNNING", "nodeRuns": made if is_over else []}


@asynccontextmanager
async def open_both(seed: int) -> AsyncIterator[tuple[World, World]]:
    """Build one process with both accounts; Magnific's runs are the same as without the other."""
    async with open_world(seed) as world:
        account = MagicaAccount(world.clock, random.Random(f"magica {seed}"))  # noqa: S311 - reproducible on purpose
        yield world, replace(world, account=account, jobs=[])
    if account.refused:
        raise RuntimeError(f"{account.refused} requests were refused")


@asynccontextmanager
async def open_magica(seed: int) -> AsyncIterator[World]:
    """Build a process in which Magnific has no work."""
    async with open_both(seed) as (_, world):
        yield world


async def play_magnific(every_seconds: float, seed: int) -> Outcome:
    """Carry out Magnific's rows alone."""
    return await play_batch(carry_by_schedule, every_seconds, seed)


async def play_magica(every_seconds: float, seed: int) -> Outcome:
    """Carry out Magica's rows alone."""
    async with open_magica(seed) as world:
        return await carry_out_rows(world, carry_by_schedule, every_seconds)


async def play_both(every_seconds: float, seed: int) -> tuple[Outcome, Outcome]:
    """Carry out a batch of each at once."""
    found: dict[str, Outcome] = {}

    async def carry_out(world: World) -> None:
        """Carry out one."""
        found[world.account.account.provider] = await carry_out_rows(world, carry_by_schedule, every_seconds)

    async with open_both(seed) as worlds, anyio.create_task_group() as tasks:
        for world in worlds:
            tasks.start_soon(carry_out, world)
    return found["magnific"], found["magica"]


def measure_schedule_both() -> list[Figure]:
    """Return the lines of the table: the reference of each is the provider's batch alone, by the same seeds."""
    figures: list[Figure] = []
    for every_seconds in EVERY_SECONDS:
        together = play(play_both, every_seconds)
        figures += build_figures("Magnific", [one for one, _ in together], play(play_magnific, every_seconds))
        figures += build_figures("Magica", [one for _, one in together], play(play_magica, every_seconds))
    return figures


def play(work: Callable[[float, int], Awaitable[T]], every_seconds: float) -> list[T]:
    """Return the outcome for each seed."""
    return [run_virtually(partial(work, every_seconds), seed) for seed in range(SEEDS)]


def build_figures(title: str, beside: Sequence[Outcome], alone: Sequence[Outcome]) -> list[Figure]:
    """Return the lines for one provider."""
    pairs = zip(find_figures(beside).items(), find_figures(alone).values(), strict=True)
    waited = " and a run a minute" if beside[0].others else ""
    requests = statistics.mean(one.requests for one in beside)
    what = f"{title}, {ROWS} rows{waited} beside the other's ({requests:.0f} requests)"
    return [
        Figure(
            f"{what}: {name}", f"{measured:.2f} s", f"{trigger:.2f} s", abs(measured - trigger) <= TOLERANCE * trigger
        )
        for (name, measured), trigger in pairs
    ]


def find_figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the compared figures, rounded as printed."""
    delays = sorted(job.delay_seconds for one in outcomes for job in one.rows)
    waits = sorted(job.excess_seconds for one in outcomes for job in one.others)
    found = {
        "time to finish": statistics.mean(one.finished_seconds for one in outcomes),
        "row's end to its result, mean": statistics.mean(delays),
        "95th percentile": get_p95(delays),
    }
    if waits:
        found["call to result less the run, median"] = statistics.median(waits)
    return {name: round(seconds, 2) for name, seconds in found.items()}
