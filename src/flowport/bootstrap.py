"""Build every part of a running Flowport from its settings, and close it. The only module that knows every adapter."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.actions.engine import Engine
from flowport.actions.own_accounts import OwnAccounts
from flowport.actions.tenants import Tenants
from flowport.actions.workspace import DefinitionReader, OpenCatalog, Workspace
from flowport.catalog.ranking import ORDER_NAME, ToolOrder
from flowport.catalog.refresher import Catalog
from flowport.catalog.snapshots import build_cache_path
from flowport.domain.errors import StoreError
from flowport.domain.models import App, Source
from flowport.media.input_files import MediaRules
from flowport.media.previews import Previewer
from flowport.media.saving import MAX_AGE_SECONDS, remove_of_owners, sweep_partials
from flowport.network.account import OpenAccount
from flowport.network.accounts import AccountOpener, open_accounts
from flowport.network.file_transfer import Fetcher, Uploader
from flowport.network.sandbox_process import keep_tidy
from flowport.runs.announcements import Announcements
from flowport.runs.batch.report import BatchReport
from flowport.runs.batch.service import BatchConductor, Batches
from flowport.runs.call_rebuilder import CallRebuilder
from flowport.runs.delivery import Deliveries
from flowport.runs.downloads import DownloadRetrier, LinkRefresher, OutputSaver
from flowport.runs.file_links import FileLinks
from flowport.runs.inputs import InputPreparer
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.lost_starts import LostStarts
from flowport.runs.output_file import SavingRules
from flowport.runs.poll import DurationBook, RunPoller
from flowport.runs.prepare import CallPreparer
from flowport.runs.received_files import ReceivedFiles
from flowport.runs.recovery import Recovery
from flowport.runs.references import OutputFinder
from flowport.runs.service import Runner
from flowport.runs.start import RunStarter
from flowport.runs.steps import Pace
from flowport.runs.submit import MAX_BATCHES_SUBMITTED, MAX_RUNS_SUBMITTED, Acceptor, RecentRequests, Submitter
from flowport.runs.uploads import FileUploads
from flowport.runs.waiting import Waiter
from flowport.runs.witness import BuildWebhookUrl, StartWitness
from flowport.runtime.background import Changes, FirstList, ListKind, Supervisor
from flowport.runtime.clock import Clock, SystemClock
from flowport.settings.settings import Settings
from flowport.store.interface import Store
from flowport.store.maintenance import keep_up
from flowport.store.process_lock import LeaderLock, NoLock, ProcessLock, take_process_lock
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.rate_windows import RATE_WINDOWS_NAME, RateWindowFile
from flowport.store.sqlite.reconnect import open_refusing_store, open_store

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

    @property
    def workspace(self) -> Workspace:
        """The workspace with every account of the settings."""
        return self.tenants.shared


@dataclass(frozen=True, slots=True)
class Home:
    """What a process holds of FLOWPORT_HOME: the store, and its proof of life."""

    store: Store
    process: ProcessLock
    unrecorded: dict[str, tuple[str, str]] | None = None
    """The scope and the app id of each tool name, where nothing can be kept; None in a home that can be used."""


@dataclass(frozen=True, slots=True)
class _Base:
    """What most parts are made of."""

    settings: Settings
    clock: Clock
    home: Home
    file_threads: anyio.CapacityLimiter
    fetcher: Fetcher
    supervisor: Supervisor
    changes: Changes
    first_list: FirstList
    build_webhook_url: BuildWebhookUrl | None = None


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
) -> AsyncIterator[Assembly]:
    """Open the store and the accounts, start the background work, and end all of it on the way out.

    A store that cannot be used stops none of it: what needs it answers why.

    Args:
        account: An open one, instead of what the settings name.
        first_list: That of a client which was answered from an earlier process's list; None to begin with one.
        accepts_own_keys: Whether people may bring their own keys: accounts then come and go.
        build_webhook_url: Returns where a provider reports changes of a run; None where no provider reaches this process.
    """
    clock = clock or SystemClock()
    home = open_home(settings.home)
    file_threads = anyio.CapacityLimiter(FILE_THREADS)
    fetcher = Fetcher(file_threads=file_threads, api_hosts=settings.api_hosts)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(home.store.close)
        stack.push_async_callback(fetcher.aclose)
        rate_windows = RateWindowFile(settings.home / RATE_WINDOWS_NAME)
        stack.push_async_callback(rate_windows.close)
        opener = AccountOpener(settings, clock, rate_windows, home.process.process_id)
        is_home_usable = home.unrecorded is None
        accounts = [account] if account else open_accounts(opener, is_home_usable=is_home_usable, stack=stack)
        for opened in accounts:
            stack.push_async_callback(opened.aclose)
        stack.callback(home.process.release)
        supervisor = await stack.enter_async_context(Supervisor())
        shared = (file_threads, fetcher, supervisor, Changes(clock), first_list or FirstList())
        base = _Base(settings, clock, home, *shared, build_webhook_url)
        catalogs = [OpenCatalog(one, _build_catalog(base, one, stack, is_alone=len(accounts) == 1)) for one in accounts]
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
        engine = _build_engine(base, catalogs, pace or Pace(), opener, can_adopt=can_adopt)
        own = OwnAccounts(engine, supervisor) if accepts_own_keys else None
        if own is not None:
            supervisor.spawn("idle accounts", own.keep_closing)
        yield Assembly(Tenants(engine.workspace, own), file_threads, base.first_list)


def open_home(folder: Path) -> Home:
    """Open the store and take the lock of this process.

    Nothing is raised: a store that cannot be used says why whenever it is asked for what it cannot do. Without a lock
    other processes could not see that this process lives, so the store is then read-only.
    """
    path = folder / STORE_NAME
    try:
        process = take_process_lock(folder)
    except StoreError as exc:
        return Home(open_refusing_store(path, exc), NoLock(folder), unrecorded={})
    return Home(open_store(path), process)


def _build_catalog(base: _Base, account: OpenAccount, stack: AsyncExitStack, *, is_alone: bool) -> Catalog:
    settings, changes, first_list = base.settings, base.changes, base.first_list
    path = build_cache_path(settings.home, account.account)
    turn = LeaderLock(settings.home, f"refresh-{path.stem}")
    stack.callback(turn.release)

    account_id = account.account.id

    def note_change() -> None:
        """Announce changed tools; before the first list no client has a list that they make wrong.

        A list that was answered before the catalogues were loaded is compared with them when all are.
        """
        if first_list.asked.is_set() and first_list.saved is None:
            changes.note_list(ListKind.TOOLS, account_id=account_id)

    return Catalog(
        account,
        base.home.store,
        base.clock,
        path,
        globs=settings.apps,
        max_tools=settings.max_tools,
        shares_list=not is_alone,
        # The sandbox's apps are for trying: a setting that was made for a real account must not empty its list.
        source=Source.ALL if account.is_sandbox else settings.source,
        on_change=note_change,
        on_saved=first_list.note_outdated,
        has_turn=turn.take_if_possible,
        unrecorded=base.home.unrecorded,
    )


def _build_engine(
    base: _Base, catalogs: list[OpenCatalog], pace: Pace, opener: AccountOpener, *, can_adopt: bool
) -> Engine:
    """Build the parts that run apps, and start to take over what dead processes have left."""
    settings, clock, store, process = base.settings, base.clock, base.home.store, base.home.process
    accounts = {one.account.account.id: one.account for one in catalogs}
    open_catalogs = {one.account.account.id: one.catalog for one in catalogs}
    deliveries = Deliveries(store, clock, base.supervisor)
    file_links = FileLinks()
    finder = OutputFinder(store, deliveries.delivered, file_links)
    max_bytes = settings.http.max_file_bytes
    received = ReceivedFiles(
        store, clock, settings.home, base.file_threads, file_links, process=process, max_owner_bytes=max_bytes
    )
    preparer = CallPreparer(MediaRules(settings.file_roots), base.file_threads, finder, received)
    link_refresher = LinkRefresher(store, clock)
    durations = DurationBook(store)
    live_runs = LiveRuns(base.changes.note_run)
    rules = SavingRules(settings.output_dir, is_wanted=settings.should_save_outputs, writer=process.process_id)
    rebuilder = CallRebuilder(preparer, open_catalogs, clock, store)
    requests = RecentRequests(clock, window_seconds=settings.reattach_seconds, spending_limits=settings.spending_limits)
    acceptor = Acceptor(accounts, base.supervisor, process, requests)
    conductor = BatchConductor(
        accounts=accounts,
        store=store,
        live_runs=live_runs,
        clock=clock,
        process=process,
        report=BatchReport(rules, base.file_threads, file_links),
        find_free_arguments=rebuilder.find_free_arguments,
    )
    writer = PendingWrites(store, live_runs, clock)
    witness = StartWitness(accounts, store, clock, base.build_webhook_url, process.process_id)
    poller = RunPoller(
        store,
        live_runs,
        clock,
        pace,
        writer,
        supervisor=base.supervisor,
        durations=durations,
        patience_seconds=settings.wait_seconds,
        is_reported=witness.is_reported,
    )
    runner = Runner(
        accounts=accounts,
        store=store,
        live_runs=live_runs,
        clock=clock,
        supervisor=base.supervisor,
        starter=RunStarter(
            store,
            live_runs,
            clock,
            writer,
            restore=rebuilder.restore,
            input_preparer=_build_input_preparer(base, accounts, link_refresher, rules),
            on_mismatch=partial(_reread_definition, open_catalogs),
            witness=witness,
        ),
        poller=poller,
        writer=writer,
        acceptor=acceptor,
        retrier=DownloadRetrier(store, OutputSaver(store, clock, base.fetcher, rules=rules), link_refresher, clock),
        conductor=conductor,
        should_save=settings.should_save_outputs,
    )
    recovery = Recovery(
        runner=runner,
        accounts=accounts,
        store=store,
        clock=clock,
        process=process,
        link_refresher=link_refresher,
        should_save=settings.should_save_outputs,
        can_adopt=can_adopt,
    )
    batches = Batches(
        runner=runner,
        conductor=conductor,
        recovery=recovery,
        acceptor=acceptor,
        accounts=accounts,
        store=store,
        live_runs=live_runs,
        clock=clock,
        supervisor=base.supervisor,
    )
    lost_starts = LostStarts(witness, rebuilder, recovery)
    base.supervisor.spawn("orphans", recovery.keep_watch)
    base.supervisor.spawn("lost starts", lost_starts.keep_looking)
    if can_adopt:
        base.supervisor.spawn("adoption", recovery.keep_adopting)
    base.supervisor.spawn("sweeping", _sweep, base)
    base.supervisor.spawn("uploads", received.keep_sweeping, base.first_list.wait_until_written)
    waiter = Waiter(
        store=store,
        clock=clock,
        live_runs=live_runs,
        durations=durations,
        recovery=recovery,
        batches=batches,
        accounts=accounts,
        wait_seconds=settings.wait_seconds,
    )
    workspace = Workspace(
        settings=settings,
        clock=clock,
        store=store,
        catalogs=catalogs,
        definitions=DefinitionReader(base.supervisor),
        preparer=preparer,
        runner=runner,
        batches=batches,
        run_submitter=Submitter(runner, deliveries, clock, settings.wait_seconds, MAX_RUNS_SUBMITTED),
        batch_submitter=Submitter(batches, deliveries, clock, settings.wait_seconds, MAX_BATCHES_SUBMITTED),
        waiter=waiter,
        recovery=recovery,
        lost_starts=lost_starts,
        announcements=Announcements(
            witness=witness,
            poller=poller,
            recovery=recovery,
            accounts=accounts,
            store=store,
            live_runs=live_runs,
            clock=clock,
        ),
        fetcher=base.fetcher,
        changes=base.changes,
        previewer=Previewer(base.file_threads, is_wanted=settings.should_show_previews),
        deliveries=deliveries,
        tool_order=ToolOrder(settings.home / ORDER_NAME, settings.apps),
        file_links=file_links,
        received=received,
    )
    build_catalog = partial(_build_catalog, base, is_alone=False)
    return Engine(workspace, accounts, open_catalogs, live_runs, poller, opener, build_catalog)


def _build_input_preparer(
    base: _Base, accounts: Mapping[str, OpenAccount], link_refresher: LinkRefresher, rules: SavingRules
) -> InputPreparer:
    uploader = Uploader(file_threads=base.file_threads, outlet=base.fetcher.outlet)
    return InputPreparer(
        base.home.store,
        base.clock,
        FileUploads(base.home.store, base.clock, base.home.process, uploader, threads=base.file_threads),
        base.fetcher,
        link_refresher,
        accounts=accounts,
        threads=base.file_threads,
        results=rules,
    )


def _reread_definition(catalogs: Mapping[str, Catalog], account: OpenAccount, app: App) -> None:
    """Have the definition of an app read again by the catalogue that it comes from, if it is open."""
    if (catalog := catalogs.get(account.account.id)) is not None:
        catalog.mark_stale(app)


async def _sweep(base: _Base) -> None:
    """Remove the half-written files of dead processes."""
    before = base.clock.now() - MAX_AGE_SECONDS
    sweep = partial(sweep_partials, base.settings.output_dir, has_died=base.home.process.has_died, before=before)
    await anyio.to_thread.run_sync(sweep, limiter=base.file_threads)


async def _keep_fresh(catalog: Catalog, first_list: FirstList | None) -> None:
    if first_list is not None:
        await first_list.wait_until_written()
    await catalog.keep_fresh()


async def _keep_up(base: _Base) -> None:
    await base.first_list.wait_until_written()
    settings, remove = base.settings, partial(remove_of_owners, base.settings.output_dir)
    limits = settings.spending_limits
    await keep_up(
        base.home.store, base.clock, keep_days=settings.keep_days, spending_limits=limits, remove_files=remove
    )
