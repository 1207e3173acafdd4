"""Read the runs of a key that is no longer configured with the present one, and adopt those that it can read."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import ProviderError, ProviderRefused, ProviderRejected
from flowport.ledger.interface import Ledger
from flowport.model import Run
from flowport.processes import ProcessLock
from flowport.runner.looking import fetch_look

logger = logging.getLogger(__name__)

_FORBIDDEN: Final = 403


class RunAdopter:
    """Finds a readable account for runs whose own is not open. Each run is tried once by each key."""

    def __init__(self, accounts: Mapping[str, OpenAccount], ledger: Ledger, clock: Clock, process: ProcessLock) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._process = process

    async def adopt(self, run: Run) -> Run:
        """Return the run as it is after the try: in an open account when that account's key can read it.

        Raises:
            LedgerError: What came of it could not be written down.
        """
        account = self._find_heir(run)
        if account is None:
            return run
        heir = account.account.id
        try:
            await fetch_look(run, account, self._clock)
        except ProviderError as exc:
            logger.info("run %s of another key could not be read with the present one: %s", run.id, exc)
            if not _is_verdict(exc):
                return run
            await self._ledger.note_adoption_tried(run.id, account_id=heir)
            return replace(run, adoption_tried=heir)
        await self._ledger.note_adopted(run.id, from_account=run.account_id, to_account=heir)
        # Also when another process was first: it has the same key, or the run would not be there.
        return await self._ledger.get_run(run.id, account_id=None, owner=run.owner)

    def _find_heir(self, run: Run) -> OpenAccount | None:
        """Return the open account of the same provider and host, if it is to try."""
        if run.account_id in self._accounts or not run.provider_run_id or self._process.is_alive(run.process_id):
            return None
        scope = run.account_id.rpartition(":")[0]
        heirs = (one for one in self._accounts.values() if one.account.scope == scope)
        return next((one for one in heirs if one.account.id != run.adoption_tried), None)


def _is_verdict(error: ProviderError) -> bool:
    """Tell whether the provider spoke of the run, and not of the network, its own state or the key's."""
    if isinstance(error, ProviderRefused):
        return error.status == _FORBIDDEN
    return isinstance(error, ProviderRejected)
