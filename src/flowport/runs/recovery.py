"""Recover runs that another process left: scan, claim, adopt after a key change."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn

from flowport.domain.errors import ProviderError, ProviderRefused, ProviderRejected, RunNotFound, StoreError
from flowport.domain.models import ENDED_UNSENT, ENDED_WHILE_STARTING, Account, Run, RunState
from flowport.domain.run_events import Adopted, AdoptionTried, Cancelled, RunEvent, StartUnknown
from flowport.network.account import OpenAccount
from flowport.runs.batch.service import Batches
from flowport.runs.downloads import LinkRefresher
from flowport.runs.poll import fetch_status
from flowport.runs.rebuild_call import CallRebuilder
from flowport.runs.service import Runner
from flowport.runtime.clock import Clock
from flowport.store.interface import Store
from flowport.store.records import Claimed
from flowport.store.workers import Workers

logger = logging.getLogger(__name__)

_FORBIDDEN: Final = 403


class RunAdopter:
    """Finds a readable account for runs whose own is not open. Each run is tried once by each key."""

    def __init__(self, accounts: Mapping[str, OpenAccount], store: Store, clock: Clock, process: Workers) -> None:
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._process = process

    async def adopt(self, run: Run) -> Run:
        """Return the run as it is after the try: in an open account when that account's key can read it.

        Raises:
            StoreError: What came of it could not be written down.
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
        return (await self._store.record(run.id, event)).run or run

    def _find_heir(self, run: Run) -> OpenAccount | None:
        """Return the open account of the same provider and host, if it is to try."""
        if run.account_id in self._accounts or not run.provider_run_id or self._process.is_alive(run.process_id):
            return None
        scope = run.account_id.rpartition(":")[0]
        heirs = (one for one in self._accounts.values() if one.account.scope == scope)
        return next((one for one in heirs if one.account.id != run.adoption_tried_by), None)


def _is_verdict(error: ProviderError) -> bool:
    """Tell whether the provider spoke of the run, and not of the network, its own state or the key's."""
    if isinstance(error, ProviderRefused):
        return error.status == _FORBIDDEN
    return isinstance(error, ProviderRejected)


class RunClaimer:
    """Resumes, in this process, runs whose process has ended."""

    def __init__(
        self,
        *,
        runner: Runner,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        clock: Clock,
        process: Workers,
        link_refresher: LinkRefresher,
        adopter: RunAdopter,
        call_rebuilder: CallRebuilder,
    ) -> None:
        self._runner = runner
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._process = process
        self._link_refresher = link_refresher
        self._adopter = adopter
        self._call_rebuilder = call_rebuilder

    async def take_over(self, run: Run) -> None:
        """Take a run over, to its end, from a process that has died; runs of living ones are left to them.

        Raises:
            StoreError: The store cannot be written to.
        """
        if self._runner.get_entry(run.id) is None and not self._process.is_alive(run.process_id):
            run = await self._adopter.adopt(run)
            if run.is_followed or run.state.is_final:
                await self._resume(run)

    async def resume(self, run: Run) -> None:
        """Resume a run that a caller asks for and no living process follows: poll it, save its outputs, or record its end.

        Raises:
            StoreError: What became of it could not be written down.
        """
        if self._runner.get_entry(run.id) is not None or self.is_followed_elsewhere(run):
            return
        try:
            await self._resume(await self._adopter.adopt(run))
        except StoreError as exc:
            logger.warning("run %s could not be taken up in the store: %s", run.id, exc)
            if run.state in {RunState.ACCEPTED, RunState.STARTING}:
                raise
            # Looking is free and harms nothing, and what is known can be shown.
            if self._can_be_read(run) and not run.state.is_final:
                self._runner.follow_again(run, run.urgency)

    def is_followed_elsewhere(self, run: Run) -> bool:
        """Tell whether another living process follows the run."""
        return run.is_followed and not run.state.is_final and self._is_held_elsewhere(run)

    async def refresh_link(self, run: Run, n: int) -> Run | None:
        """Return a run that was read again for a fresh link of one output; None without the key to read it with.

        Raises:
            ProviderError: The provider cannot say just now.
        """
        account = self._accounts.get(run.account_id)
        if account is None or not run.provider_run_id:
            return None
        return (await self._link_refresher.refresh_links(run, account, {n})).run

    def _is_held_elsewhere(self, run: Run) -> bool:
        return run.process_id != self._process.process_id and self._process.is_alive(run.process_id)

    def _can_be_read(self, run: Run) -> bool:
        return run.account_id in self._accounts and bool(run.provider_run_id)

    async def _resume(self, run: Run) -> None:
        if run.state.is_final:
            await self._resume_outputs(run)
            return
        if run.state.is_at_provider and not self._can_be_read(run):
            # Without its key it can only wait for a process that has it, or for the provider to answer to ours.
            return
        claimed = await self._claim(run)
        if claimed is None or self._runner.get_entry(run.id) is not None:
            return
        if claimed.state.is_at_provider:
            self._runner.follow_again(claimed, claimed.urgency)
        elif claimed.state is RunState.STARTING:
            await self._store.record(run.id, StartUnknown(ENDED_WHILE_STARTING, self._clock.now()), claimed.lease)
        elif claimed.state is RunState.ACCEPTED:
            await self._resume_unsent(claimed)
        else:
            await self._resume_outputs(claimed)

    async def _resume_unsent(self, run: Run) -> None:
        """Start the run if its caller was given its id and may be waiting; otherwise cancel it, so that it is not paid for."""
        account = self._accounts.get(run.account_id)
        if run.reported_at is None or account is None:
            await self._store.record(run.id, Cancelled(ENDED_UNSENT, self._clock.now()), run.lease)
        else:
            self._runner.start_again(run, account, self._call_rebuilder, run.urgency)

    async def _resume_outputs(self, run: Run) -> None:
        account = self._accounts.get(run.account_id)
        if account is None or not run.provider_run_id:
            return
        if not self._runner.has_to_save(run) or self._is_held_elsewhere(run):
            await self._link_refresher.refresh_expired(run, account)
            return
        claimed = await self._claim(run)
        if claimed is not None and self._runner.get_entry(run.id) is None:
            self._runner.save_again(claimed, account)

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


WATCH_SECONDS: Final = 4.0
"""Between two looks into the store. Two of them, and the time they take, are within the ten seconds that we promise."""

ADOPT_SECONDS: Final = 60.0
"""Between two tries to read the runs of other keys; each run is tried once, unless the provider cannot be reached."""

MAX_ADOPTED: Final = 100
"""How many of them are tried in a row."""

UNSAVED_SECONDS: Final = 2 * 24 * 3600.0
"""For how long an output is tried whose link has expired by our clock; longer than any clock is wrong by its zone."""


class OrphanScanner:
    """Finds the runs of dead processes. Runs of living ones are left to them."""

    def __init__(
        self,
        claimer: RunClaimer,
        accounts: Sequence[Account],
        store: Store,
        clock: Clock,
        *,
        should_save: bool,
        is_alive: Callable[[str], bool],
        batches: Batches | None = None,
    ) -> None:
        """Prepare; `is_alive` tells whether a process of this home lives."""
        self._is_alive = is_alive
        self._batches = batches
        self._should_save = should_save
        self._claimer = claimer
        self._accounts = accounts
        self._store = store
        self._clock = clock

    async def keep_watch(self) -> NoReturn:
        """Take over what dead processes left, now and every few seconds."""
        await self._repeat(self.take_over, WATCH_SECONDS)

    async def keep_adopting(self) -> NoReturn:
        """Try to read the runs of keys that are no longer configured, now and every minute."""
        await self._repeat(self.adopt, ADOPT_SECONDS)

    async def take_over(self) -> None:
        """Take over the live runs of dead processes, and those whose outputs are not saved.

        Raises:
            StoreError: The store cannot be read or written.
        """
        dead = [one for one in await self._store.get_calling_processes() if not self._is_alive(one)]
        if dead:
            await self._store.forget_calls_of(dead)
        now = self._clock.now()
        for account in self._accounts:
            live = await self._store.get_live_runs(account_id=account.id)
            await self._take_over_all(live)
            since = now - UNSAVED_SECONDS
            if self._should_save:
                await self._take_over_all(
                    await self._store.get_unsaved_runs(account_id=account.id, now=now, since=since)
                )

    async def adopt(self) -> None:
        """Let the present key try the runs of other keys of the same provider and host.

        Raises:
            StoreError: The store cannot be read or written.
        """
        for account in self._accounts:
            stranded = await self._store.get_stranded_runs(
                scope=account.scope, account_id=account.id, limit=MAX_ADOPTED
            )
            await self._take_over_all(stranded)

    async def _take_over_all(self, runs: Sequence[Run]) -> None:
        # Batches first: a row that is refused tells its batch.
        for run in sorted(runs, key=lambda one: not one.is_batch):
            if not run.is_batch:
                await self._claimer.take_over(run)
            elif self._batches is not None:
                await self._batches.resume(run)

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_seconds: float) -> NoReturn:
        problem = ""
        while True:
            try:
                await work()
                problem = ""
            except (StoreError, RunNotFound) as exc:
                # Once for each kind of trouble: a full disk stays full for hours.
                if str(exc) != problem:
                    logger.warning("what other processes left cannot be taken over just now: %s", exc)
                problem = str(exc)
            await self._clock.sleep(pause_seconds)
