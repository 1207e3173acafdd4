"""The runs of this process: accept them, execute one step of each after the other, cancel them."""

import json
import logging
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, assert_never

import anyio

from flowport.domain.backoff import Backoff
from flowport.domain.errors import FlowportError, RunNotFound, StoreError
from flowport.domain.models import (
    ENDED_UNRESTORED,
    ENDED_UNSENT,
    ENDED_WHILE_STARTING,
    ROW_CHANGED,
    Run,
    RunState,
    Urgency,
)
from flowport.domain.run_events import Cancelled, Finished, PollingStopped, RunEvent, StartUnknown
from flowport.network.account import OpenAccount
from flowport.runs.cancellation import CancelOutcome, ask_to_cancel, cancel_unwanted
from flowport.runs.downloads import DownloadRetrier
from flowport.runs.live import LiveRun, LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.prepare import PreparedCall, build_run
from flowport.runs.start import CANCELLED_UNSENT, RunStarter
from flowport.runs.steps import Conduct, Done, Download, Drop, MarkUnknown, Poll, Start, Step, next_step
from flowport.runs.submit import Acceptor, RunRequest, Submission
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.store.interface import Store
from flowport.store.records import Recorded

logger = logging.getLogger(__name__)

CRASHED: Final = Backoff(5.0, 2.0, 300.0)
"""Pauses after internal errors while a run is polled or saved; each may be a bug that every poll meets again."""

CRASHED_WHILE_STARTING: Final = "Flowport made a mistake while it started this run, so it may or may not be running."
CRASHED_UNSENT: Final = "Flowport made a mistake before anything was sent."


class Conductor(Protocol):
    """Carries batches out."""

    def conduct(self, batch: Run, runner: "Runner", /) -> Awaitable[Run]:
        """Have the runner follow the rows of a batch, and return the batch when it is over."""


class Runner:
    """Owns the runs of this process. Handlers only wait: what becomes of a handler affects no run."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        supervisor: Supervisor,
        starter: RunStarter,
        poller: RunPoller,
        writer: PendingWrites,
        acceptor: Acceptor,
        retrier: DownloadRetrier,
        conductor: Conductor | None = None,
        should_save: bool = True,
        queued_account_ids: Collection[str] = (),
    ) -> None:
        """Prepare.

        Args:
            queued_account_ids: The accounts whose runs the workers of a team carry out; this process only accepts them.
        """
        self._queued_ids = queued_account_ids
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._supervisor = supervisor
        self._starter = starter
        self._poller = poller
        self._writer = writer
        self._acceptor = acceptor
        self._retrier = retrier
        self._conductor = conductor
        self._should_save = should_save

    def is_queued(self, account_id: str) -> bool:
        """Return whether the workers of a team carry the runs of an account out, and not the process that accepts them."""
        return account_id in self._queued_ids

    def has_live(self, account_id: str) -> bool:
        """Return whether this process carries runs of an account out."""
        return self._live_runs.has_unsettled(account_id)

    async def submit(self, call: PreparedCall, request: RunRequest) -> Submission:
        """Accept a call and start its run in the background, or join the run that it repeats; see `Acceptor.submit`."""
        run, whole = build_run(call, request.owner, self._clock, self._acceptor.process), None
        if self.is_queued(run.account_id):
            # Any worker starts it, from this alone.
            run, whole = replace(run, process_id=""), json.dumps(dict(call.whole_arguments))
            self._live_runs.news.expect_end(run.id)
        trigger(Failpoint.BEFORE_ACCEPTED)
        return await self._acceptor.submit(
            run,
            request,
            accept=partial(self._store.accept, run, whole_arguments=whole),
            begin=partial(self._begin, run, call, request),
            on_crash=partial(self._note_crash, run),
        )

    async def _begin(self, run: Run, call: PreparedCall, request: RunRequest, *, is_unwanted: bool) -> None:
        """Start the run, unless its caller has left and nothing else wants it."""
        trigger(Failpoint.AFTER_ACCEPTED)
        if self.is_queued(run.account_id):
            if is_unwanted:
                await self._abandon(run, request.id)
            return
        self.put(run, request.urgency)
        if is_unwanted and await self._abandon(run, request.id):
            self._live_runs.remove(run.id)
            return
        await self._carry_on(run, call)

    def get_entry(self, run_id: str) -> LiveRun | None:
        """Return what is known of a run that this process follows; None for any other."""
        return self._live_runs.get(run_id)

    def get_step(self, run: Run) -> Step:
        """Return what is to be done next for a run."""
        return next_step(run, should_save=self._should_save, is_queued=self.is_queued(run.account_id))

    def follow(self, run: Run) -> None:
        """Execute the steps of a run or batch that this process holds, in the background, until none is left.

        Those of a queued account have a job.
        """
        if self.is_queued(run.account_id) or self._live_runs.get(run.id) is not None:
            return
        step = self.get_step(run)
        # A run whose download is being retried has no entry, so its present attempt must not be doubled.
        if isinstance(step, Done) or (isinstance(step, Download) and not self._retrier.restart(run.id)):
            return
        self.put(run, run.urgency)
        self._live_runs.update(run, is_saving=isinstance(step, Download))
        self._spawn(run)

    def put(self, run: Run, urgency: Urgency) -> LiveRun:
        """Add a run to the live runs; its time counts from its acceptance, by the wall clock for what was before us."""
        age = max(0.0, self._clock.now() - run.accepted_at)
        return self._live_runs.put(run, noted_at=self._clock.monotonic() - age, urgency=urgency)

    def _spawn(self, run: Run) -> None:
        # A task for each step: the files of a call do not stay in memory while its run goes on.
        self._supervisor.spawn(f"run {run.id}", self._carry_on, run, on_crash=partial(self._note_crash, run))

    async def _carry_on(self, run: Run, call: PreparedCall | None = None) -> None:
        if self._live_runs.get(run.id) is None:
            # A person has stopped it between two steps.
            return
        after = await self.advance(run, call)
        if after is not None:
            self._spawn(after)

    async def advance(  # noqa: PLR0911 - one case for each step
        self, run: Run, call: PreparedCall | None = None
    ) -> Run | None:
        """Execute the next step of a run that this process holds; return the run if another step follows, else None.

        Args:
            call: The call of the run if it is at hand. Without it, it is prepared again from the record.

        Raises:
            StoreError: What became of the run could not be recorded.
        """
        account, step = self._accounts.get(run.account_id), self.get_step(run)
        if isinstance(step, Start | Poll | Download | Conduct):
            self.put(run, run.urgency)
        match step:
            case Start():
                return await self._start(run, account, call)
            case Drop():
                return await self._settle(run, Cancelled(ENDED_UNSENT, self._clock.now()))
            case MarkUnknown():
                return await self._settle(run, StartUnknown(ENDED_WHILE_STARTING, self._clock.now()))
            case Poll() if account is not None:
                return await self._poll(run, account)
            case Download() if account is not None:
                return await self._download(run, account)
            case Conduct(batch) if self._conductor is not None:
                await self._end(await self._conductor.conduct(batch, self))
                return None
            case Poll() | Download() | Conduct() | Done():
                # Done, or left to a process that has the key.
                self._live_runs.remove(run.id)
                return None
            case _ as never:
                assert_never(never)

    async def _start(self, run: Run, account: OpenAccount | None, call: PreparedCall | None) -> Run | None:
        if account is None:
            return await self._settle(run, Cancelled(ENDED_UNSENT, self._clock.now()))
        try:
            call = call or await self._starter.restore(run, account)
            if call is None:
                reason = ROW_CHANGED if run.batch_id else ENDED_UNRESTORED
                return await self._settle(run, Cancelled(reason, self._clock.now()))
            started = await self._send(run, account, call)
        except FlowportError as exc:
            if isinstance(exc, StoreError) and self.is_queued(run.account_id):
                # Nothing was sent: its job is executed again.
                raise
            # Before `starting` was written nothing was sent; after it, every outcome is a value and not an error.
            started = await self.fail_unsent(run, str(exc))
        if not started.state.is_at_provider or started.process_id != run.process_id:
            await self._end(started)
            return None
        self._live_runs.update(started)
        if (entry := self._live_runs.get(run.id)) is not None and entry.is_unwanted:
            self._supervisor.spawn(f"cancel of run {run.id}", self._cancel_unwanted, run.id)
        return started

    async def _send(self, run: Run, account: OpenAccount, call: PreparedCall) -> Run:
        try:
            return await self._starter.start(run, call, account)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._note_end(run)
            raise

    async def _settle(self, run: Run, event: RunEvent) -> Run | None:
        """Record the end of a run that its process left before the provider had it."""
        after = (await self._store.record(run.id, event, run.lease)).run or run
        if isinstance(self.get_step(after), Poll):
            # A reply that came late shows that the provider has it.
            return after
        await self._end(after)
        return None

    async def _poll(self, run: Run, account: OpenAccount) -> Run | None:
        over = await self._poller.poll(run, account)
        if not over.state.is_final:
            entry = self._live_runs.get(run.id)
            if over.process_id != run.process_id or (entry is not None and not entry.run.is_followed):
                self._live_runs.remove(run.id)
            return None
        if over.lease == run.lease and isinstance(self.get_step(over), Download):
            self._live_runs.update(over, is_saving=True)
            return over
        await self._end(over)
        return None

    async def _download(self, run: Run, account: OpenAccount) -> Run | None:
        download_task = await self._retrier.try_first(run, account)
        # Waiting calls are answered after the first attempt; retries follow in the background.
        await self._end(download_task.run)
        await self._retrier.try_again(download_task)
        return None

    async def _end(self, run: Run) -> None:
        """Show the last state of a run, and forget it once the store has it."""
        self._live_runs.update(run, is_saving=False)
        await self._writer.flush_at_end(run)
        self._live_runs.remove(run.id)

    async def cancel(self, run: Run, *, should_stop_following: bool) -> CancelOutcome:
        """End a run as far as that is possible.

        Raises:
            StoreError: The cancellation could not be recorded.
            ProviderError: The provider can cancel, and did not, or it is not known whether it did.
        """
        entry = self._live_runs.get(run.id)
        view = entry.run if entry is not None else run
        if view.state is RunState.UNKNOWN:
            return CancelOutcome.UNKNOWN
        if view.state.is_final:
            return CancelOutcome.ALREADY_OVER
        if view.state is RunState.ACCEPTED and await self.cancel_unsent(run.id):
            return CancelOutcome.CANCELLED
        if not should_stop_following:
            account = self._accounts.get(view.account_id)
            is_asked = account is not None and await ask_to_cancel(view, account)
            return CancelOutcome.ASKED if is_asked else CancelOutcome.CANNOT
        kept = (await self._store.record(run.id, PollingStopped())).run or view
        if kept.state.is_final:
            return CancelOutcome.UNKNOWN if kept.state is RunState.UNKNOWN else CancelOutcome.ALREADY_OVER
        self._let_go(kept)
        return CancelOutcome.UNFOLLOWED

    def note_kept(self, kept: Run) -> None:
        """Stop what is done for a run that another process has cancelled, stopped or claimed, by what the store has."""
        entry = self._live_runs.get(kept.id)
        if entry is None or entry.is_settled:
            return
        if kept.state is RunState.CANCELLED and entry.run.state is RunState.ACCEPTED:
            self._live_runs.update(kept)
        is_stopped = not kept.is_followed and kept.lease == entry.run.lease and kept.state.is_at_provider
        if is_stopped or (kept.lease > entry.run.lease and kept.process_id != entry.run.process_id):
            self._let_go(kept)

    def _let_go(self, run: Run) -> None:
        """Show the last state of a run that is not over, and forget it."""
        self._live_runs.update(run)
        self._live_runs.remove(run.id)

    def stop_unwanted(self, run: Run, request: RunRequest) -> None:
        """Cancel a run whose caller has gone, as far as that is possible and no other call waits; for `FLOWPORT_ON_CANCEL=stop`."""
        self._supervisor.spawn(f"cancel of run {run.id}", self._stop_unwanted, run, request)

    async def _stop_unwanted(self, run: Run, request: RunRequest) -> None:
        if not await self._abandon(run, request.id):
            await self._cancel_unwanted(run.id)

    async def _cancel_unwanted(self, run_id: str) -> None:
        entry = self._live_runs.get(run_id)
        if entry is not None and entry.is_unwanted and entry.run.state.is_at_provider:
            await cancel_unwanted(entry.run, self._accounts[entry.run.account_id], self._store)

    async def _abandon(self, run: Run, call_id: str) -> bool:
        if await self.cancel_unsent(run.id, ended_call_id=call_id, unless_waited_for=True):
            return True
        # Its request may just be on its way; when it comes back untaken, the starter asks again.
        self._live_runs.note_unwanted(run)
        return False

    def note_unwanted(self, run: Run) -> None:
        """Cancel a run of this process whose caller has left another one, as far as that is possible."""
        self._live_runs.note_unwanted(run)
        self._supervisor.spawn(f"cancel of run {run.id}", self._cancel_unwanted, run.id)

    async def cancel_unsent(
        self, run_id: str, lease: int | None = None, *, ended_call_id: str = "", unless_waited_for: bool = False
    ) -> bool:
        """Cancel a run for which nothing was sent, and return whether that was still possible; see `RunStore.record`."""
        cancelled = Cancelled(CANCELLED_UNSENT, self._clock.now())
        outcome = await self._store.record(
            run_id, cancelled, lease, ended_call_id=ended_call_id, unless_waited_for=unless_waited_for
        )
        if isinstance(outcome, Recorded):
            self._live_runs.update(outcome.run)
        return isinstance(outcome, Recorded)

    async def _get_latest(self, run: Run) -> Run:
        """Return a run as the list of live runs has it; one that is no longer followed as the store has it."""
        entry = self._live_runs.get(run.id)
        return entry.run if entry is not None else await self._store.get_run(run.id, account_id=None, owner=run.owner)

    async def _note_end(self, run: Run) -> None:
        """Record, as this process ends, what is certain about a run that the provider has not acknowledged."""
        now = self._clock.now()
        try:
            run = await self._get_latest(run)
            # A row that was not sent keeps its place: the process that goes on with its batch sends it. So does a queued run.
            if run.state is RunState.ACCEPTED and not run.batch_id and not self.is_queued(run.account_id):
                await self._store.record(run.id, Cancelled(ENDED_UNSENT, now), run.lease)
            elif run.state is RunState.STARTING:
                # After the reply, if there is one that could not be recorded yet.
                await self._writer.record(run, StartUnknown(ENDED_WHILE_STARTING, now))
        except (StoreError, RunNotFound) as exc:
            logger.error("run %s was %s at the end, which could not be recorded: %s", run.id, run.state, exc)  # noqa: TRY400

    async def fail_unsent(self, run: Run, reason: str) -> Run:
        """Record that a run of which nothing was sent has failed, and return it."""
        failed = Finished(RunState.FAILED, self._clock.now(), failure=reason)
        return await self._writer.record(run, failed)

    async def _note_crash(self, run: Run) -> None:
        """Record what is certain about a run whose task had an internal error; poll or save it again after a pause."""
        if self.is_queued(run.account_id):
            return
        try:
            latest = await self._get_latest(run)
        except RunNotFound:  # it was not accepted, or erased
            return
        if latest.state is RunState.STARTING:
            latest = await self._writer.record(latest, StartUnknown(CRASHED_WHILE_STARTING, self._clock.now()))
        elif latest.state is RunState.ACCEPTED:
            latest = await self.fail_unsent(latest, CRASHED_UNSENT)
        entry = self._live_runs.get(run.id)
        self._live_runs.update(latest, is_saving=False, problem="Flowport made a mistake while it followed this run.")
        if entry is None or not isinstance(self.get_step(latest), Poll | Download):
            self._live_runs.remove(run.id)
            return
        entry.crashes += 1
        self._supervisor.spawn(f"run {run.id}, after its crash", self._restart_crashed, entry)

    async def _restart_crashed(self, entry: LiveRun) -> None:
        """Execute the next step of a run again after a pause, unless it was stopped meanwhile."""
        await self._clock.sleep(CRASHED.get_pause(entry.crashes) or CRASHED.longest_seconds)
        if self._live_runs.get(entry.run.id) is entry:
            self._spawn(entry.run)
