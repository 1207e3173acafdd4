"""Wait until the provider's daily quota resets, unless the run is cancelled."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from flowport.domain.errors import DayUsedUp, FlowportError, ProviderRefused
from flowport.domain.models import Run
from flowport.runs.live import LiveRuns
from flowport.runtime.clock import Clock

T = TypeVar("T")


class QuotaWait:
    """Waits on behalf of runs, and stops for those that are cancelled."""

    def __init__(self, live_runs: LiveRuns, clock: Clock) -> None:
        self._live_runs = live_runs
        self._clock = clock

    def is_over(self, run: Run) -> bool:
        """Return whether the run was cancelled while it waited."""
        entry = self._live_runs.get(run.id)
        return entry is not None and entry.run.state.is_final

    async def outwait_day(self, run: Run, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of some work for a run; None when the run was cancelled meanwhile.

        For a row of a batch the work is repeated after the quota resets; a single run fails instead.

        Raises:
            FlowportError: What the work raises. A refusal of the account is then recorded on the list of live runs.
        """
        while not self.is_over(run):
            try:
                return await work()
            except DayUsedUp as exc:
                if not run.batch_id:
                    raise
                await self._wait_for_day(run, exc)
            except ProviderRefused as exc:
                self._live_runs.note_refused(run.id, str(exc))
                raise
        return None

    async def stop_when_over(self, run: Run, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of some work; None when the run is cancelled, which stops it. The work must not start a run.

        Raises:
            FlowportError: What the work raises.
        """
        found: T | None = None
        error: FlowportError | None = None

        async def stop_with_run() -> None:
            """Stop with the run."""
            while (entry := self._live_runs.get(run.id)) is not None and not entry.run.state.is_final:
                await entry.changed.wait()
            group.cancel_scope.cancel()

        group = anyio.create_task_group()
        async with group:
            group.start_soon(stop_with_run)
            try:
                found = await work()
            except FlowportError as exc:
                # The group would wrap it.
                error = exc
            group.cancel_scope.cancel()
        if error is not None:
            raise error
        return found

    async def _wait_for_day(self, run: Run, problem: DayUsedUp) -> None:
        if self.is_over(run):
            return
        self._live_runs.update(run, problem=f"{problem} Nothing was sent; Flowport goes on by itself.")

        async def wait() -> None:
            """Wait for the reset."""
            await self._clock.sleep(problem.resumes_seconds)

        await self.stop_when_over(run, wait)
