"""Build every part of a running Flowport from its settings, and close it. The only package that knows every adapter."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from flowport.actions.own_accounts import OwnAccounts
from flowport.actions.tenants import Tenants
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.bootstrap.engine import Base, build_catalog, build_engine
from flowport.bootstrap.home import Home, open_home, open_team_home
from flowport.catalog.refresher import Catalog
from flowport.media.saving import remove_of_owners
from flowport.network.account import OpenAccount
from flowport.network.accounts import AccountOpener, open_accounts
from flowport.network.file_transfer import Fetcher
from flowport.network.sandbox_process import keep_tidy
from flowport.runs.queued import QueuedRuns
from flowport.runs.steps import Pace
from flowport.runs.witness import BuildWebhookUrl
from flowport.runtime.background import Changes, FirstList, Supervisor
from flowport.runtime.clock import Clock, SystemClock
from flowport.settings.settings import Settings
from flowport.store.cluster import Cluster
from flowport.store.maintenance import keep_up
from flowport.store.process_lock import LeaderLock

__all__ = ["Assembly", "Home", "open_assembly", "open_home"]

logger = logging.getLogger(__name__)

FILE_THREADS: Final = 8
"""Threads for files and pictures, apart from those on which the protocol reads and writes."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A running Flowport and what the server needs besides."""

    tenants: Tenants
    file_threads: anyio.CapacityLimiter
    first_list: FirstList
    """The catalogue is refreshed after it was written, so that the list is never delayed."""
    cluster: Cluster | None = None
    """The database of a team; None where the home has a store of its own."""

    @property
    def workspace(self) -> Workspace:
        """The workspace with every account of the settings."""
        return self.tenants.shared

    async def drain(self) -> None:
        """Take no more runs from the queue, and return when those of this process can be carried on by another worker."""
        if self.cluster is not None:
            await self.cluster.jobs.drain()


@asynccontextmanager
async def open_assembly(
    settings: Settings,
    *,
    clock: Clock | None = None,
    pace: Pace | None = None,
    account: OpenAccount | None = None,
    first_list: FirstList | None = None,
    accepts_own_keys: bool = False,
    build_webhook_url: BuildWebhookUrl | None = None,
    is_worker: bool = False,
) -> AsyncIterator[Assembly]:
    """Open the store and the accounts, start the background work, and end all of it on the way out.

    A store that cannot be used stops none of it: what needs it answers why.

    Args:
        account: An open one, instead of what the settings name.
        first_list: That of a client which was answered from an earlier process's list; None to begin with one.
        accepts_own_keys: Whether people may bring their own keys: accounts then come and go.
        build_webhook_url: Returns where a provider reports changes of a run; None where no provider reaches this process.
        is_worker: Whether this process carries out the runs of its team, if the settings name the database of one.

    Raises:
        ConfigurationError: The database of a team is named, and its libraries are missing.
        StoreError: That database cannot be reached.
    """
    clock = clock or SystemClock()
    kind = "worker" if is_worker else "replica"
    home = await open_team_home(settings, kind) if settings.database_url else open_home(settings.home)
    file_threads = anyio.CapacityLimiter(FILE_THREADS)
    fetcher = Fetcher(file_threads=file_threads, api_hosts=settings.api_hosts)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(home.store.close)
        stack.push_async_callback(fetcher.aclose)
        rate_windows = home.open_rate_windows(settings.home)
        stack.push_async_callback(rate_windows.close)
        opener = AccountOpener(settings, clock, rate_windows, home.process.process_id)
        is_home_usable = home.unrecorded is None
        accounts = [account] if account else open_accounts(opener, is_home_usable=is_home_usable, stack=stack)
        for opened in accounts:
            stack.push_async_callback(opened.aclose)
        stack.callback(home.process.release)
        supervisor = await stack.enter_async_context(Supervisor())
        if home.cluster is not None:
            # It was registered before; it stays alive to the others however long the catalogues take.
            supervisor.spawn("heartbeats", home.cluster.workers.keep_beating)
        turn = LeaderLock(settings.home, "team")
        stack.callback(turn.release)
        shared = (file_threads, fetcher, supervisor, Changes(clock), first_list or FirstList(), turn)
        base = Base(settings, clock, home, *shared, build_webhook_url)
        catalogs = [OpenCatalog(one, build_catalog(base, one, stack, is_alone=len(accounts) == 1)) for one in accounts]
        for one in catalogs:
            is_cached = await one.catalog.load()
            supervisor.spawn("catalogue", _keep_fresh, one.catalog, base.first_list if is_cached else None)
            supervisor.spawn("stale definitions", one.catalog.refresh_stale)
        supervisor.spawn("upkeep", _keep_up, base)
        supervisor.spawn("sandbox", keep_tidy, accounts, home.store, clock)
        # The runs of a key that comes and goes wait for it; another key of the provider must not take them over.
        are_scopes_single = len({one.account.scope for one in accounts}) == len(accounts)
        # Also beside a server that takes such keys, whose settings are those of its home.
        can_adopt = are_scopes_single and not accepts_own_keys and not settings.http.should_accept_own_keys
        engine, queued = build_engine(base, catalogs, pace or Pace(), opener, can_adopt=can_adopt)
        own = OwnAccounts(engine, supervisor) if accepts_own_keys else None
        if own is not None:
            supervisor.spawn("idle accounts", own.keep_closing)
        if home.cluster is not None:
            _join_team(base, home.cluster, queued if is_worker else None)
        assembly = Assembly(Tenants(engine.workspace, own), file_threads, base.first_list, home.cluster)
        stack.push_async_callback(assembly.drain)
        yield assembly


def _join_team(base: Base, cluster: Cluster, queued: QueuedRuns | None) -> None:
    """Follow what the other processes of the team change, and carry out runs if this is a worker."""
    spawn = base.supervisor.spawn
    spawn("news", cluster.news.keep_listening)
    spawn("reconciler", cluster.jobs.keep_reconciling)
    if queued is not None:
        spawn("jobs", partial(cluster.jobs.work, queued.execute, concurrency=base.settings.worker_runs))


async def _keep_fresh(catalog: Catalog, first_list: FirstList | None) -> None:
    if first_list is not None:
        await first_list.wait_until_written()
    await catalog.keep_fresh()


async def _keep_up(base: Base) -> None:
    await base.first_list.wait_until_written()
    settings, remove = base.settings, partial(remove_of_owners, base.settings.output_dir)
    limits = settings.spending_limits
    await keep_up(
        base.home.store, base.clock, keep_days=settings.keep_days, spending_limits=limits, remove_files=remove
    )
