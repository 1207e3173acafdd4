"""The runner: takes prepared calls, owns their runs, and answers those who ask how they are doing."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio

from flowport.domain.errors import FlowportError, StoreError
from flowport.domain.models import (
    ENDED_UNRESTORED,
    ENDED_UNSENT,
    ENDED_WHILE_STARTING,
    ROW_CHANGED,
    Run,
    RunState,
    Urgency,
)
from flowport.domain.run_events import Cancelled, CancelRequested, Finished, StartUnknown
from flowport.network.account import OpenAccount
from flowport.runs.calls import RecentRequests, RunRequest
from flowport.runs.cancel import CancelOutcome, ask_to_cancel, cancel_unwanted
from flowport.runs.downloads import DownloadRetrier, OutputSaver
from flowport.runs.live import LiveRun, LiveRuns
from flowport.runs.pending_writes import PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.prepare import PreparedCall
from flowport.runs.quota import QuotaWait
from flowport.runs.rebuild_call import CallRebuilder
from flowport.runs.start import CANCELLED_UNSENT, RunStarter
from flowport.runs.submit import Acceptor, Submission, build_run
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.store.interface import Store
from flowport.store.records import Recorded
from flowport.store.workers import Workers

logger = logging.getLogger(__name__)


_CRASHED_WHILE_STARTING: Final = "Flowport made a mistake while it started this run, so it may or may not be running."


class Runner:
    """Owns the runs of this process. Handlers only wait: none of their fates touches a run."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        supervisor: Supervisor,
        starter: RunStarter,
        follower: RunPoller,
        saver: OutputSaver,
        writer: PendingWrites,
        process: Workers,
        calls: RecentRequests,
        retrier: DownloadRetrier,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._supervisor = supervisor
        self._starter = starter
        self._follower = follower
        self._saver = saver
        self._writer = writer
        self._process = process
        self._retrier = retrier
        self._patience = QuotaWait(live_runs, clock)
        self.acceptor = Acceptor(accounts, supervisor, process, calls)
        """Of runs, and of batches as well."""

    async def submit(self, call: PreparedCall, origin: RunRequest) -> Submission:
        """Accept a call and start its run in the background, or join the run that it repeats; see `Acceptor.submit`."""
        run = build_run(call, origin.owner, self._clock, self._process)

        async def begin(*, is_unwanted: bool) -> None:
            """Start the run, unless its caller has left and nothing else wants it."""
            trigger(Failpoint.AFTER_ACCEPTED)
            self._put(run, origin.urgency)
            if is_unwanted and await self._abandon(run, origin.id):
                self._live_runs.remove(run.id)
                return
            await self._launch(run, call)

        trigger(Failpoint.BEFORE_ACCEPTED)
        return await self.acceptor.submit(
            run,
            origin,
            accept=partial(self._store.accept, run),
            begin=begin,
            on_crash=partial(self._note_crash, run.id),
        )

    def get_entry(self, run_id: str) -> LiveRun | None:
        """Return the live standing of a run, or None when this process does not follow it."""
        return self._live_runs.get(run_id)

    def follow_again(self, run: Run, urgency: Urgency) -> None:
        """Follow, to its end, a run of an open account that this process did not start, or no longer looked at."""
        self._put(followed := replace(run, is_followed=True), urgency)
        self._spawn_watch(followed, self._see_through, followed, self._accounts[run.account_id])

    def start_again(self, run: Run, account: OpenAccount, call_rebuilder: CallRebuilder, urgency: Urgency) -> None:
        """Start an accepted run whose own process ended before it could, if its call can be restored."""
        self._put(run, urgency)
        self._spawn_watch(run, self._start_restored, run, account, call_rebuilder)

    def save_again(self, run: Run, account: OpenAccount) -> None:
        """Save what is missing of a run that is over, unless that is being done right now."""
        if self._retrier.begin_anew(run.id):
            self._put(run)
            self._live_runs.update(run, is_saving=True)
            self._spawn_watch(run, self._save, run, account)

    def has_to_save(self, run: Run) -> bool:
        """Tell whether the run has outputs that are to be saved and are not."""
        return self._saver.is_wanted(run)

    async def _start_restored(self, run: Run, account: OpenAccount, call_rebuilder: CallRebuilder) -> None:
        restore = partial(call_rebuilder.restore, run, account)
        try:
            call = await self._patience.stop_when_over(run, partial(self._patience.outwait_day, run, restore))
        except FlowportError as exc:
            self._live_runs.update(failed := await self._fail_unsent(run, str(exc)))
            await self._writer.flush_at_end(failed)
            self._live_runs.remove(run.id)
            return
        if call is not None:
            await self._launch(run, call)
            return
        reason = ROW_CHANGED if run.batch_id else ENDED_UNRESTORED
        outcome = await self._store.record(run.id, Cancelled(reason, self._clock.now()), run.lease)
        self._live_runs.update(outcome.run or run)
        self._live_runs.remove(run.id)

    def _put(self, run: Run, urgency: Urgency = Urgency.WAITED) -> None:
        """Take a run onto the list of live runs; its time counts from its acceptance, by the wall clock for what was before us."""
        age = max(0.0, self._clock.now() - run.accepted_at)
        self._live_runs.put(run, noted_at=self._clock.monotonic() - age, urgency=urgency)

    def _spawn_watch(self, run: Run, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._supervisor.spawn(f"run {run.id}", work, *args, on_crash=partial(self._note_crash, run.id))

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
        if view.state is RunState.ACCEPTED and await self._cancel_unsent(run.id):
            return CancelOutcome.CANCELLED
        if not should_stop_following:
            account = self._accounts.get(view.account_id)
            is_asked = account is not None and await ask_to_cancel(view, account)
            return CancelOutcome.ASKED if is_asked else CancelOutcome.CANNOT
        outcome = await self._store.record(run.id, CancelRequested())
        self._live_runs.update(outcome.run or view)
        self._live_runs.remove(run.id)
        return CancelOutcome.UNFOLLOWED

    def stop_unwanted(self, run: Run, call: RunRequest) -> None:
        """Cancel a run whose caller has gone, as far as that is possible and no other call waits; for `FLOWPORT_ON_CANCEL=stop`."""
        self._supervisor.spawn(f"cancel of run {run.id}", self._stop_unwanted, run, call)

    async def _stop_unwanted(self, run: Run, call: RunRequest) -> None:
        if not await self._abandon(run, call.id):
            await self._cancel_unwanted(run.id)

    async def _cancel_unwanted(self, run_id: str) -> None:
        entry = self._live_runs.get(run_id)
        if entry is not None and entry.is_unwanted and entry.run.state.is_at_provider:
            await cancel_unwanted(entry.run, self._accounts[entry.run.account_id], self._store)

    async def _abandon(self, run: Run, call_id: str) -> bool:
        if await self._cancel_unsent(run.id, ended_call_id=call_id, unless_waited_for=True):
            return True
        # Its request may just be on its way; when it comes back untaken, the starter asks again.
        self._live_runs.note_unwanted(run.id)
        return False

    async def _cancel_unsent(self, run_id: str, **conditions: Any) -> bool:
        """Cancel a run for which nothing was sent, and tell whether that was still possible."""
        outcome = await self._store.record(run_id, Cancelled(CANCELLED_UNSENT, self._clock.now()), **conditions)
        if isinstance(outcome, Recorded):
            self._live_runs.update(outcome.run)
        return isinstance(outcome, Recorded)

    async def _launch(self, run: Run, call: PreparedCall) -> None:
        account = self._accounts[run.account_id]
        try:
            started = await self._starter.start(run, call, account)
        except FlowportError as exc:
            # Before `starting` was written nothing was sent; after it, every outcome is a value and not an error.
            started = await self._fail_unsent(run, str(exc))
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._note_end(run.id)
            raise
        self._live_runs.update(started)
        if started.state.is_at_provider:
            # In a task of its own, so that the files of the call do not stay in memory while the run goes on.
            self._spawn_watch(started, self._see_through, started, account)
            await self._cancel_unwanted(run.id)
        else:
            await self._writer.flush_at_end(started)
            self._live_runs.remove(run.id)

    async def _see_through(self, run: Run, account: OpenAccount) -> None:
        followed = await self._follower.follow(run, account)
        over = followed.run
        if not over.state.is_final:
            if over.lease != run.lease:
                self._live_runs.remove(run.id)
            return
        if followed.is_ours and self._saver.is_wanted(over):
            self._live_runs.update(over, is_saving=True)
            await self._save(over, account)
            return
        self._live_runs.update(over, is_saving=False)
        await self._writer.flush_at_end(over)
        self._live_runs.remove(run.id)

    async def _save(self, run: Run, account: OpenAccount) -> None:
        download_task = await self._retrier.try_first(run, account)
        # Waiting calls are answered after the first attempt; retries follow in the background.
        self._live_runs.update(download_task.run, is_saving=False)
        await self._writer.flush_at_end(download_task.run)
        self._live_runs.remove(run.id)
        await self._retrier.try_again(download_task)

    async def _note_end(self, run_id: str) -> None:
        """Write down, as this process ends, what is certain about a run that the provider has not acknowledged."""
        entry = self._live_runs.get(run_id)
        if entry is None:
            return
        run, now = entry.run, self._clock.now()
        try:
            # A row that was not sent keeps its place: whichever process goes on with its batch sends it.
            if run.state is RunState.ACCEPTED and not run.batch_id:
                await self._store.record(run_id, Cancelled(ENDED_UNSENT, now), run.lease)
            elif run.state is RunState.STARTING:
                await self._store.record(run_id, StartUnknown(ENDED_WHILE_STARTING, now), run.lease)
        except StoreError as exc:
            logger.error("run %s was %s at the end, which could not be recorded: %s", run_id, run.state, exc)  # noqa: TRY400

    async def _fail_unsent(self, run: Run, reason: str) -> Run:
        failed = Finished(RunState.FAILED, self._clock.now(), failure=reason)
        return (await self._writer.record(run, failed)).run

    async def _note_crash(self, run_id: str) -> None:
        """Say what is certain about a run whose task died of our own bug, and wake those who wait for it."""
        entry = self._live_runs.get(run_id)
        if entry is None:
            return
        view = entry.run
        if view.state is RunState.STARTING:
            unknown = StartUnknown(_CRASHED_WHILE_STARTING, self._clock.now())
            view = (await self._writer.record(view, unknown)).run
        elif view.state is RunState.ACCEPTED:
            view = await self._fail_unsent(view, "Flowport made a mistake before anything was sent.")
        self._live_runs.update(view, is_saving=False, problem="Flowport made a mistake while it followed this run.")
        self._live_runs.remove(run_id)
