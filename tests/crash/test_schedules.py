"""Random schedules of calls, kills, cancellations, completions and sleep, over the real store and runs."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowport.domain.models import FINAL_STATES, RunState
from flowport.runtime.failpoints import Failpoint
from tests.crash.figures import SCHEDULES
from tests.crash.simulation import World
from tests.support.traps import clear_traps

PROMPTS = st.sampled_from(["a lake", "a hill"])
POINTS = st.sampled_from(sorted(set(Failpoint) - {Failpoint.DURING_UPLOAD, Failpoint.WHILE_DOWNLOADING}))
TROUBLES = st.sampled_from(["refused", "busy", "no connection", "reset", "dropped"])
MAX_PROCESSES = 12
LONG_SECONDS = 200.0
"""Enough for every pause of starting, polling and taking over."""


class Lives(RuleBasedStateMachine):
    """Flowports on one home, killed at random; clients that want each run once and repeat their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.loop.run(self._begin())

    async def _begin(self) -> None:
        self.world = World(Path(self.folder.name))

    @initialize()
    def start_the_first(self) -> None:
        """A client starts the first process."""
        self.loop.run(self.world.start())

    # What is drawn never depends on the world, whose order of small events is the operating system's.
    @rule()
    def start(self) -> None:
        """A client starts another process, or one that died."""
        if len(self.world.processes) < MAX_PROCESSES:
            self.loop.run(self.world.start())

    @rule(prompt=PROMPTS, which=st.integers(0, MAX_PROCESSES))
    def call(self, prompt: str, which: int) -> None:
        """Call, or repeat a call without a result: over the same connection only when the last call there has ended."""
        if not self.world.living:
            self.start()
        if not self.world.living:
            return
        process = self.world.living[which % len(self.world.living)]
        waiting = [c for c in self.world.calls if c.prompt == prompt and c.number == process.number]
        if all(call.task.done() for call in waiting):
            self.loop.run(self.world.call(prompt, process, f"c{process.number}"))

    @rule(which=st.integers(0, MAX_PROCESSES))
    def cancel(self, which: int) -> None:
        """A client cancels its call."""
        waiting = [call for call in self.world.calls if not call.task.done()]
        if waiting:
            waiting[which % len(waiting)].task.cancel()
            self.loop.run(self.world.settle())

    @rule()
    def cross(self) -> None:
        """The client disconnects while the next answer is on its way, so the answer is not read."""
        self.world.crossed = 1

    @rule()
    def cancel_late(self) -> None:
        """The client cancels the next request after its answer: it discards the answer, or always does so."""
        self.world.cancelled_late = 1

    @rule(which=st.integers(0, MAX_PROCESSES))
    def kill(self, which: int) -> None:
        """A process dies."""
        living = self.world.living
        if living:
            living[which % len(living)].die()
            self.loop.run(self.world.settle())

    @rule(point=POINTS)
    def kill_at(self, point: Failpoint) -> None:
        """The next process that reaches a point dies there."""
        self.world.set_trap(point)

    @rule(prompt=PROMPTS, which=st.integers(0, MAX_PROCESSES), point=POINTS)
    def die_over(self, prompt: str, which: int, point: Failpoint) -> None:
        """A process dies during a call, at a point that it reaches for sure if the run succeeds."""
        clear_traps()
        self.world.set_trap(point)
        self.call(prompt, which)
        self.complete("completed")

    @rule(prompt=PROMPTS, which=st.integers(0, MAX_PROCESSES))
    def have(self, prompt: str, which: int) -> None:
        """A run succeeds."""
        self.call(prompt, which)
        self.complete("completed")

    @rule(trouble=TROUBLES)
    def trouble(self, trouble: str) -> None:
        """The next start request fails."""
        self.world.provider.troubles.append(trouble)

    @rule(status=st.sampled_from(["completed", "completed", "failed"]))
    def complete(self, status: str) -> None:
        """The oldest run at the provider ends."""
        going = [run_id for run_id in self.world.provider.runs if run_id not in self.world.provider.over]
        if going:
            self.world.end(going[0], status)
            self.loop.run(self.world.pass_time(6.0))

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.loop.run(self.world.pass_time(seconds))

    @rule(seconds=st.sampled_from([600.0, -86_400.0, 86_400.0]))
    def jump(self, seconds: float) -> None:
        """The user sets the clock."""
        self.world.clock.set_wall(seconds)

    @rule(seconds=st.sampled_from([60.0, 600.0]))
    def sleep(self, seconds: float) -> None:
        """The laptop sleeps: all processes wake up late at once."""
        self.world.clock.advance(seconds)
        self.loop.run(self.world.settle())

    @invariant()
    def nothing_is_started_twice(self) -> None:
        """One intended run is one start."""
        starts = self.world.provider.count_starts()
        assert starts <= self.world.intended, (starts, self.world.intended)

    def teardown(self) -> None:
        """Repair everything, wait until all is over, and count what is left."""
        clear_traps()
        self.world.provider.troubles.clear()
        self.world.crossed = self.world.cancelled_late = 0
        try:
            self.loop.run(self._check())
        finally:
            clear_traps()
            self.loop.run(self.world.close())
            self.loop.close()
            self.folder.cleanup()
        SCHEDULES.append(sum(self.world.intended.values()))

    async def _check(self) -> None:
        world = self.world
        for process in world.living:
            process.die()
        await world.settle()
        # Runs that are started only now are included: their callers got their ids.
        world.provider.usual_status = "completed"
        await world.start()
        (process,) = world.living
        rows: list[dict[str, Any]] = (await world.ask(process, "list_runs", limit=50))["runs"]
        for row in rows:
            if row["state"] not in FINAL_STATES:
                await world.ask(process, "get_run", run_id=row["run_id"], wait=False)
        await world.pass_time(LONG_SECONDS, step=10.0)
        kept = [await process.store.get_run(row["run_id"], account_id=None, owner="local") for row in rows]
        self.nothing_is_started_twice()
        known = {run.provider_run_id for run in kept if run.provider_run_id}
        unknown = [run for run in kept if run.state is RunState.UNKNOWN]
        assert all(run.state.is_final for run in kept), kept
        assert len(world.provider.runs.keys() - known) <= len(unknown), (
            "a started run is neither kept nor called unknown"
        )
        assert [run.id for run in kept if run.delivered_at is not None and run.id not in world.answered] == []
        balance = await world.ask(process, "get_balance")
        assert [account["reserved_credits"] for account in balance["accounts"]] == [0]


TestSchedules = Lives.TestCase
TestSchedules.settings = settings(
    # 200 in every test run, 2,000 in `make soak`.
    max_examples=2 * settings().max_examples,
    stateful_step_count=25,
    # A failing schedule is short enough to be read, and shrinking it takes minutes.
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
