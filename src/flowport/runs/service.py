"""The runner: takes prepared calls, owns their runs, and answers those who ask how they are doing."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, assert_never

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
from flowport.domain.spending import LimitExceeded, SpendingCheck, UncertainStart
from flowport.network.account import OpenAccount
from flowport.runs.accept import build_run
from flowport.runs.calls import RecentRequests, RunRequest
from flowport.runs.cancel import CancelOutcome, ask_to_cancel, cancel_unwanted
from flowport.runs.downloads import DownloadRetrier, OutputSaver
from flowport.runs.live import LiveRun, LiveRuns
from flowport.runs.pending_writes import RunWriter
from flowport.runs.poll import RunPoller
from flowport.runs.prepare import PreparedCall
from flowport.runs.quota import QuotaWait
from flowport.runs.rebuild_call import CallRebuilder
from flowport.runs.start import CANCELLED_UNSENT, RunStarter
from flowport.runtime.clock import Clock
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.runtime.supervisor import Supervisor
from flowport.store.interface import Store
from flowport.store.process_lock import ProcessLock
from flowport.store.records import Accepted, InDoubt, Joined

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Ticket:
    """How a handler learns what became of its call. The handler may be gone; the ticket then goes unread."""

    accepted: anyio.Event = field(default_factory=anyio.Event)
    """Set when the store has the run or could not take it."""
    error: FlowportError | None = None
    """Why the store does not have the run; None when it has."""
    is_unwanted: bool = False
    """Whether the caller has left and wanted its run to be stopped with it."""
    urgency: Urgency = Urgency.WAITED
    """How soon the call wants its run."""
    joined: Run | None = None
    """The earlier run that the call has joined; None when it got its own."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a call that was submitted."""

    run: Run
    is_joined: bool
    """Whether the run is an earlier call's."""


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
        writer: RunWriter,
        process: ProcessLock,
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
        self._calls = calls
        self._retrier = retrier
        self._patience = QuotaWait(live_runs, clock)

    async def submit(self, call: PreparedCall, origin: RunRequest) -> Submission:
        """Accept a call and start its run in the background, or join the run that it repeats; return once that is recorded.

        Raises:
            StoreError: It could not be recorded, so nothing is sent.
            UncertainStart: An equal run may have been started, and nobody knows.
            PriceUnconfirmed: The person has to agree to the price first.
            RunCapReached, DayCapReached, PriceUnknown: The person's limits forbid it.
        """
        run = build_run(call, origin.owner, self._clock, self._process)
        ticket, terms = _Ticket(urgency=origin.urgency), self._calls.build_terms(origin)

        async def give_up() -> None:
            """Answer the handler and those who wait."""
            if not ticket.accepted.is_set():
                ticket.error = StoreError("Flowport made a mistake", "Its log has the details.")
                ticket.accepted.set()
            await self._note_crash(run.id)

        self._supervisor.spawn(f"run {run.id}", self._carry_out, run, call, origin, terms, ticket, on_crash=give_up)
        try:
            await ticket.accepted.wait()
        except anyio.get_cancelled_exc_class():
            # The caller will not learn which run is its own, so it cannot take it back by itself.
            ticket.is_unwanted = origin.is_stopped_with_caller
            raise
        if ticket.error is not None:
            raise ticket.error
        return Submission(ticket.joined or run, is_joined=ticket.joined is not None)

    def get_entry(self, run_id: str) -> LiveRun | None:
        """Return the live standing of a run, or None when this process does not follow it."""
        return self._live_runs.get(run_id)

    def follow_again(self, run: Run, urgency: Urgency) -> None:
        """Follow, to its end, a run of an open account that this process did not start, or no longer looked at."""
        self._put(followed := replace(run, is_followed=True), urgency)
        self._spawn_watch(followed, self._watch_again, followed, self._accounts[run.account_id])

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
            self._live_runs.update(await self._fail_unsent(run, str(exc)))
            self._live_runs.remove(run.id)
            return
        if call is not None:
            await self._launch(run, call)
            return
        reason = ROW_CHANGED if run.batch_id else ENDED_UNRESTORED
        await self._store.note_cancelled(run.id, failure=reason, at=self._clock.now())
        self._live_runs.update(await self._store.get_run(run.id, account_id=None, owner=run.owner))
        self._live_runs.remove(run.id)

    def _put(self, run: Run, urgency: Urgency = Urgency.WAITED) -> None:
        """Take a run onto the list of live runs; its time counts from its acceptance, by the wall clock for what was before us."""
        age = max(0.0, self._clock.now() - run.accepted_at)
        self._live_runs.put(run, noted_at=self._clock.monotonic() - age, urgency=urgency)

    def _spawn_watch(self, run: Run, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        async def give_up() -> None:
            """Wake those who wait."""
            await self._note_crash(run.id)

        self._supervisor.spawn(f"run {run.id}", work, *args, on_crash=give_up)

    async def cancel(self, run: Run, *, should_stop_following: bool) -> CancelOutcome:
        """End a run as far as that is possible.

        Raises:
            StoreError: The wish could not be recorded.
            ProviderError: The provider can cancel, and did not, or nobody knows.
        """
        entry = self._live_runs.get(run.id)
        view = entry.run if entry is not None else run
        if view.state is RunState.UNKNOWN:
            return CancelOutcome.UNKNOWN
        if view.state.is_final:
            return CancelOutcome.ALREADY_OVER
        if view.state is RunState.ACCEPTED and await self._cancel_unsent(view):
            return CancelOutcome.CANCELLED
        if not should_stop_following:
            account = self._accounts.get(view.account_id)
            is_asked = account is not None and await ask_to_cancel(view, account)
            return CancelOutcome.ASKED if is_asked else CancelOutcome.CANNOT
        await self._store.note_followed(run.id, is_followed=False)
        self._live_runs.update(replace(view, is_followed=False))
        self._live_runs.remove(run.id)
        return CancelOutcome.UNFOLLOWED

    def stop_unwanted(self, run: Run, call: RunRequest) -> None:
        """Cancel a run whose caller has gone, as far as that is possible and nobody else waits; for `FLOWPORT_ON_CANCEL=stop`."""
        self._supervisor.spawn(f"cancel of run {run.id}", self._stop_unwanted, run, call)

    async def _stop_unwanted(self, run: Run, call: RunRequest) -> None:
        if not await self._abandon(run, call.id):
            await self._cancel_unwanted(run.id)

    async def _cancel_unwanted(self, run_id: str) -> None:
        entry = self._live_runs.get(run_id)
        if entry is not None and entry.is_unwanted and entry.run.state.is_at_provider:
            await cancel_unwanted(entry.run, self._accounts[entry.run.account_id], self._store)

    async def _abandon(self, run: Run, call_id: str) -> bool:
        now = self._clock.now()
        is_written = await self._store.note_abandoned(run.id, call_id=call_id, failure=CANCELLED_UNSENT, at=now)
        if is_written:
            self._show_cancelled(run, now)
        else:
            # Its request may just be on its way; when it comes back untaken, the starter asks again.
            self._live_runs.note_unwanted(run.id)
        return is_written

    async def _cancel_unsent(self, run: Run) -> bool:
        now = self._clock.now()
        is_written = await self._store.note_cancelled(run.id, failure=CANCELLED_UNSENT, at=now)
        if is_written:
            self._show_cancelled(run, now)
        return is_written

    def _show_cancelled(self, run: Run, at: float) -> None:
        over = replace(run, state=RunState.CANCELLED, failure=CANCELLED_UNSENT, finished_at=at, reserved_credits=0.0)
        self._live_runs.update(over)

    async def _carry_out(
        self, run: Run, call: PreparedCall, origin: RunRequest, terms: SpendingCheck, ticket: _Ticket
    ) -> None:
        if not await self._accept(run, origin, terms, ticket):
            return
        if ticket.is_unwanted and await self._abandon(run, origin.id):
            self._live_runs.remove(run.id)
            return
        await self._launch(run, call)

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
            await self._writer.write_at_last(started)
            self._live_runs.remove(run.id)

    async def _accept(self, run: Run, origin: RunRequest, terms: SpendingCheck, ticket: _Ticket) -> bool:
        """Record the run and tell whether it is to be started; the ticket says what else became of the call."""
        trigger(Failpoint.BEFORE_ACCEPTED)
        try:
            accept = partial(self._store.accept, run, terms=terms)
            outcome = await self._calls.accept(accept, origin, self._process)
        except StoreError as exc:
            ticket.error = exc
        else:
            match outcome:
                case Accepted():
                    trigger(Failpoint.AFTER_ACCEPTED)
                    self._put(run, ticket.urgency)
                case Joined(earlier):
                    ticket.joined = earlier
                case InDoubt(earlier):
                    ticket.error = self._build_doubt(earlier)
                case LimitExceeded(reason):
                    ticket.error = reason
                case _:
                    assert_never(outcome)
        ticket.accepted.set()
        return ticket.error is None and ticket.joined is None

    def _build_doubt(self, run: Run) -> UncertainStart:
        account = self._accounts.get(run.account_id)
        title = account.provider.title if account else run.provider
        return UncertainStart(title, run.id, run.starting_at or run.accepted_at, run.failure)

    async def _see_through(self, run: Run, account: OpenAccount) -> None:
        followed = await self._follower.follow(run, account)
        over = followed.run
        if not over.state.is_final:
            return
        if followed.is_ours and self._saver.is_wanted(over):
            self._live_runs.update(over, is_saving=True)
            await self._save(over, account)
            return
        self._live_runs.update(over, is_saving=False)
        await self._writer.write_at_last(over)
        self._live_runs.remove(run.id)

    async def _save(self, run: Run, account: OpenAccount) -> None:
        download_task = await self._retrier.try_first(run, account)
        # Whoever waits is answered after the first attempt; the others go on behind the answer.
        self._live_runs.update(download_task.run, is_saving=False)
        await self._writer.write_at_last(download_task.run)
        self._live_runs.remove(run.id)
        await self._retrier.try_again(download_task)

    async def _watch_again(self, run: Run, account: OpenAccount) -> None:
        try:
            await self._store.note_followed(run.id, is_followed=True)
        except StoreError as exc:
            logger.warning("run %s is followed again, which could not be written down: %s", run.id, exc)
        await self._see_through(run, account)

    async def _note_end(self, run_id: str) -> None:
        """Write down, as this process ends, what is certain about a run that the provider has not acknowledged."""
        entry = self._live_runs.get(run_id)
        if entry is None:
            return
        now = self._clock.now()
        try:
            # A row that was not sent keeps its place: whoever goes on with its batch sends it.
            if entry.run.state is RunState.ACCEPTED and not entry.run.batch_id:
                await self._store.note_cancelled(run_id, failure=ENDED_UNSENT, at=now)
            elif entry.run.state is RunState.STARTING:
                await self._store.note_unknown(run_id, failure=ENDED_WHILE_STARTING, start_answer="", at=now)
        except StoreError as exc:
            logger.error("run %s was %s at the end, which could not be written down: %s", run_id, entry.run.state, exc)  # noqa: TRY400

    async def _fail_unsent(self, run: Run, reason: str) -> Run:
        now = self._clock.now()
        failed = replace(run, state=RunState.FAILED, failure=reason, finished_at=now, reserved_credits=0.0)
        try:
            await self._store.note_finished(
                run.id, state=failed.state, outputs=(), failure=reason, spent_credits=0.0, at=now
            )
        except StoreError as exc:
            self._live_runs.note_unwritten(run.id)
            logger.error("run %s was not sent, which could not be written down: %s", run.id, exc)  # noqa: TRY400
        return failed

    async def _note_crash(self, run_id: str) -> None:
        """Say what is certain about a run whose task died of our own bug, and wake those who wait for it."""
        entry = self._live_runs.get(run_id)
        if entry is None:
            return
        view = entry.run
        if view.state is RunState.STARTING:
            view = await self._give_up_starting(view)
        elif view.state is RunState.ACCEPTED:
            view = await self._fail_unsent(view, "Flowport made a mistake before anything was sent.")
        self._live_runs.update(view, is_saving=False, problem="Flowport made a mistake while it followed this run.")
        self._live_runs.remove(run_id)

    async def _give_up_starting(self, run: Run) -> Run:
        now = self._clock.now()
        failure = "Flowport made a mistake while it started this run, so it may or may not be running."
        unknown = replace(run, state=RunState.UNKNOWN, failure=failure, finished_at=now)
        unknown = replace(unknown, spent_credits=run.reserved_credits, reserved_credits=0.0)
        try:
            await self._store.note_unknown(run.id, failure=failure, start_answer="", at=now)
        except StoreError as exc:
            self._live_runs.note_unwritten(run.id)
            logger.error("the fate of run %s is unknown, which could not be written down: %s", run.id, exc)  # noqa: TRY400
        return unknown
