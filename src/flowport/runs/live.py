"""The live runs of this process in memory, and an event for those that wait for one.

The store is the record; this list is newer, and a waiting handler reads it instead of the disk.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio

from flowport.domain.backoff import Backoff
from flowport.domain.errors import StoreError
from flowport.domain.models import Run, RunState, Urgency
from flowport.domain.run_events import RunEvent, apply
from flowport.runs.news import RunNews
from flowport.runtime.clock import Clock
from flowport.store.cluster import NewsKind
from flowport.store.interface import Store
from flowport.store.records import BatchProgress

logger = logging.getLogger(__name__)

FAILED_WRITE: Final = Backoff(300.0, 1.0, tries=8, steps=(0.5, 2.0, 10.0, 30.0, 60.0, 120.0))
"""Between retries for a run that has ended; after the last one it stays among the live runs and in the log only."""

SHARED_WRITE: Final = Backoff(0.2, 2.0, 1.0)
"""The same in a team, whose store waits for its database: other processes wait for what this one knows."""


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Where a start is in the queue of the rate limiter."""

    place: int
    """From 1."""
    seconds: float
    """About how long it takes until its turn."""


def _has_no_place() -> QueuePlace | None:
    return None


@dataclass(slots=True)
class LiveRun:
    """One run that this process starts, polls or saves. Mutable: it changes with every poll."""

    run: Run
    is_saving: bool = False
    """Whether its outputs are being fetched."""
    problem: str = ""
    """Why the last poll failed, as a sentence; empty when it did not."""
    is_unwritten: bool = False
    """Whether the store could not record the last change, so that this is its only record."""
    refusal: str = ""
    """Why the provider takes no runs from this account at all, as sentences; empty while it is not known to refuse. What
    a row of a batch has met stands with the batch."""
    is_unwanted: bool = False
    """Whether a caller that has gone wanted the run to be stopped if that is still possible."""
    urgency: Urgency = Urgency.WAITED
    """How soon it was wanted when it was asked for."""
    waiters: int = 0
    """How many calls wait for it now."""
    crashes: int = 0
    """How often a task that polled or saved it had an internal error."""
    noted_at: float = 0.0
    """Monotonic seconds at which the run was accepted, also before this process began; durations are counted from it."""
    is_reported: bool = False
    """Whether the provider was asked to report its changes to an address of this server."""
    announced_at: float | None = None
    """Monotonic seconds of the last event which says that it may be over; None while none came."""
    over_after_seconds: float | None = None
    """How long the run took by the monotonic clock, from its acceptance; None when its end was not seen here."""
    get_place: Callable[[], QueuePlace | None] = _has_no_place
    """Returns its place in the queue of the rate limiter; None while it is not queued."""
    changed: anyio.Event = field(default_factory=anyio.Event)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Count as a call that waits for the run."""
        self.waiters += 1
        try:
            yield
        finally:
            self.waiters -= 1

    def wake(self) -> None:
        """Wake all that wait for a change."""
        self.changed.set()
        self.changed = anyio.Event()

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will change by itself."""
        return self.run.state.is_final and not self.is_saving


class RunListener(Protocol):
    """Is called for every change of a run."""

    def __call__(self, run_id: str, *, owner: str, is_relisted: bool) -> None:
        """Note a change; `is_relisted` when the run is new, and not when only its state changed."""


def _ignore(run_id: str, *, owner: str, is_relisted: bool) -> None:
    """Ignore the change."""


class LiveRuns:
    """The live runs of this process by id, and for a while those that have ended."""

    def __init__(self, listener: RunListener = _ignore, news: RunNews | None = None) -> None:
        """Begin empty.

        Args:
            news: What other processes of a team say and are to know; None where there are none.
        """
        self.news = news or RunNews()
        self._entries: dict[str, LiveRun] = {}
        self._live: set[str] = set()
        self.start_outcomes: Counter[str] = Counter()
        """How many start requests had which outcome, for metrics."""
        self._listener = listener

    def put(self, run: Run, *, noted_at: float, urgency: Urgency = Urgency.WAITED) -> LiveRun:
        """Add a run, or return its entry when it is here already."""
        if run.id not in self._entries:
            self._entries[run.id] = LiveRun(run, urgency=urgency, noted_at=noted_at)
            self._note_live(run)
            # The lists show a batch, and none of its rows.
            self._listener(run.id, owner=run.owner, is_relisted=not run.batch_id)
        return self._entries[run.id]

    def get(self, run_id: str) -> LiveRun | None:
        """Return what is known of a run; None when this process does not follow it."""
        return self._entries.get(run_id)

    def count_states(self) -> Counter[str]:
        """Return how many runs that are not over are in which state."""
        return Counter(self._entries[run_id].run.state.value for run_id in self._live if run_id in self._entries)

    def get_row_problem(self, batch_id: str) -> str:
        """Return why a row of a batch cannot be sent just now, as sentences; empty when none has met a problem."""
        rows = (entry for entry in self._entries.values() if entry.run.batch_id == batch_id)
        return next((row.problem for row in rows if row.problem and row.run.state is RunState.ACCEPTED), "")

    def count_unstarted(self, account_id: str) -> int:
        """Return how many rows of batches of an account wait to be started."""
        runs = (self._entries[run_id].run for run_id in self._live)
        return sum(
            run.state is RunState.ACCEPTED and bool(run.batch_id) and run.account_id == account_id for run in runs
        )

    def get_ids(self) -> tuple[str, ...]:
        """Return the runs and batches that this process follows."""
        return tuple(self._entries)

    def has_unsettled(self, account_id: str) -> bool:
        """Return whether runs of an account are started, polled or saved."""
        return any(one.run.account_id == account_id and not one.is_settled for one in self._entries.values())

    def remove(self, run_id: str) -> None:
        """Forget a run that the store has as well, and wake its waiters."""
        entry = self._entries.get(run_id)
        if entry is not None and not entry.is_unwritten:
            del self._entries[run_id]
            self._live.discard(run_id)
            entry.changed.set()
            if not entry.is_settled:
                self._wake_batch(entry.run)

    def note_unwritten(self, run_id: str, *, is_unwritten: bool = True) -> None:
        """Keep a run here although it is over while the store could not take its last change."""
        if (entry := self._entries.get(run_id)) is not None:
            entry.is_unwritten = is_unwritten

    def note_refused(self, run_id: str, reason: str) -> None:
        """Record that the run failed for a reason that holds for every run of its account, and wake the waiters of its batch."""
        entry = self._entries.get(run_id)
        if entry is None:
            return
        entry.refusal = reason
        if (batch := self._entries.get(entry.run.batch_id)) is not None:
            batch.refusal = reason
            batch.wake()

    def note_unwanted(self, run: Run) -> None:
        """Record that a caller of the run has disconnected and wants it stopped; another process may follow it."""
        entry = self._entries.get(run.id)
        if entry is not None:
            entry.is_unwanted = True
        else:
            self.news.post(NewsKind.UNWANTED, run)

    def update(self, run: Run, *, is_saving: bool | None = None, problem: str = "") -> None:
        """Set the new state of a run and wake its waiters."""
        entry = self._entries.get(run.id)
        if entry is None:
            return
        if run != entry.run:
            self._listener(run.id, owner=run.owner, is_relisted=False)
        was_settled, entry.run = entry.is_settled, run
        self._note_live(run)
        if problem or entry.problem:
            self._report_problem(run, problem)
        entry.problem = problem
        if is_saving is not None:
            entry.is_saving = is_saving
        entry.wake()
        if entry.is_settled and not was_settled:
            self._wake_batch(run)

    def _report_problem(self, run: Run, problem: str) -> None:
        """Report a problem to those who wait elsewhere; of a batch they see what keeps a row from being sent."""
        if not problem or not run.batch_id or run.state is RunState.ACCEPTED:
            self.news.report_problem(run, problem)

    def _wake_batch(self, row: Run) -> None:
        """Wake those who wait for the batch of a row that is over: another row may be started."""
        if row.batch_id and (batch := self._entries.get(row.batch_id)) is not None:
            batch.wake()

    def _note_live(self, run: Run) -> None:
        if run.state.is_final or run.is_batch:
            self._live.discard(run.id)
        else:
            self._live.add(run.id)


class PendingWrites:
    """Records events in their order, and keeps those that the store cannot take yet."""

    def __init__(self, store: Store, live_runs: LiveRuns, clock: Clock, *, retry: Backoff = FAILED_WRITE) -> None:
        """Begin without any; `retry` has the pauses between two attempts for a run that has ended."""
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._retry = retry
        self._pending: dict[str, deque[tuple[RunEvent, int]]] = {}
        self._failed: dict[str, tuple[RunEvent, int]] = {}
        """The event of each run that could not be recorded, which was logged."""

    async def record(self, run: Run, event: RunEvent) -> Run:
        """Record an event, and before it the pending ones of the same run.

        Returns:
            The run as the store has it, or, while the event is pending, as it will be. Its lease is another one if another
            process has claimed it.
        """
        self._pending.setdefault(run.id, deque()).append((event, run.lease))
        return await self._write(run.id, lambda: apply(run, event))

    def has_pending(self, run_id: str) -> bool:
        """Return whether an event of a run waits for the store."""
        return run_id in self._pending

    async def flush(self, run: Run) -> Run:
        """Record the pending events of a run, which has had them already; without any, nothing is done."""
        return await self._write(run.id, lambda: run)

    async def _write(self, run_id: str, build_run: Callable[[], Run]) -> Run:
        """Record the pending events of a run; `build_run` returns it with them, which is used where the store has it not."""
        pending, kept = self._pending.get(run_id), None
        while pending:
            first = pending[0]
            try:
                outcome = await self._store.record(run_id, *first)
            except StoreError as exc:
                run = build_run()
                self._live_runs.note_unwritten(run.id)
                provider_run_id = run.provider_run_id or "without an id"
                logger.log(
                    # An outage may last for hours, with an attempt every few seconds.
                    logging.INFO if first is self._failed.get(run_id) else logging.ERROR,
                    "run %s (%s at the provider) is %s, which is not recorded: %s",
                    run.id,
                    provider_run_id,
                    run.state,
                    exc,
                )
                self._failed[run_id] = first
                return run
            kept = outcome.run
            # Another task may have recorded it at the same time.
            if pending and pending[0] is first:
                pending.popleft()
        self._failed.pop(run_id, None)
        if self._pending.pop(run_id, None) is not None:
            self._live_runs.note_unwritten(run_id, is_unwritten=False)
        return kept or build_run()

    async def flush_at_end(self, run: Run) -> None:
        """Retry the pending events of a run that has ended, with increasing delays."""
        failures = 0
        while run.id in self._pending:
            await self.flush(run)
            failures += 1
            if run.id not in self._pending or (pause := self._retry.get_pause(failures)) is None:
                return
            await self._clock.sleep(pause)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands, with what only this process knows of it."""

    run: Run
    elapsed_seconds: float
    """From the acceptance to the end, or to now."""
    problem: str = ""
    """Why the last poll failed; empty when it did not."""
    is_saving: bool = False
    """Whether its outputs are still being saved."""
    is_joined: bool = False
    """Whether the call that is answered joined it instead of starting it."""
    progress: str = ""
    """How far it is, as a sentence for a person; empty once it is over."""


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as it stands."""

    run: Run
    batch_progress: BatchProgress
    elapsed_seconds: float
    """From the acceptance to the end, or to now."""
    problem: str = ""
    """Why it cannot go on just now; empty when it can."""
    is_joined: bool = False
    """Whether the call that is answered joined it instead of starting it."""
