"""What carries the runs of every open account out. Accounts of people's own keys are added to it and removed again."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio

from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.refresher import Catalog
from flowport.domain.errors import StoreError
from flowport.network.account import OpenAccount
from flowport.network.accounts import AccountOpener
from flowport.providers.registry import ProviderSettings
from flowport.runs.live import LiveRuns
from flowport.runs.poll import RunPoller
from flowport.runtime.background import Supervisor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that every account shares."""

    workspace: Workspace
    """With every account of the settings."""
    accounts: dict[str, OpenAccount]
    """By account id, like the catalogues; every part reads this mapping."""
    catalogs: dict[str, Catalog]
    live_runs: LiveRuns
    poller: RunPoller
    opener: AccountOpener
    build_catalog: Callable[[OpenAccount, AsyncExitStack], Catalog]
    """Builds the catalogue of an account; what it holds is closed by the stack."""

    async def is_busy(self, account_id: str) -> bool:
        """Return whether runs of an account are under way; also if that cannot be found out."""
        try:
            live = await self.workspace.store.get_live_runs(account_id=account_id)
        except StoreError:
            return True
        return bool(live) or self.live_runs.has_unsettled(account_id)

    @asynccontextmanager
    async def open_account(self, wanted: ProviderSettings) -> AsyncIterator[OpenCatalog]:
        """Have the runs of one more account carried out, also those of earlier processes, until the context is left.

        Its key is forgotten then.

        Raises:
            StoreError: The store cannot be read.
        """
        async with AsyncExitStack() as stack:
            account = self.opener.open(wanted)
            stack.push_async_callback(_forget_key, account)
            supervisor = await stack.enter_async_context(Supervisor())
            catalog = self.build_catalog(account, stack)
            await catalog.load()
            account_id = account.account.id
            self.accounts[account_id], self.catalogs[account_id] = account, catalog
            stack.callback(self._remove, account)
            supervisor.spawn("catalogue", catalog.keep_fresh)
            supervisor.spawn("stale definitions", catalog.refresh_stale)
            supervisor.spawn("runs of an own key", self._take_over, account_id)
            yield OpenCatalog(account, catalog)

    async def _take_over(self, account_id: str) -> None:
        try:
            await self.workspace.recovery.scan_account(account_id)
        except StoreError as exc:
            logger.warning("the runs of an own key are taken over later: %s", exc)

    def _remove(self, account: OpenAccount) -> None:
        """Remove an account, unless it was opened again meanwhile."""
        if self.accounts.get(account.account.id) is account:
            del self.accounts[account.account.id], self.catalogs[account.account.id]
            self.poller.forget_account(account)


async def _forget_key(account: OpenAccount) -> None:
    with anyio.CancelScope(shield=True):
        await account.forget_key()
