"""Recover runs: those of dead processes, those of a key that was changed, and calls that are only on record.

A run is claimed, and `service.Runner` then executes its next step, as for a run of its own.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

from flowport.domain.errors import (
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    RunNotFound,
    StoreError,
)
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Adopted, AdoptionTried, RunEvent
from flowport.network.account import OpenAccount
from flowport.runs.downloads import LinkRefresher
from flowport.runs.poll import fetch_status
from flowport.runs.service import Runner
from flowport.runs.steps import Download, Drop, MarkUnknown, Start
from flowport.runtime.clock import Clock
from flowport.store.cluster import JobQueue
from flowport.store.interface import Store, Workers
from flowport.store.records import Claimed

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 4.0
"""Between two scans of the store. Two of them, and the time they take, are within the ten seconds that we promise."""

ADOPT_SECONDS: Final = 60.0
"""Between two tries to read the runs of other keys; each run is tried once, unless the provider cannot be reached."""

MAX_ADOPTED: Final = 100
"""How many of them are tried in a row."""

UNSAVED_SECONDS: Final = 2 * 24 * 3600.0
"""For how long an output is tried whose link has expired by our clock; longer than any clock is wrong by its zone."""

UNCLAIMED_SECONDS: Final = 3600.0
"""For how long a run that no worker has claimed is left to one that has its key, while keys are replaced."""

KEY_GONE: Final = "The key that started this run is no longer configured, and the present key cannot read it."
KEY_ABSENT: Final = (
    "The key that started this run is not in use here now. A request with it lets the run be followed again."
)

_FORBIDDEN: Final = 403


class Recovery:
    """Resumes, in this process, runs and batches that no living process follows."""

    def __init__(
        self,
        *,
        runner: Runner,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        clock: Clock,
        process: Workers,
        link_refresher: LinkRefresher,
        should_save: bool = True,
        can_adopt: bool = True,
        jobs: JobQueue | None = None,
    ) -> None:
        """Prepare; `can_adopt` says whether an account may take the runs of another key of its provider over.

        Args:
            jobs: The queue to which the runs of queued accounts are left; None where no team has one.
        """
        self._jobs = jobs
        self._runner = runner
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._process = process
        self._link_refresher = link_refresher
        self._should_save = should_save
        self.can_adopt = can_adopt

    async def keep_watch(self) -> NoReturn:
        """Take over what dead processes left, now and every few seconds."""
        await self._repeat(self.scan, WATCH_SECONDS)

    async def keep_adopting(self, has_turn: Callable[[], bool] = lambda: True) -> NoReturn:
        """Try to read the runs of keys that are no longer configured, now and every minute, if this process is to."""

        async def scan() -> None:
            if has_turn():
                await self.scan_other_keys()

        await self._repeat(scan, ADOPT_SECONDS)

    async def scan(self) -> None:
        """Take over the live runs of dead processes, and those whose outputs are not saved.

        Raises:
            StoreError: The store cannot be read or written.
        """
        dead = [one for one in await self._store.get_calling_processes() if not self._process.is_alive(one)]
        if dead:
            await self._store.forget_calls_of(dead)
        # Accounts come and go meanwhile.
        for account_id in tuple(self._accounts):
            await self.scan_account(account_id)

    async def scan_account(self, account_id: str) -> None:
        """Do the same for the runs of one account; those that are queued are left to the workers.

        Raises:
            StoreError: The store cannot be read or written.
        """
        is_queued = self._runner.is_queued(account_id)
        if is_queued and not self._runner.has_live(account_id):
            return
        await self._take_over_all(await self._store.get_live_runs(account_id=account_id))
        if self._should_save and not is_queued:
            now = self._clock.now()
            since = now - UNSAVED_SECONDS
            await self._take_over_all(await self._store.get_unsaved_runs(account_id=account_id, now=now, since=since))

    async def scan_other_keys(self) -> None:
        """Let the present key try the runs of other keys of the same provider and host.

        Raises:
            StoreError: The store cannot be read or written.
        """
        for account_id, opened in tuple(self._accounts.items()):
            await self._take_over_all(
                await self._store.get_stranded_runs(
                    scope=opened.account.scope, account_id=account_id, limit=MAX_ADOPTED
                )
            )

    async def _take_over_all(self, runs: Sequence[Run]) -> None:
        # Batches first: a refused row is shown in its batch.
        for run in sorted(runs, key=lambda one: not one.is_batch):
            await self.take_over(run)

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_seconds: float) -> NoReturn:
        problem = ""
        while True:
            try:
                await work()
                problem = ""
            except (StoreError, RunNotFound) as exc:
                # Once for each kind of problem: a full disk stays full for hours.
                if str(exc) != problem:
                    logger.warning("what other processes left cannot be taken over just now: %s", exc)
                problem = str(exc)
            await self._clock.sleep(pause_seconds)

    async def take_over(self, run: Run) -> None:
        """Take a run over, to its end, from a process that has died; runs of living ones are left to them.

        Raises:
            StoreError: The store cannot be written to.
        """
        # A batch of our own whose task has crashed is begun again.
        is_ours = run.is_batch and run.process_id == self._process.process_id
        if self._runner.get_entry(run.id) is not None:
            self._runner.note_kept(run)
        elif self._runner.is_queued(run.account_id) or _is_unclaimed(run, self._clock.now()):
            return
        elif is_ours or not self._process.is_alive(run.process_id):
            run = await self.adopt(run)
            if self._runner.is_queued(run.account_id):
                return
            # A run that is no longer polled stays so at its provider; what was not there yet gets its end.
            if run.is_followed or not run.state.is_at_provider:
                await self._resume(run)

    async def resume(self, run: Run) -> None:
        """Resume a run or batch that a caller asks for and no living process follows: execute its next step.

        Raises:
            StoreError: What became of it could not be recorded.
        """
        if self._jobs is not None and self._runner.is_queued(run.account_id):
            await self._resume_queued(run, self._jobs)
            return
        if self._runner.get_entry(run.id) is not None or self.is_followed_elsewhere(run):
            return
        try:
            await self._resume(await self.adopt(run))
        except StoreError as exc:
            if run.is_batch or not (run.state.is_at_provider or run.state.is_final):
                raise
            logger.warning("run %s could not be claimed in the store: %s", run.id, exc)
            # Polling is free and harms nothing, and what is known can be shown.
            if self._can_be_read(run) and not run.state.is_final:
                self._runner.follow(replace(run, is_followed=True))

    async def save_settled(self, run: Run) -> None:
        """Save the outputs of a run that a person has just settled, in the background.

        Raises:
            StoreError: It could not be claimed.
        """
        if self._jobs is not None and self._runner.is_queued(run.account_id):
            await self._jobs.resume(run.id)
            return
        outcome = await self._store.claim(run.id, self._process.process_id, lease=run.lease)
        if isinstance(outcome, Claimed):
            self._runner.follow(outcome.run)

    def is_followed_elsewhere(self, run: Run) -> bool:
        """Return whether another living process follows the run, or any worker does."""
        if self._runner.is_queued(run.account_id):
            return run.is_followed and not run.state.is_final
        return run.is_followed and not run.state.is_final and self.is_held_elsewhere(run)

    async def refresh_link(self, run: Run, n: int) -> Run | None:
        """Return a run that was read again for a fresh link of one output; None without the key to read it with.

        Raises:
            ProviderError: The provider cannot say just now.
        """
        account = self._accounts.get(run.account_id)
        if account is None or not run.provider_run_id:
            return None
        return (await self._link_refresher.refresh_links(run, account, {n})).run

    def is_held_elsewhere(self, run: Run) -> bool:
        """Return whether another living process holds the run."""
        if run.state is RunState.UNKNOWN and self._runner.is_queued(run.account_id):
            # The worker that could not start it does nothing more for it.
            return False
        return run.process_id != self._process.process_id and self._process.is_alive(run.process_id)

    def _can_be_read(self, run: Run) -> bool:
        return run.account_id in self._accounts and bool(run.provider_run_id)

    async def _resume_queued(self, run: Run, jobs: JobQueue) -> None:
        """Have a run resumed by a worker if something is left to do that is not on the way already.

        Raises:
            StoreError: What became of it could not be recorded.
        """
        if run.state is RunState.ACCEPTED and not run.is_followed:
            await self._runner.cancel_unsent(run.id, run.lease)
        elif isinstance(self._runner.get_step(run), Download) or not (run.state.is_final or run.is_followed):
            await jobs.resume(run.id)
        elif run.state.is_final and not run.is_batch and run.account_id in self._accounts:
            await self._link_refresher.refresh_expired(run, self._accounts[run.account_id])

    async def _resume(self, run: Run) -> None:
        if run.state is RunState.ACCEPTED and not run.is_followed:
            # The user stopped it while its start request was not taken: nothing more is sent.
            await self._runner.cancel_unsent(run.id, run.lease)
            return
        is_sent = run.state.is_at_provider or run.state.is_final
        if is_sent and not run.is_batch and not self._can_be_read(run):
            # Without its key it can only wait for a process that has it, or for the provider to answer to ours.
            return
        if (
            not self.can_adopt
            and run.account_id not in self._accounts
            and isinstance(self._runner.get_step(run), Start)
        ):
            # Its key may come with a later request.
            return
        if run.state.is_final and (not isinstance(self._runner.get_step(run), Download) or self.is_held_elsewhere(run)):
            if not run.is_batch:
                await self._link_refresher.refresh_expired(run, self._accounts[run.account_id])
            return
        claimed = await self._claim(run)
        if claimed is None or self._runner.get_entry(run.id) is not None:
            return
        if isinstance(self._runner.get_step(claimed), Drop | MarkUnknown):
            # Nothing is sent, and the caller is to see it at once.
            await self._runner.advance(claimed)
        else:
            self._runner.follow(claimed)

    async def _claim(self, run: Run) -> Run | None:
        """Return the run as it is on record if it is ours to act for; None when it is another process's."""
        ours = self._process.process_id
        if run.process_id == ours:
            if run.state.is_final:
                return run
            if not run.state.is_at_provider:
                # One of ours that was not sent yet is on its way to the list of live runs.
                return None
        outcome = await self._store.claim(run.id, ours, lease=run.lease)
        return outcome.run if isinstance(outcome, Claimed) else None

    async def adopt(self, run: Run) -> Run:
        """Return the run after a try to read it with the present key, if its own key is no longer configured.

        Each key tries each run once. A run that it can read belongs to its account from then on.

        Raises:
            StoreError: The result could not be recorded.
        """
        account = self._find_heir(run)
        if account is None:
            return run
        heir = account.account.id
        try:
            await fetch_status(run, account, self._clock)
        except ProviderError as exc:
            logger.info("run %s of another key could not be read with the present one: %s", run.id, exc)
            if not _is_verdict(exc):
                return run
            event: RunEvent = AdoptionTried(heir)
        else:
            event = Adopted(heir, run.account_id)
        # Also when another process was first: it has the same key, or the run would not be there.
        adopted = (await self._store.record(run.id, event)).run or run
        if isinstance(event, Adopted) and self._jobs is not None and self._runner.is_queued(heir):
            await self._jobs.resume(run.id)
        return adopted

    def _find_heir(self, run: Run) -> OpenAccount | None:
        """Return the open account of the same provider and host, if it is to try."""
        if not self.can_adopt or run.account_id in self._accounts or not run.provider_run_id:
            return None
        if self._process.is_alive(run.process_id):
            return None
        scope = run.account_id.rpartition(":")[0]
        heirs = (one for one in self._accounts.values() if one.account.scope == scope)
        return next((one for one in heirs if one.account.id != run.adoption_tried_by), None)


def _is_unclaimed(run: Run, now: float) -> bool:
    """Return whether a run of a key that is not open here waits for a worker that has it, and not for too long."""
    return not run.process_id and run.state is RunState.ACCEPTED and now - run.accepted_at < UNCLAIMED_SECONDS


def _is_verdict(error: ProviderError) -> bool:
    """Return whether the provider answered about the run, and not about the network, its own state or the key."""
    if isinstance(error, ProviderRefused):
        return error.status == _FORBIDDEN
    return isinstance(error, ProviderRejected)
