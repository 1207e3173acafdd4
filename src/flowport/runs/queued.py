"""Carry out the runs of a team: a worker claims the run of a job, and executes one step after the other.

The store is the truth and a job only a reminder. What a worker records carries the lease of its claim, so a worker that was
paused and has lost its run ends without writing. A worker that ends leaves each run in a state from which another one goes on;
a start request that is being sent is finished first. What became of a start is known to its worker alone until it is recorded,
so the worker records it before anything else, however long the database is away.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import anyio

from flowport.domain.errors import FlowportError, RunNotFound, StoreError
from flowport.domain.models import FIRST_LEASE, Run, RunState
from flowport.domain.run_events import StartNotTaken, StartUnknown
from flowport.network.account import OpenAccount
from flowport.runs.batch.service import format_refused
from flowport.runs.live import SHARED_WRITE, LiveRuns, PendingWrites
from flowport.runs.service import CRASHED, CRASHED_UNSENT, CRASHED_WHILE_STARTING, Runner
from flowport.runs.start import RunStarter
from flowport.runs.steps import Conduct, Done, Download, Poll, Start
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.store.cluster import JobAgain
from flowport.store.interface import Store, Workers
from flowport.store.records import Claimed

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 1.0
"""After a step that the database could not record, and while another worker holds the run."""

AWAY_SECONDS: Final = 30.0
"""After a look at a run whose key is not configured here; another worker may have it."""

REQUEST_SECONDS: Final = 5.0
"""How long a worker that ends waits for a start request that is being sent."""

LOOK_SECONDS: Final = 0.02
"""Between two looks whether it is over."""

MAX_CRASHES: Final = 3
"""How often a run is tried that meets an internal error before anything was sent."""


@dataclass(slots=True, eq=False)
class _Work:
    """The steps of one run, which a task of their own executes: a job that is aborted must not tear a request apart."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_over: anyio.Event = field(default_factory=anyio.Event)
    again_seconds: float | None = None
    """When the job is to be executed again; None when it is done."""


class QueuedRuns:
    """Carries out the jobs of this process."""

    def __init__(
        self,
        *,
        runner: Runner,
        starter: RunStarter,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        writer: PendingWrites,
        clock: Clock,
        process: Workers,
        supervisor: Supervisor,
    ) -> None:
        self._runner = runner
        self._starter = starter
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._writer = writer
        self._clock = clock
        self._process = process
        self._supervisor = supervisor
        self._works: dict[str, _Work] = {}
        self._crashes: Counter[str] = Counter()
        self._unsent: dict[str, int] = {}
        """By run, the lease under which its start could not be recorded, and was not sent."""

    async def execute(self, run_id: str) -> None:
        """Execute the steps of a run until nothing is left to do here.

        Raises:
            JobAgain: The job is to be executed again, here or by another worker.
        """
        earlier = self._works.get(run_id)
        if earlier is not None:
            # The queue took this worker for dead; what it does for the run counts no longer.
            await self._stop(run_id, earlier)
        work = self._works[run_id] = _Work()
        self._supervisor.spawn(f"job of {run_id}", self._carry_out, run_id, work)
        try:
            await work.is_over.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._stop(run_id, work)
            raise
        finally:
            if self._works.get(run_id) is work:
                del self._works[run_id]
        if work.again_seconds is not None:
            raise JobAgain(work.again_seconds)

    async def _stop(self, run_id: str, work: _Work) -> None:
        """End the task of a run, once the outcome of a start request that is being sent is recorded."""
        until = self._clock.monotonic() + REQUEST_SECONDS
        while (run_id in self._starter.under_way or self._knows_more(run_id)) and self._clock.monotonic() < until:
            if work.is_over.is_set():
                break
            await self._clock.sleep(LOOK_SECONDS)
        work.scope.cancel()
        await work.is_over.wait()

    async def _carry_out(self, run_id: str, work: _Work) -> None:
        """Execute the steps of a run, and say in its work when they are to go on."""
        try:
            with work.scope:
                try:
                    await self._execute_steps(run_id)
                    self._crashes.pop(run_id, None)
                except JobAgain as exc:
                    work.again_seconds = exc.after_seconds
                except StoreError as exc:
                    logger.info("run %s goes on when the database can be used: %s", run_id, exc)
                    work.again_seconds = AGAIN_SECONDS
                    # Another worker could not know that nothing was sent.
                    await self._record_known(run_id)
                except Exception:  # the boundary of a job: an internal error affects no other run
                    logger.exception("the job of run %s has crashed", run_id)
                    work.again_seconds = await self._note_crash(run_id)
        finally:
            self._live_runs.remove(run_id)
            if self._knows_more(run_id):
                # The job was stopped. A reply is evidence whichever process has the job by now.
                self._supervisor.spawn(f"record of run {run_id}", self._record_late, run_id)
            work.is_over.set()

    async def _record_late(self, run_id: str) -> None:
        """Record what this process knows of a run whose job it does not execute any more."""
        await self._record_known(run_id)
        if run_id not in self._works:
            self._live_runs.remove(run_id)

    async def _execute_steps(self, run_id: str) -> None:
        run = await self._take(run_id)
        while run is not None:
            entry = self._runner.put(run, run.urgency)
            self._live_runs.update(run)
            try:
                after = await self._runner.advance(run)
            except StoreError:
                if run.state is RunState.ACCEPTED:
                    # Only what was not sent is raised; whether `starting` was recorded is not known.
                    self._unsent[run.id] = run.lease
                raise
            if entry.refusal and run.batch_id:
                # Its conductor may be another process.
                reason = format_refused(entry.refusal)
                await self._store.drop_rows(run.batch_id, reason=reason, at=self._clock.now(), holder=run)
            if self._knows_more(run_id):
                kept = await self._record_known(run_id)
                if kept is None or kept.lease != run.lease:
                    # Another worker has claimed it, and follows it now that its reply is recorded.
                    return
            run = after

    async def _take(self, run_id: str) -> Run | None:
        """Claim a run, and return it as it is on record; None when nothing is to be done for it.

        Raises:
            JobAgain: It cannot be carried out here just now.
            StoreError: The store cannot be read or written.
        """
        # Nearly every job is the first one of its run, which need not be read before.
        outcome = await self._store.claim(run_id, self._process.process_id, lease=FIRST_LEASE)
        run = outcome.run if isinstance(outcome, Claimed) else await self._claim_again(run_id)
        if run is not None and run.account_id not in self._accounts and self._needs_account(run):
            raise JobAgain(AWAY_SECONDS)
        return run

    def _needs_account(self, run: Run) -> bool:
        return isinstance(self._runner.get_step(run), Start | Poll | Download | Conduct)

    async def _claim_again(self, run_id: str) -> Run | None:
        """Claim a run that was claimed before; None when nothing is to be done for it."""
        try:
            run = await self._store.get_run_of_any_owner(run_id)
        except RunNotFound:  # erased
            return None
        run = await self._record_pending(run)
        if isinstance(self._runner.get_step(run), Done):
            return None
        if run.state is RunState.ACCEPTED and not run.is_followed:
            # The person stopped it while its start request was not taken: nothing more is sent.
            await self._runner.cancel_unsent(run.id, run.lease)
            return None
        if run.account_id not in self._accounts and self._needs_account(run):
            raise JobAgain(AWAY_SECONDS)
        outcome = await self._store.claim(run.id, self._process.process_id, lease=run.lease)
        if not isinstance(outcome, Claimed):
            raise JobAgain(AGAIN_SECONDS)
        return outcome.run

    def _knows_more(self, run_id: str) -> bool:
        """Return whether this process knows what is not on record of a run."""
        return self._writer.has_pending(run_id) or run_id in self._unsent

    async def _record_known(self, run_id: str) -> Run | None:
        """Record what only this process knows of a run, however long that takes; return the run as it is on record then.

        Returns:
            None where nothing was to be recorded, or the run was erased.
        """
        failures = 0
        while self._knows_more(run_id):
            try:
                return await self._record_pending(await self._store.get_run_of_any_owner(run_id))
            except RunNotFound:
                return None
            except (JobAgain, StoreError):
                failures += 1
                await self._clock.sleep(SHARED_WRITE.get_pause(failures) or SHARED_WRITE.longest_seconds)
        return None

    async def _record_pending(self, run: Run) -> Run:
        """Return a run once what this process knows of it is on record.

        Raises:
            JobAgain: It could not be recorded.
            StoreError: Likewise.
        """
        if self._writer.has_pending(run.id):
            run = await self._writer.flush(run)
            if self._writer.has_pending(run.id):
                raise JobAgain(AGAIN_SECONDS)
        lease = self._unsent.pop(run.id, None)
        if run.state is RunState.STARTING and run.lease == lease:
            try:
                run = (await self._store.record(run.id, StartNotTaken(), lease)).run or run
            except StoreError:
                self._unsent[run.id] = run.lease
                raise
        return run

    async def _note_crash(self, run_id: str) -> float | None:
        """Record what is certain about a run after an internal error, and return when it is tried again; None for never."""
        self._crashes[run_id] += 1
        crashes = self._crashes[run_id]
        again_seconds = CRASHED.get_pause(crashes) or CRASHED.longest_seconds
        try:
            run = await self._store.get_run_of_any_owner(run_id)
            if run.process_id != self._process.process_id:
                return again_seconds
            if run.state is RunState.STARTING:
                await self._writer.record(run, StartUnknown(CRASHED_WHILE_STARTING, self._clock.now()))
                return None
            if run.state is RunState.ACCEPTED and crashes >= MAX_CRASHES:
                await self._runner.fail_unsent(run, CRASHED_UNSENT)
                return None
        except FlowportError as exc:
            logger.warning("what became of run %s could not be recorded: %s", run_id, exc)
        return again_seconds
