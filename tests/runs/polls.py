"""A poller on a scripted account, with a clock that never waits."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from flowport.domain.models import Run, RunState, Urgency
from flowport.providers.interface import ApiRequest, Provider
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.steps import Pace
from flowport.runtime.background import Supervisor
from tests.runs.samples import NOW, RUN
from tests.support.fake_clock import FakeClock, wait_until_blocked
from tests.support.scripted import Answer, FaultyStore, Reply, ScriptedAccount

RUNNING = replace(
    RUN, state=RunState.RUNNING, provider_run_id="remote-1", starting_at=NOW, started_at=NOW, running_at=NOW
)


@dataclass
class Watch:
    """A poller with its parts."""

    poller: RunPoller
    account: ScriptedAccount
    live_runs: LiveRuns
    clock: FakeClock
    store: FaultyStore
    tasks: anyio.abc.TaskGroup
    over: dict[str, Run] = field(default_factory=dict)
    began_at: float = 0.0
    """When polling of the latest run began."""
    asked_at: list[float] = field(default_factory=list)
    """The times of the polls since then."""
    asked: anyio.Event = field(default_factory=anyio.Event)
    accepted: set[str] = field(default_factory=set)
    """The runs that the store already has."""
    ended: defaultdict[str, anyio.Event] = field(default_factory=lambda: defaultdict(anyio.Event))

    async def finish(self, *names: str) -> None:
        """Wait until these runs are over; the clock moves only while every task waits."""
        with anyio.fail_after(60):
            for name in names:
                await self.ended[name].wait()

    async def let_pass(self, *names: str) -> None:
        """Let time pass until these runs are over; a slow write of the store must not see a stopped clock."""
        with anyio.fail_after(60):
            while not set(names) <= set(self.over):
                self.clock.advance(10)
                await wait_until_blocked()

    async def accept(self, *names: str) -> None:
        """Put runs in the store before polling starts: during a write the clock would jump from sleep to sleep."""
        for name in names:
            await self.store.accept(replace(RUNNING, id=name, provider_run_id=name))
        self.accepted.update(names)

    async def follow(
        self,
        name: str,
        urgency: Urgency = Urgency.WAITED,
        *,
        age: float = 0.0,
        provider_run_id: str = "",
        batch_id: str = "",
    ) -> Run:
        """Poll a run in the background; the provider has it under the same name, unless another is given."""
        run = await self.put(name, urgency, age=age, provider_run_id=provider_run_id, batch_id=batch_id)
        self.tasks.start_soon(self._follow, run)
        return run

    async def put(
        self, name: str, urgency: Urgency, *, age: float = 0.0, provider_run_id: str = "", batch_id: str = ""
    ) -> Run:
        """Put a run on the list of live runs."""
        run = replace(RUNNING, id=name, provider_run_id=provider_run_id or name, started_at=self.clock.now() - age)
        run = replace(run, batch_id=batch_id)
        if name not in self.accepted:
            await self.store.accept(run)
        self.live_runs.put(run, noted_at=self.clock.monotonic() - age, urgency=urgency)
        self.began_at = self.clock.monotonic()
        return run

    async def _follow(self, run: Run) -> None:
        self.over[run.id] = await self.poller.poll(run, self.account)
        self.ended[run.id].set()

    def get_polled(self) -> list[str]:
        """Return the names of the runs in the order of the polls."""
        return [request.path.rpartition("/")[2].partition("?")[0] for request in self.account.asked]


@asynccontextmanager
async def open_watch(
    store: FaultyStore,
    answer: Answer,
    *,
    limit: int = 0,
    is_automatic: bool = True,
    provider: Provider | None = None,
    per_day: int = 0,
) -> AsyncIterator[Watch]:
    """Run a poller on a scripted account; runs that are live at the end are abandoned."""
    clock, live_runs = FakeClock(is_automatic=is_automatic), LiveRuns()
    account = ScriptedAccount(answer, clock, provider=provider, limit=limit, per_day=per_day)
    # A poll that never comes must fail, not hang.
    with anyio.fail_after(60):
        async with Supervisor() as supervisor:
            poller = RunPoller(
                store, live_runs, clock, Pace(), PendingWrites(store, live_runs, clock), supervisor=supervisor
            )
            async with anyio.create_task_group() as tasks:
                watch = Watch(poller, account, live_runs, clock, store, tasks)

                def record_request(request: ApiRequest) -> Reply:
                    """Record when the request came: the clock runs on while the store writes."""
                    watch.asked_at.append(clock.monotonic() - watch.began_at)
                    return answer(request)

                account.answer = record_request
                yield watch
                tasks.cancel_scope.cancel()
