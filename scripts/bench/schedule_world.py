"""A provider, an account and the real scheduler in virtual time.

The limiter, the schedule, the start and the poller are real; only HTTP and the store are fakes.
"""

import json
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from virtual import VirtualClock

from flowport.domain.errors import Operation
from flowport.domain.models import Account, App, Run, RunState, Urgency
from flowport.domain.run_events import RunEvent, apply
from flowport.network.account import OpenAccount
from flowport.network.api_client import Location, Permit
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.interface import ApiAnswer, ApiRequest, Provider
from flowport.providers.magnific.api import Magnific
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.prepare import PreparedCall
from flowport.runs.start import RunStarter
from flowport.runs.steps import Pace
from flowport.runtime.background import Supervisor
from flowport.store.interface import Store
from flowport.store.records import Recorded, Stale

MEDIAN_SECONDS: Final = 60.0
SIGMA: Final = 0.5
HISTORY: Final = 20
LIMIT: Final = 50
LATENCY_SECONDS: Final = 0.2
APP: Final = App("magnific", "a", "App", is_own=True, price_credits=1.0, inputs=(), read_at=0.0)


@dataclass
class Job:
    """One run and its times."""

    called_at: float
    duration_seconds: float = 0.0
    started_at: float = 0.0
    reported_at: float = 0.0
    """When its result arrived."""

    @property
    def delay_seconds(self) -> float:
        """Return the seconds from its end to its result."""
        return self.reported_at - self.started_at - self.duration_seconds

    @property
    def excess_seconds(self) -> float:
        """Return the seconds from the call to the result, less the duration of the run itself."""
        return self.reported_at - self.called_at - self.duration_seconds


class VirtualAccount(OpenAccount):
    """An account with a simulated Magnific, which refuses requests by a window of its own."""

    def __init__(
        self, clock: VirtualClock, chance: random.Random, provider: Provider | None = None, app: App = APP
    ) -> None:
        provider = provider or Magnific()
        limiter = RateLimiter(provider.requests_per_minute, clock, per_day=provider.requests_per_day)
        super().__init__(Account(provider.name, "virtual", "bench"), provider, limiter, _go_nowhere)
        self.app = app
        self._clock = clock
        self._chance = chance
        self._seen: deque[float] = deque()
        self.jobs: dict[str, Job] = {}
        self.refused = self.refused_starts = 0
        self.requests = 0

    @property
    def true_limit(self) -> int:
        """Requests that the provider accepts in a minute."""
        return self.limiter.limit

    async def wait_for_turn(self, priority: Priority, operation: Operation = Operation.START_RUN) -> None:
        """Take a request from the real limiter."""
        await self.limiter.take(priority, operation)

    async def send_now(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:  # noqa: ARG002
        """Answer as the provider does, a moment later."""
        await self._clock.sleep(LATENCY_SECONDS / 2)
        answer = self._answer(request)
        await self._clock.sleep(LATENCY_SECONDS / 2)
        return answer

    def _answer(self, request: ApiRequest) -> ApiAnswer:
        now = self._clock.monotonic()
        self.requests += 1
        while self._seen and self._seen[0] <= now - 60.0:
            self._seen.popleft()
        if len(self._seen) >= self.true_limit:
            self.refused += 1
            self.refused_starts += request.operation is Operation.START_RUN
            return build_answer({"message": "Too many requests"}, 429)
        self._seen.append(now)
        if request.operation is Operation.START_RUN:
            run_id = self.read_name(request.body)
            job = self.jobs[run_id]
            job.started_at, job.duration_seconds = now, draw_seconds(self._chance)
            return self.answer_start(run_id)
        return self.answer_poll(request)

    def is_over(self, run_id: str) -> bool:
        """Return whether a run has ended."""
        job = self.jobs[run_id]
        return self._clock.monotonic() >= job.started_at + job.duration_seconds

    def read_name(self, body: Any) -> str:
        """Return which run a start request is for."""
        return str(body["inputs"]["n"])

    def answer_start(self, run_id: str) -> ApiAnswer:
        """Answer a start request."""
        return build_answer({"status": "running", "workflow_run_identifier": run_id}, 202)

    def answer_poll(self, request: ApiRequest) -> ApiAnswer:
        """Answer a poll."""
        is_over = self.is_over(request.path.rpartition("/")[2])
        return build_answer({"data": {"status": "completed" if is_over else "running", "result": None}})


class _Memory:
    """A store that accepts everything and keeps nothing; it has the durations of earlier runs."""

    def __init__(self, durations: tuple[float, ...], live_runs: LiveRuns) -> None:
        self._durations = durations
        self._live_runs = live_runs

    async def get_durations(self, **_: Any) -> tuple[float, ...]:
        """Return the history."""
        return self._durations

    async def record(self, run_id: str, event: RunEvent, _: int | None = None, **__: Any) -> Recorded | Stale:
        """Apply an event to the entry in the list of live runs."""
        entry = self._live_runs.get(run_id)
        return Stale(None) if entry is None else Recorded(apply(entry.run, event))


@dataclass
class World:
    """The parts of a measurement."""

    clock: VirtualClock
    account: VirtualAccount
    live_runs: LiveRuns
    starter: RunStarter
    poller: RunPoller
    jobs: list[Job] = field(default_factory=list)
    report: Callable[[str], None] | None = None
    """Has the provider report a run from now on; None where it reports none."""

    async def carry_out(self, urgency: Urgency, called_at: float | None = None) -> Job:
        """Start a run and poll it to its result; a run that is not a row of a batch has a waiting caller."""
        job = Job(self.clock.monotonic() if called_at is None else called_at)
        run = _build_run(self.account.account, len(self.jobs), self.clock.now(), urgency)
        self.jobs.append(job)
        self.account.jobs[run.id] = job
        entry = self.live_runs.put(run, noted_at=self.clock.monotonic(), urgency=urgency)
        entry.waiters = int(urgency is Urgency.WAITED)
        entry.is_reported = self.report is not None
        call = PreparedCall(
            self.account.app, run.app_name, run.tool_name, run.account_id, {"n": run.id}, "{}", "r", "c"
        )
        started = await self.starter.start(run, call, self.account)
        self.live_runs.update(started)
        if self.report is not None:
            self.report(run.id)
        over = await self.poller.poll(started, self.account)
        if over.state is not RunState.SUCCEEDED:
            raise RuntimeError(f"a run went wrong: {over}")
        job.reported_at = self.clock.monotonic()
        self.live_runs.update(over)
        self.live_runs.remove(run.id)
        return job


@asynccontextmanager
async def open_world(
    seed: int,
    *,
    build_account: Callable[[VirtualClock, random.Random], VirtualAccount] = VirtualAccount,
    may_refuse: bool = False,
) -> AsyncIterator[World]:
    """Build the scheduler as the program does; all random values follow from the seed."""
    chance, clock, live_runs = random.Random(seed), VirtualClock(), LiveRuns()  # noqa: S311 - reproducible on purpose
    history = tuple(draw_seconds(chance) for _ in range(HISTORY))
    store = cast("Store", _Memory(history, live_runs))
    writer = PendingWrites(store, live_runs, clock)
    account = build_account(clock, chance)
    async with Supervisor() as supervisor:
        poller = RunPoller(store, live_runs, clock, Pace(), writer, supervisor=supervisor)
        yield World(clock, account, live_runs, RunStarter(store, live_runs, clock, writer), poller)
    if account.refused and not may_refuse:
        raise RuntimeError(f"{account.refused} requests were refused")


def draw_seconds(chance: random.Random) -> float:
    """Return the duration of a run."""
    return MEDIAN_SECONDS * math.exp(SIGMA * chance.gauss(0.0, 1.0))


def _build_run(account: Account, number: int, now: float, urgency: Urgency) -> Run:
    run_id, batch_id = f"{account.provider}{number}", "batch" if urgency is Urgency.BATCH else ""
    return replace(
        _RUN, id=run_id, account_id=account.id, provider=account.provider, accepted_at=now, batch_id=batch_id
    )


_RUN: Final = Run(
    id="",
    account_id="",
    owner="local",
    provider="",
    app_id="a",
    app_name="App",
    tool_name="app",
    arguments_json="{}",
    raw_digest="r",
    canonical_digest="c",
    state=RunState.ACCEPTED,
    accepted_at=0.0,
    process_id="p",
)


def build_answer(body: Any, status: int = 200) -> ApiAnswer:
    """Return an answer of the API."""
    return ApiAnswer(status, {}, json.dumps(body).encode())


async def _go_nowhere() -> Location:
    raise RuntimeError("there is no network here")
