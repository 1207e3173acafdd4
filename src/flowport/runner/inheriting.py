"""Take runs over from processes that have died, and decide what is to be done for each.

A run names the process that follows it. Whether that process lives is told by its lock; who takes its place is told by
the ledger's compare-and-set, so of any number of processes one gets the run.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import LedgerError
from flowport.ledger.interface import Ledger
from flowport.model import ENDED_UNSENT, ENDED_WHILE_STARTING, Run, RunState
from flowport.processes import ProcessLock
from flowport.runner.adopting import RunAdopter
from flowport.runner.renewing import LinkRenewer
from flowport.runner.restoring import CallRestorer
from flowport.runner.runs import Runner

logger = logging.getLogger(__name__)


class RunInheritor:
    """Brings runs that nobody follows any more to the runner of this process."""

    def __init__(
        self,
        *,
        runner: Runner,
        accounts: Mapping[str, OpenAccount],
        ledger: Ledger,
        clock: Clock,
        process: ProcessLock,
        renewer: LinkRenewer,
        adopter: RunAdopter,
        restorer: CallRestorer,
    ) -> None:
        self._runner = runner
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._process = process
        self._renewer = renewer
        self._adopter = adopter
        self._restorer = restorer

    async def take_over(self, run: Run) -> None:
        """Take a run over, to its end, from a process that has died; runs of living ones are left to them.

        Raises:
            LedgerError: The ledger cannot be written to.
        """
        if self._runner.get_entry(run.id) is None and not self._process.is_alive(run.process_id):
            run = await self._adopter.adopt(run)
            if run.is_followed or run.state.is_final:
                await self._resume(run)

    async def take_up(self, run: Run) -> None:
        """Do for a run, because somebody asks for it, what nobody does any more: follow it, save it, or say its fate.

        Raises:
            LedgerError: What became of it could not be written down.
        """
        if self._runner.get_entry(run.id) is not None or self.is_followed_elsewhere(run):
            return
        try:
            await self._resume(await self._adopter.adopt(run))
        except LedgerError as exc:
            logger.warning("run %s could not be taken up in the ledger: %s", run.id, exc)
            if run.state in {RunState.ACCEPTED, RunState.STARTING}:
                raise
            # Looking is free and harms nothing, and what is known can be shown.
            if self._can_be_read(run) and not run.state.is_final:
                self._runner.follow_again(run, run.urgency)

    def is_followed_elsewhere(self, run: Run) -> bool:
        """Tell whether another living process follows the run."""
        return run.is_followed and not run.state.is_final and self._is_held_elsewhere(run)

    async def renew_link(self, run: Run, n: int) -> Run | None:
        """Return a run that was read again for a fresh link of one output; None without the key to read it with.

        Raises:
            ProviderError: The provider cannot say just now.
        """
        account = self._accounts.get(run.account_id)
        if account is None or not run.provider_run_id:
            return None
        return (await self._renewer.renew(run, account, {n})).run

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
            at = self._clock.now()
            await self._ledger.note_unknown(run.id, failure=ENDED_WHILE_STARTING, start_answer="", at=at)
        elif claimed.state is RunState.ACCEPTED:
            await self._resume_unsent(claimed)
        else:
            await self._resume_outputs(claimed)

    async def _resume_unsent(self, run: Run) -> None:
        """Start the run if its caller was told of it and may be waiting; one that nobody knows of is not paid for."""
        account = self._accounts.get(run.account_id)
        if run.told_at is None or account is None:
            await self._ledger.note_cancelled(run.id, failure=ENDED_UNSENT, at=self._clock.now())
        else:
            self._runner.start_again(run, account, self._restorer, run.urgency)

    async def _resume_outputs(self, run: Run) -> None:
        account = self._accounts.get(run.account_id)
        if account is None or not run.provider_run_id:
            return
        if not self._runner.has_to_save(run) or self._is_held_elsewhere(run):
            await self._renewer.renew_expired(run, account)
            return
        claimed = await self._claim(run)
        if claimed is not None and self._runner.get_entry(run.id) is None:
            self._runner.save_again(claimed, account)

    async def _claim(self, run: Run) -> Run | None:
        """Return the run as it stands if it is ours to act for, None when it is another's."""
        ours = self._process.process_id
        if run.process_id == ours:
            # One of ours that was not sent yet is on its way to the board.
            return run if run.state.is_at_provider or run.state.is_final else None
        if not await self._ledger.note_taken_over(run.id, from_process=run.process_id, to_process=ours):
            return None
        try:
            # It may have come further between being read and its process's end.
            return await self._ledger.get_run(run.id, account_id=None, owner=run.owner)
        except LedgerError as exc:
            logger.info("run %s is taken over as it was read: %s", run.id, exc)
            return replace(run, process_id=ours, is_followed=True)
