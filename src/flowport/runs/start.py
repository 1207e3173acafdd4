"""Start a run: exactly one start request for one intended run.

The order of writes is the promise: `starting` is on disk before the request leaves, the provider's id is on disk before
it is used. A request is sent again only when it is certain that the provider received or took nothing.
"""

import logging
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias, TypeVar, assert_never

import anyio
import anyio.lowlevel

from flowport.domain import run_events
from flowport.domain.errors import (
    DayUsedUp,
    FlowportError,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUnreachable,
    StoreError,
)
from flowport.domain.models import App, Run, RunState, Urgency
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.answers import name_inputs
from flowport.providers.interface import ApiRequest, NotTaken, Started, StartOutcome, Uncertain
from flowport.runs.inputs import InputPreparer, PreparedInputs
from flowport.runs.live import LiveRuns, PendingWrites, QueuePlace
from flowport.runs.prepare import PreparedCall
from flowport.runs.start_rules import StartPermit, StartWithdrawn, Tries
from flowport.runs.witness import StartWitness
from flowport.runtime.clock import Clock
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.store.interface import Store
from flowport.store.records import Claimed, Recorded, Stale

logger = logging.getLogger(__name__)

T = TypeVar("T")

Restore: TypeAlias = Callable[[Run, OpenAccount], Awaitable[PreparedCall | None]]
"""Prepares the call of a run again from its record; see `call_rebuilder.CallRebuilder.restore`."""

MAX_STARTS: Final = 6
"""Start requests side by side, to each account. The others wait as `accepted`, of which it is certain that nothing was
sent. Six answers of six seconds are sixty starts a minute, and no limit that we know allows more."""

MAY_HAVE_CHANGED: Final = (
    "The app may have been changed there: Flowport reads its definition again, and a later call goes by what it finds."
)
"""Said of a run whose inputs fit the definition that we know, and were refused."""

NOTHING_LEFT: Final = "Nothing was sent: nothing was started, and nothing is charged."
"""Said of a run whose start request never left this computer."""

CANCELLED_UNSENT: Final = "The run was cancelled before anything was sent; nothing was charged."


class RunStarter:
    """Carries accepted runs to the provider."""

    def __init__(
        self,
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        writer: PendingWrites,
        *,
        restore: Restore | None = None,
        input_preparer: InputPreparer | None = None,
        on_mismatch: Callable[[OpenAccount, App], None] = lambda *_: None,
        witness: StartWitness | None = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            restore: Prepares a call again; None where each run comes with its call.
            input_preparer: Sends the files of runs; None where no run has files.
            on_mismatch: Called when a provider refuses inputs that fit the definition of the app.
            witness: Knows of started runs whose start reply was lost; None where nothing does.
        """
        self._witness = witness
        self._restore = restore
        self._on_mismatch = on_mismatch
        self._input_preparer = input_preparer
        self._store = store
        self._writer = writer
        self._live_runs = live_runs
        self._clock = clock
        self.under_way: set[str] = set()
        """The runs whose start requests are being sent; none is to be cancelled before the outcome is recorded."""
        self._lines: defaultdict[tuple[str, Priority], dict[str, None]] = defaultdict(dict)
        """The runs of each account that wait for their turn, in order."""
        # Rows have slots of their own: with a low request limit they hold them long, and must not delay runs that calls wait for.
        # So has each account: the limit of one provider must not delay another.
        self._places: defaultdict[tuple[str, Priority], anyio.CapacityLimiter] = defaultdict(
            partial(anyio.CapacityLimiter, MAX_STARTS)
        )

    async def start(self, run: Run, call: PreparedCall, account: OpenAccount) -> Run:
        """Return the run as it stands after the start: queued, running, failed, unknown, or cancelled meanwhile.

        A row of a batch waits for the next day of the provider when this one is used up; other runs fail.

        Raises:
            FlowportError: A file of the run could not be brought; nothing was started.
        """
        try:
            started = await self._outwait_day(run, partial(self._start, run, call, account))
            return await self._store.get_run_of_any_owner(run.id) if started is None else started
        finally:
            self.under_way.discard(run.id)

    async def restore(self, run: Run, account: OpenAccount) -> PreparedCall | None:
        """Return the call of a run from its record; None when it is not exactly the same, or the run was cancelled meanwhile.

        Raises:
            FlowportError: What has to be read for it could not be.
        """
        if self._restore is None:
            return None
        restore = partial(self._restore, run, account)
        return await self._stop_when_over(run, partial(self._outwait_day, run, restore))

    def _is_over(self, run: Run) -> bool:
        """Return whether the run was cancelled meanwhile."""
        entry = self._live_runs.get(run.id)
        return entry is not None and entry.run.state.is_final

    async def _outwait_day(self, run: Run, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of some work for a run; None when the run was cancelled meanwhile.

        For a row of a batch the work is repeated after the provider's daily quota resets; a single run fails instead.

        Raises:
            FlowportError: What the work raises. A refusal of the account is then recorded on the list of live runs.
        """
        while not self._is_over(run):
            try:
                return await work()
            except DayUsedUp as exc:
                if not run.batch_id:
                    raise
                if not self._is_over(run):
                    self._live_runs.update(run, problem=f"{exc} Nothing was sent; Flowport goes on by itself.")
                    await self._stop_when_over(run, partial(self._clock.sleep, exc.resumes_seconds))
            except ProviderRefused as exc:
                self._live_runs.note_refused(run.id, str(exc))
                raise
        return None

    async def _stop_when_over(self, run: Run, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of some work; None when the run is cancelled, which stops it. The work must not start a run.

        Raises:
            FlowportError: What the work raises.
        """
        found: T | None = None
        error: FlowportError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_at_end, run, group.cancel_scope)
            try:
                found = await work()
            except FlowportError as exc:
                # The group would wrap it.
                error = exc
            group.cancel_scope.cancel()
        if error is not None:
            raise error
        return found

    async def _cancel_at_end(self, run: Run, scope: anyio.CancelScope) -> None:
        while (entry := self._live_runs.get(run.id)) is not None and not entry.run.state.is_final:
            await entry.changed.wait()
        scope.cancel()

    async def _start(self, run: Run, call: PreparedCall, account: OpenAccount) -> Run:
        inputs = await self._prepare_inputs(run, call, account)
        run = replace(run, notes=inputs.notes)
        # Built first: a mistake in it must not leave the fate of the run unknown.
        webhook = None if self._witness is None else self._witness.build_target(run, account)
        if webhook is not None and (entry := self._live_runs.get(run.id)) is not None:
            entry.is_reported = True
        request = account.provider.build_start_request(call.app, inputs.inputs, webhook)
        tries = Tries(is_row=bool(run.batch_id))
        while True:
            priority = self._get_priority(run)
            async with self._stand_in_line(run, account, priority):
                if self._is_over(run):
                    # Before it takes a request of the budget.
                    return await self._store.get_run_of_any_owner(run.id)
                await anyio.lowlevel.checkpoint_if_cancelled()
                self.under_way.add(run.id)
                permit = StartPermit(run, self._store, self._clock)
                sent = run_events.StartRequested(self._clock.now(), f"{request.method} {request.path}")
                requested = await self._store.record(run.id, sent, run.lease)
                if isinstance(requested, Stale):
                    return requested.run or run
                starting = requested.run
                self._live_runs.update(starting)
                trigger(Failpoint.AFTER_STARTING)
                try:
                    outcome = await self._send(request, account, permit)
                except StartWithdrawn as exc:
                    logger.warning("run %s was taken over before its start request left: nothing was sent", run.id)
                    return exc.run
                trigger(Failpoint.AFTER_REPLY)
            pause = tries.get_pause(outcome)
            if pause is None or not await self._retreat(run):
                if _is_mismatch(outcome):
                    self._on_mismatch(account, call.app)
                    if self._input_preparer is not None:
                        await self._input_preparer.forget(inputs, account)
                return await self._conclude(starting, _name_inputs(outcome, call), is_sandbox=account.is_sandbox)
            self.under_way.discard(run.id)
            self._live_runs.update(run, problem=_format_retry(outcome, pause))
            await self._clock.sleep(pause)
            if await self._drop_unwanted(run):
                return await self._store.get_run_of_any_owner(run.id)

    @asynccontextmanager
    async def _stand_in_line(self, run: Run, account: OpenAccount, priority: Priority) -> AsyncIterator[None]:
        """Wait for the turn of a start, and hold its place until its answer is here; the list of live runs shows its place."""
        line = self._lines[account.account.id, priority]
        line[run.id] = None
        if (entry := self._live_runs.get(run.id)) is not None:
            entry.get_place = partial(self._get_place, run, account, priority)
        try:
            async with self._places[account.account.id, priority]:
                await account.wait_for_turn(priority)
                line.pop(run.id)
                yield
        finally:
            line.pop(run.id, None)

    def _get_place(self, run: Run, account: OpenAccount, priority: Priority) -> QueuePlace | None:
        line = self._lines[account.account.id, priority]
        if run.id not in line:
            return None
        before = len(self._lines[account.account.id, Priority.START]) if priority is Priority.START_ROW else 0
        place = before + list(line).index(run.id) + 1
        return QueuePlace(place, account.limiter.get_wait(place))

    def _get_priority(self, run: Run) -> Priority:
        """Return how urgent the start is: a batch row comes after the runs that calls wait for."""
        entry = self._live_runs.get(run.id)
        is_row = entry is not None and entry.urgency is Urgency.BATCH and not entry.waiters
        return Priority.START_ROW if is_row else Priority.START

    async def _drop_unwanted(self, run: Run) -> bool:
        """Cancel a run whose caller left while it could not be cancelled; now it can."""
        entry = self._live_runs.get(run.id)
        if entry is not None and not entry.is_unwanted:
            return False
        cancelled = run_events.Cancelled(CANCELLED_UNSENT, self._clock.now())
        outcome = await self._store.record(run.id, cancelled, run.lease, unless_waited_for=entry is not None)
        return entry is None or isinstance(outcome, Recorded)

    async def _prepare_inputs(self, run: Run, call: PreparedCall, account: OpenAccount) -> PreparedInputs:
        if self._input_preparer is None:
            return PreparedInputs(call.inputs)
        return await self._input_preparer.prepare(run, call, account)

    async def _retreat(self, run: Run) -> bool:
        """Return whether the store has the run as accepted again; only then may it be sent again."""
        try:
            return isinstance(await self._store.record(run.id, run_events.StartNotTaken(), run.lease), Recorded)
        except StoreError as exc:
            logger.warning("run %s was not taken, which could not be recorded: %s", run.id, exc)
            return False

    async def _send(self, request: ApiRequest, account: OpenAccount, permit: StartPermit) -> StartOutcome:
        try:
            answer = await account.send_now(request, permit.check)
        except ProviderUnreachable as exc:
            return Uncertain(exc, "") if exc.was_sent else NotTaken(exc)
        return account.provider.parse_start(answer)

    async def _conclude(self, run: Run, outcome: StartOutcome, *, is_sandbox: bool) -> Run:
        now = self._clock.now()
        event: run_events.RunEvent
        match outcome:
            case Started(provider_run_id, state):
                self._live_runs.start_outcomes["started"] += 1
                event = run_events.StartAcknowledged(provider_run_id, state, now)
            case NotTaken(error):
                self._live_runs.start_outcomes["not started"] += 1
                if isinstance(error, ProviderRefused):
                    self._live_runs.note_refused(run.id, str(error))
                # The definitions of the built-in sandbox are part of this program.
                may_have_changed = _is_mismatch(outcome) and not is_sandbox
                failure = _format_not_taken(error, may_have_changed=may_have_changed)
                event = run_events.Finished(RunState.FAILED, now, failure=failure)
            case Uncertain(error, answer):
                self._live_runs.start_outcomes["unknown"] += 1
                failure = format_unknown(error, is_sandbox=is_sandbox)
                event = run_events.StartUnknown(failure=failure, at=now, answer=answer)
            case _:
                assert_never(outcome)
        kept = await self._writer.record(run, event)
        if kept.state is RunState.UNKNOWN and self._witness is not None:
            # Its webhook may have come before the reply that was lost.
            kept = await self._witness.settle(kept)
        return await self._claim_back(run, kept) if kept.lease != run.lease and kept.state.is_at_provider else kept

    async def _claim_back(self, run: Run, kept: Run) -> Run:
        """Claim a run that another process claimed while its start request was sent: that process may not follow it."""
        try:
            outcome = await self._store.claim(run.id, run.process_id, lease=kept.lease)
        except StoreError as exc:
            logger.warning("run %s, which another process claimed, was not claimed back: %s", run.id, exc)
            return kept
        return outcome.run if isinstance(outcome, Claimed) else kept


def format_unknown(error: ProviderError, *, is_sandbox: bool = False) -> str:
    """Return the sentence for a run whose start request may have arrived."""
    cause = f"{error.provider} may or may not have started this run: {_format_cause(error)}."
    if is_sandbox:
        return f"{cause} Flowport does not send it again by itself; new_run: true does, and costs play money alone."
    return (
        f"{cause} It may have been charged, so Flowport does not send it again by itself. {error.provider}'s website "
        "shows whether it is there."
    )


def _format_not_taken(error: ProviderError, *, may_have_changed: bool) -> str:
    if may_have_changed:
        return f"{error} {MAY_HAVE_CHANGED}"
    return f"{error} {NOTHING_LEFT}" if isinstance(error, ProviderUnreachable) else str(error)


def _format_cause(error: ProviderError) -> str:
    if isinstance(error, ProviderUnreachable):
        return error.why
    return getattr(error, "problem", None) or f"it answered HTTP {getattr(error, 'status', None)}"


def _format_retry(outcome: StartOutcome, pause: float) -> str:
    explanation = outcome.error.explanation if isinstance(outcome, NotTaken) else ""
    return f"{explanation} Nothing was started; Flowport tries again by itself in {math.ceil(pause)} s."


def _name_inputs(outcome: StartOutcome, call: PreparedCall) -> StartOutcome:
    """Return the outcome with the names that the caller knows the inputs by."""
    if isinstance(outcome, NotTaken) and isinstance(outcome.error, ProviderRejected):
        return NotTaken(name_inputs(outcome.error, call.names))
    return outcome


def _is_mismatch(outcome: StartOutcome) -> bool:
    """Return whether the provider refused inputs that passed our own check."""
    error = outcome.error if isinstance(outcome, NotTaken) else None
    return isinstance(error, ProviderRejected) and error.status == 422  # noqa: PLR2004
