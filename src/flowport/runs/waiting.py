"""Wait for a run, a batch or a piece of work on behalf of a caller, with progress, for as long as the caller waits."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final, Generic, Protocol, TypeVar

import anyio

from flowport.domain.errors import FlowportError
from flowport.domain.models import Run
from flowport.network.account import OpenAccount
from flowport.runs.batch.service import Batches
from flowport.runs.delivery import Caller
from flowport.runs.live import BatchView, LiveRun, LiveRuns, RunView
from flowport.runs.news import LOOK_SECONDS
from flowport.runs.poll import DurationBook
from flowport.runs.progress import format_batch_progress, format_progress
from flowport.runs.recovery import KEY_ABSENT, KEY_GONE, Recovery
from flowport.runtime.clock import Clock
from flowport.store.cluster import NewsKind
from flowport.store.interface import Store
from flowport.store.records import get_usual_seconds

PROGRESS_SECONDS: Final = 5.0
"""Between two progress notifications. Clients that reset their timer on progress do so within ten seconds."""

SAVING_SECONDS: Final = 15.0
"""How long after its end a run of another process counts as being saved; its worker may have died."""

AWAITED_SECONDS: Final = 1.0
"""From this age on a run is announced to its worker when it is waited for; a fresh one counts as waited for anyway."""

QUIET_SECONDS: Final = 1.0
"""Between two progress notifications of a batch at the least: hundreds of rows may end at once."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observation(Generic[T]):
    """What is waited for, as it is now."""

    build_view: Callable[[], T]
    """Returns what a caller gets that waits no longer."""
    is_over: bool
    """Whether nothing more will change."""
    changed: anyio.Event
    """Set at the next change. Taken before anything else is read, so that no change is missed."""
    format_message: Callable[[], str] = str
    """Returns the progress to report; empty for none."""
    look_again_seconds: float = PROGRESS_SECONDS
    entry: LiveRun | None = None
    """The live run that the caller counts as waiting for."""


class Waitable(Protocol[T]):
    """Something that a caller can wait for."""

    quiet_seconds: float
    """The least time between two reports."""

    async def observe(self) -> Observation[T]:
        """Return how it stands now."""


class Patience:
    """Ends every wait for a run at once, as if its budget were used up: the process is about to end."""

    def __init__(self) -> None:
        self.is_over = False
        self._scopes: set[anyio.CancelScope] = set()

    def end(self) -> None:
        """Answer all callers with how their runs stand, now and from now on."""
        self.is_over = True
        for scope in tuple(self._scopes):
            scope.cancel()

    @contextmanager
    def bound(self, scope: anyio.CancelScope) -> Iterator[None]:
        """Wait in a scope, which is left early when the process is about to end."""
        self._scopes.add(scope)
        try:
            with scope:
                yield
        finally:
            self._scopes.discard(scope)


async def wait(
    subject: Waitable[T], caller: Caller, clock: Clock, deadline: float = inf, patience: Patience | None = None
) -> T:
    """Return what is waited for when nothing more will change, or as it stands at the deadline; report progress."""
    reported_at = -inf
    patience = patience or Patience()
    while True:
        seen = await subject.observe()
        now = clock.monotonic()
        if seen.is_over:
            return seen.build_view()
        is_report_due = caller.is_progress_wanted and now - reported_at >= subject.quiet_seconds
        if is_report_due and (message := seen.format_message()):
            reported_at = now
            await caller.report(now - caller.arrived_at_seconds, message)
        remaining = deadline - clock.monotonic()
        if remaining <= 0 or patience.is_over:
            return seen.build_view()
        with (
            nullcontext() if seen.entry is None else seen.entry.wait(),
            patience.bound(clock.move_on_after(min(remaining, seen.look_again_seconds))),
        ):
            await seen.changed.wait()


class EventWait:
    """Waits for an event that as a rule comes soon, so nothing is reported for the first seconds."""

    quiet_seconds = 0.0

    def __init__(self, event: anyio.Event, message: str = "") -> None:
        self._event = event
        self._message = message
        self._is_first = True

    async def observe(self) -> Observation[bool]:
        """Return whether the event has come."""
        format_message = str if self._is_first else self.get_message
        self._is_first = False
        return Observation(self._event.is_set, self._event.is_set(), self._event, format_message)

    def get_message(self) -> str:
        """Return what to report."""
        return self._message


async def report_while(work: Awaitable[T], caller: Caller, clock: Clock, message: str) -> T:
    """Return what some work returns, and report meanwhile what the caller waits for."""
    if not caller.is_progress_wanted:
        return await work
    async with anyio.create_task_group() as group:
        group.start_soon(wait, EventWait(anyio.Event(), message), caller, clock)
        try:
            found: T | FlowportError = await work
        except FlowportError as exc:
            # The group would wrap it.
            found = exc
        group.cancel_scope.cancel()
    if isinstance(found, FlowportError):
        raise found
    return found


class Waiter:
    """Waits for runs and batches, whichever process follows them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        live_runs: LiveRuns,
        durations: DurationBook,
        recovery: Recovery,
        batches: Batches,
        accounts: Mapping[str, OpenAccount],
        wait_seconds: float,
        should_save: bool = True,
    ) -> None:
        """Prepare; `accounts` are the open ones by id, `wait_seconds` is how long a call waits from its arrival."""
        self.should_save = should_save
        self.store = store
        self.clock = clock
        self.live_runs = live_runs
        self.durations = durations
        self.recovery = recovery
        self.batches = batches
        self.accounts = accounts
        self._wait_seconds = wait_seconds
        self.patience = Patience()

    def get_deadline(self, caller: Caller) -> float:
        """Return the monotonic seconds until which a call waits."""
        return caller.arrived_at_seconds + self._wait_seconds

    async def wait_for_run(self, run: Run, caller: Caller) -> RunView:
        """Return the run when nothing more will change, or as it stands when the wait budget is used up."""
        await self.durations.load(run.account_id, run.app_id)
        if self.get_elapsed_seconds(run) >= AWAITED_SECONDS and self.is_elsewhere(run):
            self.live_runs.news.post(NewsKind.AWAITED, run)
        subject = _RunWait(self, run, is_end_enough=not caller.is_progress_wanted)
        return await wait(subject, caller, self.clock, self.get_deadline(caller), self.patience)

    async def wait_for_batch(self, batch: Run, caller: Caller) -> BatchView:
        """Return the batch when it is over, or as it stands when the wait budget is used up."""
        durations = await self.store.get_durations(account_id=batch.account_id, app_id=batch.app_id)
        if self.is_elsewhere(batch):
            self.live_runs.news.post(NewsKind.AWAITED, batch)
        subject = _BatchWait(self, batch, get_usual_seconds(durations))
        return await wait(subject, caller, self.clock, self.get_deadline(caller), self.patience)

    def is_elsewhere(self, run: Run) -> bool:
        """Return whether another process of a team follows a run that is not over."""
        is_here = not self.live_runs.news.is_shared or self.live_runs.get(run.id) is not None
        return not is_here and run.is_followed and not run.state.is_final

    async def wait_for_end(self, run: Run, seconds: float) -> None:
        """Wait until a run that a process follows is over, at most so long.

        Raises:
            StoreError: The store cannot be read.
            RunNotFound: The run was erased meanwhile.
        """
        with self.clock.move_on_after(seconds):
            while True:
                changed, entry = self.live_runs.news.get_event(run.id), self.live_runs.get(run.id)
                if entry is not None:
                    if entry.run.state.is_final:
                        return
                    await entry.changed.wait()
                    continue
                run = await self.store.get_run(run.id, account_id=None, owner=run.owner)
                if not self.is_elsewhere(run):
                    return
                with self.clock.move_on_after(LOOK_SECONDS):
                    await changed.wait()

    async def get_run_view(self, run: Run, kept: Run | None = None) -> RunView:
        """Return how a run stands: by the list of live runs while this process follows it, else as it was just read.

        Raises:
            StoreError: The store cannot be read.
            RunNotFound: The run was erased meanwhile.
        """
        entry = self.live_runs.get(run.id)
        if entry is not None:
            await self.durations.load(run.account_id, run.app_id)
            return self.build_view(entry)
        kept = kept or await self.store.get_run(run.id, account_id=None, owner=run.owner)
        is_unsaved = kept.delivered_at is None and any(not one.saved_path for one in kept.outputs)
        is_open = not kept.state.is_final or is_unsaved
        is_closed = kept.account_id not in self.accounts
        is_lost = is_open and is_closed and (kept.adoption_tried_by != "" or not self.recovery.can_adopt)
        elapsed = self.get_elapsed_seconds(kept)
        if not kept.state.is_final and not is_lost:
            await self.durations.load(run.account_id, run.app_id)
            return self.build_view(self.build_entry(kept))
        why = KEY_GONE if self.recovery.can_adopt else KEY_ABSENT
        return RunView(kept, elapsed, problem=why if is_lost else "")

    async def get_batch_view(self, batch: Run) -> BatchView:
        """Return how a batch stands.

        Raises:
            StoreError: The store cannot be read.
            RunNotFound: The batch was erased meanwhile.
        """
        kept = await self.store.get_run(batch.id, account_id=None, owner=batch.owner)
        is_lost = not kept.state.is_final and kept.account_id not in self.accounts
        why = KEY_GONE if self.recovery.can_adopt else KEY_ABSENT
        problem = why if is_lost else self.batches.get_problem(batch)
        problem = problem or self.live_runs.news.get_problem(batch.id)
        progress = await self.store.get_batch_progress(batch.id)
        return BatchView(kept, progress, self.get_elapsed_seconds(kept), problem=problem)

    def build_entry(self, kept: Run, changed: anyio.Event | None = None, *, is_saving: bool = False) -> LiveRun:
        """Return the entry of a run that another process follows, made from the store; the event is set at its next change."""
        entry = LiveRun(kept, is_saving, noted_at=self.clock.monotonic() - self.get_elapsed_seconds(kept))
        if changed is not None:
            entry.changed = changed
        if not kept.state.is_final:
            entry.problem = self.live_runs.news.get_problem(kept.id)
        return entry

    def build_view(self, entry: LiveRun) -> RunView:
        """Return how a live run stands."""
        elapsed = self.get_elapsed_seconds(entry.run)
        if not entry.run.state.is_final:
            elapsed = self.clock.monotonic() - entry.noted_at
        elif entry.over_after_seconds is not None:
            # The wall clock may have been set meanwhile.
            elapsed = entry.over_after_seconds
        progress = "" if entry.is_settled else self.format_progress(entry)
        return RunView(entry.run, elapsed, problem=entry.problem, is_saving=entry.is_saving, progress=progress)

    def format_progress(self, entry: LiveRun) -> str:
        """Return how far a live run is, in one line."""
        usual = self.durations.get_usual(entry.run.account_id, entry.run.app_id)
        return format_progress(entry, self.clock.monotonic() - entry.noted_at, usual)

    def get_elapsed_seconds(self, run: Run) -> float:
        """Return the seconds from acceptance to the end or to now. The wall clock may have jumped, so never below 0."""
        return max(0.0, (run.finished_at or self.clock.now()) - run.accepted_at)


class _RunWait:
    """Waits for one run."""

    quiet_seconds = 0.0

    def __init__(self, waiter: Waiter, run: Run, *, is_end_enough: bool) -> None:
        self._waiter = waiter
        self._run = run
        self._is_end_enough = is_end_enough
        self._kept: Run | None = None
        """As the store has it, once nothing more is waited for."""
        self._last: LiveRun | None = None
        self._over_since: float | None = None
        """Monotonic seconds at which the run ended in another process, as far as is known here."""

    async def observe(self) -> Observation[RunView]:
        """Return how the run stands."""
        waiter, run, news = self._waiter, self._run, self._waiter.live_runs.news
        changed = news.get_event(run.id, is_end_enough=self._is_end_enough)
        entry = self._last = await self._find_entry(changed)
        if entry is None:
            view = await waiter.get_run_view(run, self._kept)
            return Observation(lambda: view, is_over=True, changed=anyio.Event())
        # The list of live runs may forget it at any moment; its last state is the end.
        is_over = entry.is_settled or entry.run.is_followed is False
        seconds = PROGRESS_SECONDS if waiter.live_runs.get(run.id) else news.get_look_seconds(entry.run)
        return Observation(
            partial(waiter.build_view, entry),
            is_over,
            entry.changed,
            partial(waiter.format_progress, entry),
            seconds,
            entry,
        )

    async def _find_entry(self, changed: anyio.Event) -> LiveRun | None:
        """Return the entry of a live run, made from the store while another process follows it; None when none does.

        In a team it is over when its outputs were saved, or could not be at the first attempt, as in the process that saves them.
        A run whose process has died meanwhile is claimed, so that the caller need not ask again. A run that is no longer
        polled stays so: only a new call resumes it.
        """
        waiter = self._waiter
        if self._last is not None and self._last.is_settled:
            return self._last
        entry = waiter.live_runs.get(self._run.id)
        if entry is None and self._is_end_enough and (end := waiter.live_runs.news.take_expected_end(self._run.id)):
            entry = waiter.build_entry(self._run, end)
        if entry is not None:
            return entry
        kept = await waiter.store.get_run(self._run.id, account_id=None, owner=self._run.owner)
        if kept.state.is_final and self._is_being_saved(kept):
            return waiter.build_entry(kept, changed, is_saving=True)
        if kept.state.is_final or not kept.is_followed:
            self._kept = kept
            return None
        if not waiter.recovery.is_followed_elsewhere(kept):
            await waiter.recovery.resume(kept)
            return waiter.live_runs.get(self._run.id)
        return waiter.build_entry(kept, changed)

    def _is_being_saved(self, kept: Run) -> bool:
        """Return whether a worker is saving the outputs of a run for the first time."""
        waiter = self._waiter
        if not (waiter.live_runs.news.is_shared and waiter.should_save):
            return False
        now = waiter.clock.monotonic()
        if self._over_since is None:
            # The clocks of two machines may differ, so an end that was waited for counts from now.
            is_seen = self._last is not None
            self._over_since = now if is_seen else now - max(0.0, waiter.clock.now() - (kept.finished_at or 0.0))
        is_open = any(output.url and not output.saved_path and not output.save_problem for output in kept.outputs)
        return is_open and now - self._over_since < SAVING_SECONDS


class _BatchWait:
    """Waits for one batch."""

    quiet_seconds = QUIET_SECONDS

    def __init__(self, waiter: Waiter, batch: Run, usual_seconds: float | None) -> None:
        self._waiter = waiter
        self._batch = batch
        self._usual_seconds = usual_seconds
        account = waiter.accounts.get(batch.account_id)
        self._requests_per_minute = account.limiter.limit if account is not None else 0

    async def observe(self) -> Observation[BatchView]:
        """Return how the batch stands; one that no process carries out any more is resumed."""
        waiter, batch = self._waiter, self._batch
        entry = waiter.live_runs.get(batch.id)
        changed = waiter.live_runs.news.get_event(batch.id) if entry is None else entry.changed
        view = await waiter.get_batch_view(batch)
        if entry is None:
            await waiter.recovery.resume(view.run)
        format_message = partial(
            format_batch_progress,
            view,
            self._usual_seconds,
            waiter.clock.now(),
            requests_per_minute=self._requests_per_minute,
        )
        seconds = LOOK_SECONDS if entry is None else PROGRESS_SECONDS
        return Observation(lambda: view, view.run.state.is_final, changed, format_message, seconds, entry)
