"""Build the parts that run apps, and start their background work."""

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread

from flowport.actions.engine import Engine
from flowport.actions.workspace import DefinitionReader, OpenCatalog, Workspace
from flowport.bootstrap.home import Home
from flowport.catalog.ranking import ORDER_NAME, ToolOrder
from flowport.catalog.refresher import Catalog
from flowport.catalog.snapshots import build_cache_path
from flowport.domain.errors import StoreError
from flowport.domain.models import App, Source
from flowport.media.input_files import MediaRules
from flowport.media.previews import Previewer
from flowport.media.saving import MAX_AGE_SECONDS, sweep_partials
from flowport.network.account import OpenAccount
from flowport.network.accounts import AccountOpener
from flowport.network.file_transfer import Fetcher, Uploader
from flowport.runs.announcements import Announcements
from flowport.runs.batch.report import BatchReport
from flowport.runs.batch.service import BatchConductor, Batches
from flowport.runs.call_rebuilder import CallRebuilder
from flowport.runs.delivery import Deliveries
from flowport.runs.downloads import DownloadRetrier, LinkRefresher, OutputSaver
from flowport.runs.file_links import FileLinks
from flowport.runs.inputs import InputPreparer
from flowport.runs.live import FAILED_WRITE, SHARED_WRITE, LiveRuns, PendingWrites
from flowport.runs.lost_starts import LostStarts
from flowport.runs.news import RunNews
from flowport.runs.news_reader import NewsReader
from flowport.runs.output_file import SavingRules
from flowport.runs.poll import DurationBook, RunPoller
from flowport.runs.prepare import CallPreparer
from flowport.runs.queued import QueuedRuns
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
from flowport.runtime.clock import Clock
from flowport.settings.settings import Settings
from flowport.store.cluster import Cluster, News, NewsKind
from flowport.store.process_lock import LeaderLock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Base:
    """What most parts are made of."""

    settings: Settings
    clock: Clock
    home: Home
    file_threads: anyio.CapacityLimiter
    fetcher: Fetcher
    supervisor: Supervisor
    changes: Changes
    first_list: FirstList
    turn: LeaderLock
    """The right to look for what one process of a team looks for."""
    build_webhook_url: BuildWebhookUrl | None = None


def build_catalog(base: Base, account: OpenAccount, stack: AsyncExitStack, *, is_alone: bool) -> Catalog:
    """Build the catalogue of an account; `is_alone` when no other account is listed beside it."""
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
        on_written=partial(_post_listed, base, account_id),
        has_turn=turn.take_if_possible,
        unrecorded=base.home.unrecorded,
    )


def _post_listed(base: Base, account_id: str) -> None:
    """Have the other processes of a team read a catalogue that was saved."""
    if base.home.cluster is not None:
        base.supervisor.spawn("news of a catalogue", _try_to_post, base.home.cluster, account_id)


async def _try_to_post(cluster: Cluster, account_id: str) -> None:
    try:
        await cluster.news.post(News(NewsKind.LISTED, account_id=account_id))
    except StoreError as exc:
        logger.info("other processes read the saved catalogue later: %s", exc)


def build_engine(
    base: Base, catalogs: list[OpenCatalog], pace: Pace, opener: AccountOpener, *, can_adopt: bool
) -> tuple[Engine, QueuedRuns]:
    """Build the parts that run apps, and start to take over what dead processes have left; also what carries out jobs."""
    settings, clock, store, process = base.settings, base.clock, base.home.store, base.home.process
    cluster = base.home.cluster
    accounts = {one.account.account.id: one.account for one in catalogs}
    # The keys of people are in one process alone, and so are their runs.
    queued_ids = frozenset(accounts) if cluster is not None else frozenset[str]()
    open_catalogs = {one.account.account.id: one.catalog for one in catalogs}
    deliveries = Deliveries(store, clock, base.supervisor)
    file_links = FileLinks()
    news = None if cluster is None else RunNews(cluster.news, base.supervisor, clock)
    finder = OutputFinder(store, deliveries.delivered, file_links, news)
    max_bytes = settings.http.max_file_bytes
    received = ReceivedFiles(
        store, clock, settings.home, base.file_threads, file_links, process=process, max_owner_bytes=max_bytes
    )
    preparer = CallPreparer(MediaRules(settings.file_roots), base.file_threads, finder, received)
    link_refresher = LinkRefresher(store, clock)
    durations = DurationBook(store, clock, is_shared=cluster is not None)
    # A team gets its own changes as news, like those of others, so that each is announced once.
    live_runs = LiveRuns(base.changes.note_run) if cluster is None else LiveRuns(news=news)
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
        queued_account_ids=queued_ids,
    )
    writer = PendingWrites(store, live_runs, clock, retry=FAILED_WRITE if cluster is None else SHARED_WRITE)
    witness = StartWitness(
        accounts, store, clock, base.build_webhook_url, process.process_id, queued_account_ids=queued_ids
    )
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
    starter = RunStarter(
        store,
        live_runs,
        clock,
        writer,
        restore=rebuilder.restore,
        input_preparer=_build_input_preparer(base, accounts, link_refresher, rules),
        on_mismatch=partial(_reread_definition, open_catalogs),
        witness=witness,
    )
    runner = Runner(
        accounts=accounts,
        store=store,
        live_runs=live_runs,
        clock=clock,
        supervisor=base.supervisor,
        starter=starter,
        poller=poller,
        writer=writer,
        acceptor=acceptor,
        retrier=DownloadRetrier(store, OutputSaver(store, clock, base.fetcher, rules=rules), link_refresher, clock),
        conductor=conductor,
        should_save=settings.should_save_outputs,
        queued_account_ids=queued_ids,
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
        jobs=None if cluster is None else cluster.jobs,
    )
    queued = QueuedRuns(
        runner=runner,
        starter=starter,
        accounts=accounts,
        store=store,
        live_runs=live_runs,
        writer=writer,
        clock=clock,
        process=process,
        supervisor=base.supervisor,
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
    # In a home of its own each process looks after its own runs; in a team one looks after all.
    has_turn = (lambda: True) if cluster is None else base.turn.take_if_possible
    lost_starts = LostStarts(witness, rebuilder, recovery, has_turn)
    base.supervisor.spawn("orphans", recovery.keep_watch)
    base.supervisor.spawn("lost starts", lost_starts.keep_looking)
    if can_adopt:
        base.supervisor.spawn("adoption", recovery.keep_adopting, has_turn)
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
        should_save=settings.should_save_outputs,
    )
    if cluster is not None:
        reader = NewsReader(
            runner=runner,
            poller=poller,
            live_runs=live_runs,
            accounts=accounts,
            catalogs=open_catalogs,
            store=store,
            clock=clock,
            supervisor=base.supervisor,
            changes=base.changes,
            wait_seconds=settings.wait_seconds,
        )
        cluster.news.subscribe(reader.take)
        base.supervisor.spawn("news of runs", reader.keep_reading)
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
    build = partial(build_catalog, base, is_alone=False)
    return Engine(workspace, accounts, open_catalogs, live_runs, poller, opener, build), queued


def _build_input_preparer(
    base: Base, accounts: Mapping[str, OpenAccount], link_refresher: LinkRefresher, rules: SavingRules
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


async def _sweep(base: Base) -> None:
    """Remove the half-written files of dead processes."""
    before = base.clock.now() - MAX_AGE_SECONDS
    sweep = partial(sweep_partials, base.settings.output_dir, has_died=base.home.process.has_died, before=before)
    await anyio.to_thread.run_sync(sweep, limiter=base.file_threads)
