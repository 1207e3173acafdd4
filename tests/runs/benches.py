"""The runs service and callers that submit to it, on a real store, a scripted provider and a clock that never waits."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from flowport.catalog.listing import Listing
from flowport.catalog.refresher import Catalog
from flowport.domain.models import Run, RunState
from flowport.media.input_files import MediaRules
from flowport.network.file_transfer import Fetcher
from flowport.providers.magnific.api import Magnific
from flowport.runs.call_rebuilder import CallRebuilder
from flowport.runs.delivery import DeliveredRuns
from flowport.runs.downloads import DownloadRetrier, LinkRefresher, OutputSaver
from flowport.runs.live import LiveRun, LiveRuns, PendingWrites
from flowport.runs.output_file import SavingRules
from flowport.runs.poll import RunPoller
from flowport.runs.prepare import CallPreparer
from flowport.runs.queued import QueuedRuns
from flowport.runs.recovery import Recovery
from flowport.runs.references import OutputFinder
from flowport.runs.service import Runner
from flowport.runs.start import Restore, RunStarter
from flowport.runs.steps import Pace
from flowport.runs.submit import Acceptor, RecentRequests, RunRequest
from flowport.runtime.background import Supervisor
from flowport.store.process_lock import ProcessLock
from tests.runs.samples import CALL, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ACCOUNT, Answer, FaultyStore, ScriptedAccount, in_turn, wait_until


@dataclass
class Bench:
    """A runs service with its parts."""

    runner: Runner
    recovery: Recovery
    account: ScriptedAccount
    store: FaultyStore
    live_runs: LiveRuns
    clock: FakeClock
    process: ProcessLock
    preparer: CallPreparer
    catalogs: dict[str, Catalog]
    """The catalogue from which calls are rebuilt."""
    queued: QueuedRuns
    """What carries out jobs."""

    async def submit(self) -> Run:
        """Submit the call of the samples."""
        return (await self.runner.submit(CALL, RunRequest("local"))).run

    async def finish(self, run: Run) -> Run:
        """Wait until a run has left the list of live runs, and return it from the store."""
        await self._watch(run, lambda entry: entry is None)
        return await read(self.store, run.id)

    async def wait_for(self, run: Run, state: RunState) -> None:
        """Wait until the list of live runs shows a run in this state."""
        await self._watch(run, lambda entry: entry is not None and entry.run.state is state)

    async def reach_pause(self, run: Run, state: RunState) -> None:
        """Wait until a run is in this state and its task sleeps."""
        await self.wait_for(run, state)
        await wait_until(lambda: self.clock.count_sleepers() == 1)

    async def _watch(self, run: Run, condition: Callable[[LiveRun | None], bool]) -> None:
        with anyio.fail_after(60):
            while not condition(entry := self.live_runs.get(run.id)):
                assert entry is not None
                await entry.changed.wait()


@asynccontextmanager
async def open_bench(
    store: FaultyStore,
    folder: Path,
    answer: Answer,
    *,
    provider: Magnific | None = None,
    is_automatic: bool = True,
    should_save: bool = True,
    is_queued: bool = False,
    restore: Restore | None = None,
) -> AsyncIterator[Bench]:
    """Open a runs service whose clock never waits, or is moved only by the test.

    Args:
        is_queued: Whether runs have jobs.
        restore: Prepares a call again; None for the rebuilder, with the catalogues of the bench.
    """
    clock, live_runs, threads = (
        FakeClock(is_automatic=is_automatic),
        LiveRuns(),
        anyio.CapacityLimiter(2),
    )
    account = ScriptedAccount(answer, clock, provider=provider)
    fetcher = Fetcher(file_threads=threads)
    writer, process = PendingWrites(store, live_runs, clock), ProcessLock(folder / "home")
    link_refresher, accounts = LinkRefresher(store, clock), {ACCOUNT.id: account}
    saver = OutputSaver(store, clock, fetcher, rules=SavingRules(folder / "results", is_wanted=should_save))
    preparer, catalogs = (
        CallPreparer(MediaRules((folder,)), threads, OutputFinder(store, DeliveredRuns())),
        dict[str, Catalog](),
    )
    async with Supervisor() as supervisor:
        restore = restore or CallRebuilder(preparer, catalogs, clock).restore
        starter = RunStarter(store, live_runs, clock, writer, restore=restore)
        runner = Runner(
            accounts=accounts,
            store=store,
            live_runs=live_runs,
            clock=clock,
            supervisor=supervisor,
            starter=starter,
            poller=RunPoller(store, live_runs, clock, Pace(), writer, supervisor=supervisor),
            writer=writer,
            acceptor=Acceptor(accounts, supervisor, process, RecentRequests(clock, window_seconds=3600)),
            retrier=DownloadRetrier(store, saver, link_refresher, clock),
            should_save=should_save,
            queued_account_ids=frozenset(accounts) if is_queued else frozenset(),
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
            supervisor=supervisor,
        )
        recovery = Recovery(
            runner=runner,
            accounts=accounts,
            store=store,
            clock=clock,
            process=process,
            link_refresher=link_refresher,
            should_save=should_save,
        )
        yield Bench(runner, recovery, account, store, live_runs, clock, process, preparer, catalogs, queued)
    process.release()
    await fetcher.aclose()


class OneApp(Catalog):
    """A catalogue that returns the given listings in turn."""

    def __init__(self, store: FaultyStore, clock: FakeClock, folder: Path, *found: Listing | Exception) -> None:
        super().__init__(ScriptedAccount(in_turn(), clock), store, clock, folder / "cache.json")
        self.found = list(found)
        self.waited: list[float] = []

    async def wait_until_attempted(self, seconds: float) -> None:
        """Record that a caller waits."""
        self.waited.append(seconds)

    async def fetch_listing(self, wanted: str) -> Listing:
        """Return the next listing, or raise."""
        assert wanted == "sketch"
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found
