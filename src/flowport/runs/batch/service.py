"""Carry out batches: let rows become runs, so many at a time, until none is left; from the store alone.

Of a batch only the fact that this process carries it out is kept in memory. So a process that claims a batch from
one that has ended goes on from what is on record, and a row becomes a run once.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel

from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Finished
from flowport.network.account import OpenAccount
from flowport.runs.batch.prepare import PreparedBatch, build_batch, build_row_run
from flowport.runs.batch.report import BatchReport, SavedReport
from flowport.runs.calls import RunRequest
from flowport.runs.cancel import cancel_row
from flowport.runs.live import LiveRun, LiveRuns
from flowport.runs.poll_schedule import get_live_rows
from flowport.runs.rebuild_call import CallRebuilder
from flowport.runs.service import Runner
from flowport.runs.submit import Submission
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.store.batch_records import STOPPED_BY_PERSON, BatchProgress, RowStatus
from flowport.store.interface import Store
from flowport.store.records import Taken
from flowport.store.workers import Workers

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at a batch whose rows end in other processes; an end in this one is noticed at once."""

TRIAL_ROWS: Final = 4
"""Live rows of a batch that stops after failures, until one has succeeded, unless more failures are allowed: whatever is
live when the failures are seen may be paid for, and one after the other a good table would begin too slowly."""

STOPPED_WITH_CALLER: Final = (
    "The client that asked for the batch has gone, so the rest was not started and cost nothing."
)


def format_stopped(failures: int) -> str:
    """Return why no more rows are begun after so many have failed; others may fail after that."""
    return f"At least {failures} row{'s' * (failures != 1)} failed, so the rest was not started and cost nothing."


def format_refused(refusal: str) -> str:
    """Return why no more rows are begun of an account that the provider refuses."""
    return f"{refusal} The rest was not started and cost nothing."


@dataclass(slots=True)
class _Bell:
    """Rung when a row of a batch may have ended; with what else this process knows of the batch alone."""

    rung: anyio.Event = field(default_factory=anyio.Event)
    report: SavedReport | None = None
    """The table, once it was saved."""

    def ring(self) -> None:
        """Wake who waits."""
        self.rung.set()
        self.rung = anyio.Event()


class Batches:
    """Owns the batches of this process. Like runs they go on whether a call waits for them or not."""

    def __init__(
        self,
        *,
        runner: Runner,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        supervisor: Supervisor,
        process: Workers,
        call_rebuilder: CallRebuilder,
        report: BatchReport,
    ) -> None:
        self._runner = runner
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._supervisor = supervisor
        self._process = process
        self._call_rebuilder = call_rebuilder
        self._report = report
        self._bells: dict[str, _Bell] = {}
        """Of the batches that this process carries out."""
        self._cancelling: set[str] = set()
        """Batches whose rows are being cancelled at the provider."""

    async def submit(self, prepared: PreparedBatch, origin: RunRequest) -> Submission:
        """Accept a batch and begin it in the background, or join the one that it repeats; see `Acceptor.submit`."""
        batch = build_batch(prepared, origin.owner, self._clock, self._process)

        async def begin(*, is_unwanted: bool) -> None:
            """Begin the batch; when its caller has left, it only comes to its end."""
            if is_unwanted:
                await self._stop(batch.run, STOPPED_WITH_CALLER, call_id=origin.id)
            self._begin(batch.run)

        return await self._runner.acceptor.submit(
            batch.run,
            origin,
            accept=partial(self._store.accept_batch, batch),
            begin=begin,
            on_crash=anyio.lowlevel.checkpoint,
        )

    async def resume(self, batch: Run) -> None:
        """Go on with a batch that has not ended and that no living process carries out.

        Raises:
            StoreError: The store cannot be written to.
        """
        if batch.state.is_final:
            return
        ours = self._process.process_id
        if batch.process_id != ours:
            if self._process.is_alive(batch.process_id):
                return
            outcome = await self._store.claim(batch.id, ours, lease=batch.lease)
            if isinstance(outcome, Taken):
                return
            batch = outcome.run
        self._begin(batch)

    def get_problem(self, batch: Run) -> str:
        """Return why a batch, or a row of it, cannot go on just now, as sentences; empty as far as this process knows."""
        entry = self._live_runs.get(batch.id)
        return (entry.problem if entry is not None else "") or self._live_runs.get_row_problem(batch.id)

    async def cancel(self, batch: Run, *, reason: str = STOPPED_BY_PERSON) -> int:
        """Have no more rows begin, and return how many that were; the provider is asked in the background for the others.

        Raises:
            StoreError: The cancellation could not be recorded.
        """
        dropped = await self._stop(batch, reason)
        self._supervisor.spawn(f"cancel of {batch.id}", self._cancel_begun, batch, reason)
        await self.resume(batch)
        self._ring(batch.id)
        return dropped

    async def _stop(self, batch: Run, reason: str, *, call_id: str | None = None) -> int:
        """Have nothing more sent, and return how many rows that are."""
        dropped = await self._store.drop_rows(batch.id, reason=reason, at=self._clock.now(), call_id=call_id)
        if dropped:
            self._show_cancelled(await self._store.get_rows(batch.id))
        return dropped

    def _show_cancelled(self, rows: Sequence[RowStatus]) -> None:
        """Tell those who wait to send a row that it is cancelled; another process may have done it."""
        for row in rows:
            if row.run is not None and row.run.state is RunState.CANCELLED:
                self._live_runs.update(row.run)

    async def _cancel_begun(self, batch: Run, reason: str) -> None:
        """Have all rows cancelled that have begun, as far as the provider can; what is just being sent, once it is known."""
        if batch.id in self._cancelling:
            return
        self._cancelling.add(batch.id)
        try:
            asked: set[str] = set()
            while not await self._ask_to_cancel(batch, reason, asked):
                await self._clock.sleep(LOOK_SECONDS)
        finally:
            self._cancelling.discard(batch.id)

    async def _ask_to_cancel(self, batch: Run, reason: str, asked: set[str]) -> bool:
        """Ask for each row that was not asked for, and tell whether that was the last of them."""
        account = self._accounts.get(batch.account_id)
        try:
            pending = [run for run in await self._store.get_live_rows(batch.id) if run.id not in asked]
            if any(run.state is RunState.ACCEPTED for run in pending):
                # It was being sent and came back untaken.
                await self._stop(batch, reason)
        except StoreError as exc:
            logger.warning("the rows of %s cannot be cancelled just now: %s", batch.id, exc)
            return False
        for run in pending:
            if run.provider_run_id and account is not None:
                asked.add(run.id)
                await cancel_row(run, account)
        return account is None or all(run.id in asked for run in pending)

    def stop_unwanted(self, batch: Run, call: RunRequest) -> None:
        """Begin no more rows of a batch whose caller has gone, if no other call waits; for `FLOWPORT_ON_CANCEL=stop`."""
        self._supervisor.spawn(f"stop of {batch.id}", self._stop_unwanted, batch, call)

    async def _stop_unwanted(self, batch: Run, call: RunRequest) -> None:
        await self._stop(batch, STOPPED_WITH_CALLER, call_id=call.id)
        self._ring(batch.id)

    def _begin(self, batch: Run) -> None:
        """Carry a batch out in a task of its own."""
        if batch.id in self._bells:
            return
        bell = self._bells[batch.id] = _Bell()
        age = max(0.0, self._clock.now() - batch.accepted_at)
        entry = self._live_runs.put(batch, noted_at=self._clock.monotonic() - age)

        async def give_up() -> None:
            """Wake the waiting calls; the next call that asks for the batch resumes it."""
            self._end(batch)

        self._supervisor.spawn(f"rows of {batch.id}", self._conduct, batch, bell, entry, on_crash=give_up)

    def _end(self, batch: Run) -> None:
        self._bells.pop(batch.id, None)
        self._live_runs.remove(batch.id)

    def _ring(self, batch_id: str) -> None:
        if batch_id in self._bells:
            self._bells[batch_id].ring()

    async def _conduct(self, batch: Run, bell: _Bell, entry: LiveRun) -> None:
        problem = ""
        while True:
            rung = bell.rung
            try:
                over = await self._advance(batch, bell, entry.refusal)
                problem = ""
            except RunNotFound:
                # It was erased.
                break
            except StoreError as exc:
                over = None
                if str(exc) != problem:
                    logger.warning("%s cannot go on just now: %s", batch.id, exc)
                problem = str(exc)
            if over is not None:
                self._live_runs.update(over)
                break
            self._live_runs.update(batch, problem=problem)
            await self._wait(rung, entry.changed)
        self._end(batch)

    async def _advance(self, batch: Run, bell: _Bell, refusal: str) -> Run | None:
        """Do what can be done now, and return the batch when it is over."""
        batch_progress = await self._store.get_batch_progress(batch.id)
        reason = _find_reason_to_stop(batch_progress, refusal)
        if reason and (batch_progress.waiting or batch_progress.unsent):
            await self._stop(batch, reason)
            batch_progress = await self._store.get_batch_progress(batch.id)
        if batch_progress.is_over:
            return await self._finish(batch, batch_progress, bell)
        account = self._accounts.get(batch.account_id)
        if account is None:
            return None
        most = get_live_rows(account.limiter.limit)
        free = min(batch_progress.waiting, _count_places(batch_progress, most) - batch_progress.live)
        if free > 0:
            await self._start_rows(batch, batch_progress, account, free)
        return None

    async def _start_rows(self, batch: Run, batch_progress: BatchProgress, account: OpenAccount, count: int) -> None:
        rows = await self._store.get_waiting_rows(batch.id, limit=count)
        price = batch_progress.price_each_credits
        runs = [(row.n, build_row_run(batch, row, price, self._clock, self._process)) for row in rows]
        for run in await self._store.accept_rows(batch.id, runs):
            self._runner.start_again(run, account, self._call_rebuilder, run.urgency)
            self._supervisor.spawn(f"end of {run.id}", self._ring_at_end, run, batch.id)

    async def _ring_at_end(self, run: Run, batch_id: str) -> None:
        """Ring when a row is over and saved."""
        entry = self._live_runs.get(run.id)
        while entry is not None and self._live_runs.get(run.id) is entry and not entry.is_settled:
            await entry.changed.wait()
        self._ring(batch_id)

    async def _finish(self, batch: Run, batch_progress: BatchProgress, bell: _Bell) -> Run | None:
        """Return the batch as it has ended; None while outputs of rows are still being saved here."""
        kept = await self._store.get_run(batch.id, account_id=None, owner=batch.owner)
        if kept.state.is_final:
            return kept
        rows = await self._store.get_rows(batch.id)
        self._show_cancelled(rows)
        entries = [self._live_runs.get(row.run.id) for row in rows if row.run is not None]
        if any(entry is not None and not entry.is_settled for entry in entries):
            return None
        now = self._clock.now()
        # The store may not take the end, and is asked again every second.
        saved = bell.report or await self._save_report(batch, rows, at=now)
        bell.report = saved if saved.path else None
        end = Finished(batch_progress.get_end(), now, failure=_format_end(batch_progress))
        outcome = await self._store.finish_batch(
            batch.id, end, batch.lease, csv_path=saved.path, csv_problem=saved.problem
        )
        return outcome.run

    async def _save_report(self, batch: Run, rows: Sequence[RowStatus], *, at: float) -> SavedReport:
        if not self._report.is_wanted:
            return SavedReport()
        kept = await self._store.get_batch_arguments(batch.id)
        return await self._report.write(batch, rows, kept, self._call_rebuilder.find_free_arguments(batch), at=at)

    async def _wait(self, *events: anyio.Event) -> None:
        """Wait for one of the events, or for a while."""

        async def hear(event: anyio.Event) -> None:
            """End the wait at an event."""
            await event.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for event in events:
                group.start_soon(hear, event)
            await self._clock.sleep(LOOK_SECONDS)
            group.cancel_scope.cancel()


def _format_end(batch_progress: BatchProgress) -> str:
    """Return what is missing of a batch, as a sentence; empty when nothing is."""
    lost = batch_progress.failures + batch_progress.cancelled
    made = f"{lost} of {batch_progress.rows} row{'s' * (batch_progress.rows != 1)} made nothing." if lost else ""
    begun = f"{batch_progress.dropped} were not started." if batch_progress.dropped else ""
    return " ".join(filter(None, (made, begun, batch_progress.stop_reason)))


def _find_reason_to_stop(batch_progress: BatchProgress, refusal: str) -> str:
    """Return why nothing more is to be sent, as a sentence; empty when there is no reason."""
    if refusal:
        return format_refused(refusal)
    has_failed = 0 < batch_progress.stop_after_failures <= batch_progress.failures
    return format_stopped(batch_progress.stop_after_failures) if has_failed else ""


def _count_places(batch_progress: BatchProgress, most: int) -> int:
    """Return how many rows may be live: few until one has succeeded, where failures are to stop the batch."""
    if not batch_progress.stop_after_failures or batch_progress.succeeded or batch_progress.partial:
        return most
    return min(most, max(batch_progress.stop_after_failures, TRIAL_ROWS))
