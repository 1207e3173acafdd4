"""Carry out batches: let rows become runs, so many at a time, until none is left; from the store alone.

Of a batch only the fact that this process carries it out is kept in memory. So a process that claims a batch from
one that has ended goes on from what is on record, and a row becomes a run once.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel

from flowport.domain.errors import ProviderError, RunNotFound, StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Finished
from flowport.network.account import OpenAccount
from flowport.runs.batch.prepare import PreparedBatch, build_batch, build_row_run
from flowport.runs.batch.report import BatchReport, SavedReport
from flowport.runs.cancellation import ask_to_cancel
from flowport.runs.live import LiveRuns
from flowport.runs.recovery import Recovery
from flowport.runs.service import Runner
from flowport.runs.steps import get_max_live_rows
from flowport.runs.submit import Acceptor, RunRequest, Submission
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.store.interface import Store, Workers
from flowport.store.records import STOPPED_BY_PERSON, BatchProgress, RowStatus

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at a batch whose rows end in other processes; an end in this one is noticed at once."""

SAVING_SECONDS: Final = 15.0
"""How long the table of a batch waits for outputs that other processes save."""

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


class BatchConductor:
    """Carries batches out: starts their rows, saves their tables, ends them."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        process: Workers,
        report: BatchReport,
        find_free_arguments: Callable[[Run], frozenset[str] | None],
        queued_account_ids: Collection[str] = (),
    ) -> None:
        """Prepare; `find_free_arguments` returns the arguments of a batch's app that take values of all types.

        Rows of the queued accounts may be carried out by other processes.
        """
        self._queued_ids = queued_account_ids
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._process = process
        self._report = report
        self._find_free_arguments = find_free_arguments
        self._saved: dict[str, SavedReport] = {}
        """Tables of batches whose end the store has not taken yet."""

    async def conduct(self, batch: Run, runner: Runner) -> Run:
        """Have the runner follow the rows of a batch, and return the batch when it is over or no longer ours."""
        problem = ""
        while (entry := self._live_runs.get(batch.id)) is not None:
            changed = entry.changed
            try:
                over = await self._advance(batch, entry.refusal, runner)
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
                return over
            if problem != entry.problem:
                self._live_runs.update(batch, problem=problem)
            await self._wait(changed)
        return batch

    async def drop_rows(self, batch: Run, reason: str, *, call_id: str | None = None, holder: Run | None = None) -> int:
        """Have nothing more sent, and return how many rows that are; see `BatchStore.drop_rows`.

        Raises:
            StoreError: That could not be recorded.
        """
        now = self._clock.now()
        dropped = await self._store.drop_rows(batch.id, reason=reason, at=now, call_id=call_id, holder=holder)
        if dropped:
            self._show_cancelled(await self._store.get_rows(batch.id))
        return dropped

    def _show_cancelled(self, rows: Sequence[RowStatus]) -> None:
        """Show rows that are cancelled to the tasks that would send them; another process may have cancelled them."""
        for row in rows:
            entry = self._live_runs.get(row.run.id) if row.run is not None else None
            if entry is not None and row.run is not None and row.run.state is RunState.CANCELLED != entry.run.state:
                self._live_runs.update(row.run)

    async def _advance(self, batch: Run, refusal: str, runner: Runner) -> Run | None:
        """Do what can be done now, and return the batch when it is over or no longer ours."""
        batch_progress = await self._store.get_batch_progress(batch.id)
        reason = _find_reason_to_stop(batch_progress, refusal)
        if reason and (batch_progress.waiting or batch_progress.unsent):
            await self.drop_rows(batch, reason, holder=batch)
            batch_progress = await self._store.get_batch_progress(batch.id)
        if batch_progress.is_over:
            return await self._finish(batch, batch_progress)
        account = self._accounts.get(batch.account_id)
        if account is None:
            return None
        most = get_max_live_rows(account.limiter.limit)
        free = min(batch_progress.waiting, _count_places(batch_progress, most) - batch_progress.live)
        if free > 0:
            rows = await self._store.get_waiting_rows(batch.id, limit=free)
            price = batch_progress.price_each_credits
            runs = [(row.n, build_row_run(batch, row, price, self._clock, self._process)) for row in rows]
            if batch.account_id in self._queued_ids:
                runs = [(n, replace(run, process_id="")) for n, run in runs]
            accepted = await self._store.accept_rows(batch.id, runs, batch.lease)
            for run in accepted:
                runner.follow(run)
            if not accepted:
                kept = await self._store.get_run(batch.id, account_id=None, owner=batch.owner)
                return None if kept.lease == batch.lease else kept
        return None

    async def _finish(self, batch: Run, batch_progress: BatchProgress) -> Run | None:
        """Return the batch as it has ended; None while outputs of rows are still being saved here."""
        kept = await self._store.get_run(batch.id, account_id=None, owner=batch.owner)
        if kept.state.is_final or kept.lease != batch.lease:
            return kept
        rows = await self._store.get_rows(batch.id)
        self._show_cancelled(rows)
        entries = [self._live_runs.get(row.run.id) for row in rows if row.run is not None]
        now = self._clock.now()
        if any(entry is not None and not entry.is_settled for entry in entries):
            return None
        if batch.account_id in self._queued_ids and any(row.run and _is_being_saved(row.run, now) for row in rows):
            return None
        # The store may not take the end, and is asked again every second.
        saved = self._saved.get(batch.id) or await self._save_report(batch, rows, at=now)
        if saved.path:
            self._saved[batch.id] = saved
        end = Finished(batch_progress.get_end(), now, failure=_format_end(batch_progress))
        outcome = await self._store.finish_batch(
            batch.id, end, batch.lease, csv_path=saved.path, csv_problem=saved.problem
        )
        self._saved.pop(batch.id, None)
        return outcome.run

    async def _save_report(self, batch: Run, rows: Sequence[RowStatus], *, at: float) -> SavedReport:
        if not self._report.is_wanted:
            return SavedReport()
        kept = await self._store.get_batch_arguments(batch.id)
        return await self._report.write(batch, rows, kept, self._find_free_arguments(batch), at=at)

    async def _wait(self, changed: anyio.Event) -> None:
        """Wait for a change, or for a while."""
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_at, changed, group.cancel_scope)
            await self._clock.sleep(LOOK_SECONDS)
            group.cancel_scope.cancel()


async def _cancel_at(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class Batches:
    """Accepts and cancels batches. Like runs they go on whether a call waits for them or not."""

    def __init__(
        self,
        *,
        runner: Runner,
        conductor: BatchConductor,
        recovery: Recovery,
        acceptor: Acceptor,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._runner = runner
        self._conductor = conductor
        self._recovery = recovery
        self._acceptor = acceptor
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self._supervisor = supervisor
        self._cancelling: set[str] = set()
        """Batches whose rows are being cancelled at the provider."""

    async def submit(self, prepared: PreparedBatch, request: RunRequest) -> Submission:
        """Accept a batch and begin it in the background, or join the one that it repeats; see `Acceptor.submit`."""
        batch = build_batch(prepared, request.owner, self._clock, self._acceptor.process)
        is_queued = self._runner.is_queued(batch.run.account_id)
        if is_queued:
            batch = replace(batch, run=replace(batch.run, process_id=""))
        return await self._acceptor.submit(
            batch.run,
            request,
            accept=partial(self._store.accept_batch, batch, is_queued=is_queued),
            begin=partial(self._begin, batch.run, request),
            on_crash=anyio.lowlevel.checkpoint,
        )

    async def _begin(self, batch: Run, request: RunRequest, *, is_unwanted: bool) -> None:
        """Begin the batch; when its caller has left, it only comes to its end."""
        if is_unwanted:
            await self._conductor.drop_rows(batch, STOPPED_WITH_CALLER, call_id=request.id)
        self._runner.follow(batch)

    def get_problem(self, batch: Run) -> str:
        """Return why a batch, or a row of it, cannot go on just now, as sentences; empty as far as this process knows."""
        entry = self._live_runs.get(batch.id)
        return (entry.problem if entry is not None else "") or self._live_runs.get_row_problem(batch.id)

    async def cancel(self, batch: Run, *, reason: str = STOPPED_BY_PERSON) -> int:
        """Have no more rows begin, and return how many that were; the provider is asked in the background for the others.

        Raises:
            StoreError: The cancellation could not be recorded.
        """
        dropped = await self._conductor.drop_rows(batch, reason)
        self._supervisor.spawn(f"cancel of {batch.id}", self._cancel_begun, batch, reason)
        await self._recovery.resume(batch)
        self._wake(batch.id)
        return dropped

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
        """Ask for each row that was not asked for, and return whether that was the last of them."""
        account = self._accounts.get(batch.account_id)
        try:
            pending = [run for run in await self._store.get_live_rows(batch.id) if run.id not in asked]
            if any(run.state is RunState.ACCEPTED for run in pending):
                # It was being sent and came back untaken.
                await self._conductor.drop_rows(batch, reason)
        except StoreError as exc:
            logger.warning("the rows of %s cannot be cancelled just now: %s", batch.id, exc)
            return False
        for run in pending:
            if run.provider_run_id and account is not None:
                asked.add(run.id)
                try:
                    await ask_to_cancel(run, account)
                except ProviderError as exc:
                    logger.warning("run %s of %s was not cancelled: %s", run.id, run.batch_id, exc)
        return account is None or all(run.id in asked for run in pending)

    def stop_unwanted(self, batch: Run, request: RunRequest) -> None:
        """Begin no more rows of a batch whose caller has gone, if no other call waits; for `FLOWPORT_ON_CANCEL=stop`."""
        self._supervisor.spawn(f"stop of {batch.id}", self._stop_unwanted, batch, request)

    async def _stop_unwanted(self, batch: Run, request: RunRequest) -> None:
        await self._conductor.drop_rows(batch, STOPPED_WITH_CALLER, call_id=request.id)
        self._wake(batch.id)

    def _wake(self, batch_id: str) -> None:
        if (entry := self._live_runs.get(batch_id)) is not None:
            entry.wake()


def _format_end(batch_progress: BatchProgress) -> str:
    """Return what is missing of a batch, as a sentence; empty when nothing is."""
    lost = batch_progress.failures + batch_progress.cancelled
    made = f"{lost} of {batch_progress.rows} row{'s' * (batch_progress.rows != 1)} made nothing." if lost else ""
    begun = f"{batch_progress.dropped} were not started." if batch_progress.dropped else ""
    return " ".join(filter(None, (made, begun, batch_progress.stop_reason)))


def _is_being_saved(row: Run, now: float) -> bool:
    """Return whether another process may just be saving the outputs of a row for the first time."""
    is_fresh = row.finished_at is not None and now - row.finished_at < SAVING_SECONDS
    return is_fresh and any(one.url and not one.saved_path and not one.save_problem for one in row.outputs)


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
