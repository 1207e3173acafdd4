"""Put the parts of a running Flowport together, and take them apart again."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.cache import build_cache_path
from flowport.catalog.definitions import DefinitionReader
from flowport.catalog.refresher import Catalog
from flowport.catalog.tool_order import ORDER_NAME, ToolOrder
from flowport.domain.models import Account, App, Source
from flowport.media.input_files import MediaRules
from flowport.media.previews import Previewer
from flowport.media.saving import MAX_AGE_SECONDS, sweep_partials
from flowport.network.account import FixedLocation, OpenAccount
from flowport.network.api_client import Location
from flowport.network.download import Fetcher
from flowport.network.ratelimit.limiters import Budgets
from flowport.network.sandbox_process import keep_tidy, open_sandbox_account
from flowport.network.upload import Uploader
from flowport.providers.registry import ProviderSettings, get_plugin, get_plugins
from flowport.runs.batch.report import BatchReport
from flowport.runs.batch.service import Batches
from flowport.runs.calls import RecentRequests
from flowport.runs.delivery import Deliveries
from flowport.runs.downloads import DownloadRetrier, LinkRefresher, OutputSaver
from flowport.runs.durations import DurationBook
from flowport.runs.inputs import FileDeliverer
from flowport.runs.live import LiveRuns
from flowport.runs.output_file import SavingRules
from flowport.runs.pending_writes import PendingWrites
from flowport.runs.poll import RunFollower
from flowport.runs.prepare import CallPreparer
from flowport.runs.rebuild_call import CallRebuilder
from flowport.runs.recovery import OrphanScanner, RunAdopter, RunClaimer
from flowport.runs.references import OutputFinder
from flowport.runs.service import Runner
from flowport.runs.start import RunStarter
from flowport.runs.submit import MAX_BATCHES_SUBMITTED, MAX_RUNS_SUBMITTED, Submitter
from flowport.runs.uploads import FileUploads
from flowport.runs.waiting import Waiter
from flowport.runtime.change_feed import Changes, ListKind
from flowport.runtime.clock import Clock, Pace, SystemClock
from flowport.runtime.supervisor import Supervisor
from flowport.settings.settings import Settings
from flowport.store.home import Home, open_home
from flowport.store.interface import Store
from flowport.store.maintenance import keep_up
from flowport.store.process_lock import ProcessLock, Turn
from flowport.store.sqlite.rate_windows import BUDGET_NAME, BudgetFile

logger = logging.getLogger(__name__)

FILE_THREADS: Final = 8
"""Threads for files and pictures, apart from those on which the protocol reads and writes."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A running Flowport and what the server needs besides."""

    workspace: Workspace
    file_threads: anyio.CapacityLimiter
    first_listed: anyio.Event
    """To be set at the first tool list; the catalogue is not refreshed before, so that the list is never delayed."""


@asynccontextmanager
async def open_assembly(
    settings: Settings, *, clock: Clock | None = None, pace: Pace | None = None, account: OpenAccount | None = None
) -> AsyncIterator[Assembly]:
    """Open the store and the accounts, start the background work, and end all of it on the way out.

    A store that cannot be used stops none of it: what needs it answers why.

    Args:
        account: An open one, in the place of what the settings name.
    """
    clock = clock or SystemClock()
    home = open_home(settings.home)
    store, process = home.store, home.process
    file_threads = anyio.CapacityLimiter(FILE_THREADS)
    fetcher = Fetcher(file_threads=file_threads, api_hosts=settings.api_hosts)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        stack.push_async_callback(fetcher.aclose)
        budgets = Budgets(settings, clock, BudgetFile(settings.home / BUDGET_NAME), process.process_id)
        stack.push_async_callback(budgets.file.close)
        accounts = [account] if account else _open_accounts(home, settings, budgets, stack)
        for opened in accounts:
            stack.push_async_callback(opened.aclose)
        stack.callback(process.release)
        changes = Changes(clock)
        supervisor = await stack.enter_async_context(Supervisor())
        first_listed = anyio.Event()
        note = partial(_note_tools, changes, first_listed)
        build = partial(
            _build_catalog, home=home, clock=clock, settings=settings, on_change=note, is_alone=len(accounts) == 1
        )
        catalogs = [OpenCatalog(one, build(one, turn=_open_turn(one, settings, stack))) for one in accounts]
        shared = _Shared(
            settings=settings,
            clock=clock,
            store=store,
            fetcher=fetcher,
            file_threads=file_threads,
            supervisor=supervisor,
            link_refresher=LinkRefresher(store, clock),
            doubt=partial(_doubt, catalogs),
            calls=RecentRequests(
                clock, window_seconds=settings.reattach_seconds, spending_limits=settings.spending_limits
            ),
            durations=DurationBook(store),
            accounts={one.account.id: one for one in accounts},
            live_runs=LiveRuns(changes.note_run),
            process=process,
        )
        for one in catalogs:
            is_cached = await one.catalog.load()
            supervisor.spawn("catalogue", _keep_fresh, one.catalog, first_listed if is_cached else None)
            supervisor.spawn("doubts", one.catalog.read_doubted)
        supervisor.spawn("upkeep", _keep_up, store, clock, settings, first_listed)
        supervisor.spawn("sandbox", keep_tidy, accounts, store, clock)
        deliveries = Deliveries(store, clock, supervisor)
        finder = OutputFinder(store, deliveries.delivered)
        preparer = CallPreparer(MediaRules(settings.file_roots), file_threads, finder)
        previewer = Previewer(file_threads, is_wanted=settings.should_show_previews)
        runner = _build_runner(shared, pace or Pace())
        call_rebuilder = CallRebuilder(
            preparer, {one.account.account.id: one.catalog for one in catalogs}, clock, store
        )
        claimer = _build_claimer(shared, runner, call_rebuilder)
        batches = _build_batches(shared, runner, call_rebuilder)
        _watch_over(shared, claimer, batches)
        waiter = Waiter(
            store=store,
            clock=clock,
            live_runs=shared.live_runs,
            durations=shared.durations,
            claimer=claimer,
            batches=batches,
            accounts=shared.accounts,
            wait_seconds=settings.wait_seconds,
        )
        workspace = Workspace(
            settings=settings,
            clock=clock,
            store=store,
            catalogs=catalogs,
            definitions=DefinitionReader(supervisor),
            preparer=preparer,
            runner=runner,
            batches=batches,
            run_submitter=Submitter(runner, deliveries, waiter, places=MAX_RUNS_SUBMITTED),
            batch_submitter=Submitter(batches, deliveries, waiter, places=MAX_BATCHES_SUBMITTED),
            waiter=waiter,
            claimer=claimer,
            fetcher=fetcher,
            changes=changes,
            previewer=previewer,
            deliveries=deliveries,
            tool_order=ToolOrder(settings.home / ORDER_NAME, settings.apps),
        )
        yield Assembly(workspace, file_threads, first_listed)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What most parts are made of."""

    settings: Settings
    clock: Clock
    store: Store
    fetcher: Fetcher
    file_threads: anyio.CapacityLimiter
    supervisor: Supervisor
    link_refresher: LinkRefresher
    doubt: Callable[[OpenAccount, App], None]
    calls: RecentRequests
    durations: DurationBook
    accounts: Mapping[str, OpenAccount]
    """The open ones by id."""
    live_runs: LiveRuns
    process: ProcessLock


def _build_runner(shared: _Shared, pace: Pace) -> Runner:
    store, clock, live_runs = shared.store, shared.clock, shared.live_runs
    writer = PendingWrites(store, live_runs, clock)
    rules = _build_saving_rules(shared)
    saver = OutputSaver(store, live_runs, clock, shared.fetcher, rules=rules)
    return Runner(
        accounts=shared.accounts,
        store=store,
        live_runs=live_runs,
        clock=clock,
        supervisor=shared.supervisor,
        starter=RunStarter(
            store,
            live_runs,
            clock,
            writer,
            deliverer=_build_deliverer(shared),
            on_doubt=shared.doubt,
        ),
        follower=RunFollower(
            store,
            live_runs,
            clock,
            pace,
            writer,
            supervisor=shared.supervisor,
            durations=shared.durations,
            patience_seconds=shared.settings.wait_seconds,
        ),
        saver=saver,
        writer=writer,
        process=shared.process,
        calls=shared.calls,
        retrier=DownloadRetrier(store, saver, shared.link_refresher, clock),
    )


def _build_batches(shared: _Shared, runner: Runner, call_rebuilder: CallRebuilder) -> Batches:
    return Batches(
        runner=runner,
        accounts=shared.accounts,
        store=shared.store,
        live_runs=shared.live_runs,
        clock=shared.clock,
        supervisor=shared.supervisor,
        process=shared.process,
        call_rebuilder=call_rebuilder,
        report=BatchReport(_build_saving_rules(shared), shared.file_threads),
    )


def _build_saving_rules(shared: _Shared) -> SavingRules:
    is_wanted = shared.settings.should_save_outputs
    return SavingRules(shared.settings.output_dir, is_wanted=is_wanted, writer=shared.process.process_id)


def _build_deliverer(shared: _Shared) -> FileDeliverer:
    uploader = Uploader(file_threads=shared.file_threads, outlet=shared.fetcher.outlet)
    uploads = FileUploads(shared.store, shared.clock, shared.process, uploader, threads=shared.file_threads)
    return FileDeliverer(
        shared.store,
        shared.clock,
        uploads,
        shared.fetcher,
        shared.link_refresher,
        accounts=shared.accounts,
        threads=shared.file_threads,
        results=_build_saving_rules(shared),
    )


def _doubt(catalogs: list[OpenCatalog], account: OpenAccount, app: App) -> None:
    """Have the definition of an app read again by the catalogue that it comes from."""
    for one in catalogs:
        if one.account is account:
            one.catalog.doubt(app)


def _build_claimer(shared: _Shared, runner: Runner, call_rebuilder: CallRebuilder) -> RunClaimer:
    return RunClaimer(
        runner=runner,
        accounts=shared.accounts,
        store=shared.store,
        clock=shared.clock,
        process=shared.process,
        link_refresher=shared.link_refresher,
        adopter=RunAdopter(shared.accounts, shared.store, shared.clock, shared.process),
        call_rebuilder=call_rebuilder,
    )


def _watch_over(shared: _Shared, claimer: RunClaimer, batches: Batches) -> None:
    """Begin to take over what dead processes leave, and sweep up their half-written files once."""
    should_save = shared.settings.should_save_outputs
    opened = [account.account for account in shared.accounts.values()]
    watch = OrphanScanner(
        claimer,
        opened,
        shared.store,
        shared.clock,
        should_save=should_save,
        is_alive=shared.process.is_alive,
        batches=batches,
    )
    shared.supervisor.spawn("orphans", watch.keep_watch)
    shared.supervisor.spawn("adoption", watch.keep_adopting)
    shared.supervisor.spawn("sweeping", _sweep, shared)


async def _sweep(shared: _Shared) -> None:
    before = shared.clock.now() - MAX_AGE_SECONDS
    sweep = partial(sweep_partials, shared.settings.output_dir, has_died=shared.process.has_died, before=before)
    await anyio.to_thread.run_sync(sweep, limiter=shared.file_threads)


def _note_tools(changes: Changes, first_listed: anyio.Event) -> None:
    """Note that the tools have changed; before the first list there is nobody whose list that makes wrong."""
    if first_listed.is_set():
        changes.note_list(ListKind.TOOLS)


async def _keep_fresh(catalog: Catalog, first_listed: anyio.Event | None) -> None:
    if first_listed is not None:
        await _wait_for_list(first_listed)
    await catalog.keep_fresh()


async def _keep_up(store: Store, clock: Clock, settings: Settings, first_listed: anyio.Event) -> None:
    await _wait_for_list(first_listed)
    await keep_up(store, clock, keep_days=settings.keep_days)


async def _wait_for_list(first_listed: anyio.Event) -> None:
    """Wait until the first list was asked for, but not for ever: some clients never ask."""
    with anyio.move_on_after(5):
        await first_listed.wait()


def _open_turn(account: OpenAccount, settings: Settings, stack: AsyncExitStack) -> Turn:
    """Return the turn at refreshing an account's catalogue, which ends with this process."""
    turn = Turn(settings.home, f"refresh-{build_cache_path(settings.home, account.account).stem}")
    stack.callback(turn.release)
    return turn


def _build_catalog(
    account: OpenAccount,
    *,
    home: Home,
    clock: Clock,
    settings: Settings,
    on_change: Callable[[], None],
    turn: Turn,
    is_alone: bool,
) -> Catalog:
    path = build_cache_path(settings.home, account.account)
    # The sandbox's apps are for trying: a setting that was made for a real account must not empty its list.
    source = Source.ALL if account.is_sandbox else settings.source
    return Catalog(
        account,
        home.store,
        clock,
        path,
        globs=settings.apps,
        max_tools=settings.max_tools,
        shares_list=not is_alone,
        source=source,
        on_change=on_change,
        has_turn=turn.take_if_possible,
        unrecorded=home.unrecorded,
    )


def _open_accounts(home: Home, settings: Settings, budgets: Budgets, stack: AsyncExitStack) -> list[OpenAccount]:
    """Return the configured accounts, or the sandbox's when none is configured."""
    if settings.providers:
        return [_open_configured(configured, budgets) for configured in settings.providers]
    build = next(plugin.build_demo for plugin in get_plugins() if plugin.build_demo)
    return [open_sandbox_account(build(), budgets, stack, is_home_usable=home.unrecorded is None)]


def _open_configured(configured: ProviderSettings, budgets: Budgets) -> OpenAccount:
    provider = get_plugin(configured.provider).build(configured)
    location = Location(
        configured.base_url,
        provider.build_headers(configured.api_key, configured.host),
        configured.api_key,
        is_loopback=configured.is_loopback,
        setting=configured.base_url_setting,
        file_origins=configured.file_origins,
    )
    account = Account(configured.provider, urlsplit(configured.base_url).netloc, configured.fingerprint)
    locate: Callable[[], Awaitable[Location]] = FixedLocation(location)
    return OpenAccount(account, provider, budgets.open(account, provider), locate)
