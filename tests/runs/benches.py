"""A runner and those who bring it runs, on a real ledger, a scripted provider and a clock that never waits."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from flowport.catalog.listing import Listing
from flowport.catalog.refresher import Catalog
from flowport.domain.models import Run, RunState
from flowport.media.input_files import MediaRules
from flowport.network.download import Fetcher
from flowport.providers.magnific.api import Magnific
from flowport.runs.calls import CallBook, RunCall
from flowport.runs.delivery import DeliveredRuns
from flowport.runs.downloads import LinkRenewer, OutputRetrier, OutputSaver
from flowport.runs.live import Board, BoardEntry
from flowport.runs.output_file import SavingRules
from flowport.runs.pending_writes import RunWriter
from flowport.runs.poll import RunFollower
from flowport.runs.prepare import CallPreparer
from flowport.runs.rebuild_call import CallRestorer
from flowport.runs.recovery import OrphanWatch, RunAdopter, RunInheritor
from flowport.runs.references import OutputFinder
from flowport.runs.service import Runner
from flowport.runs.start import RunStarter
from flowport.runtime.clock import Pace
from flowport.runtime.supervisor import Supervisor
from flowport.store.process_lock import ProcessLock
from tests.runs.samples import CALL, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ACCOUNT, Answer, FaultyLedger, ScriptedAccount, in_turn, wait_until


@dataclass
class Bench:
    """A runner with what it works on."""

    runner: Runner
    inheritor: RunInheritor
    watch: OrphanWatch
    account: ScriptedAccount
    ledger: FaultyLedger
    board: Board
    clock: FakeClock
    process: ProcessLock
    preparer: CallPreparer
    catalogs: dict[str, Catalog]
    """What calls are restored with."""

    async def submit(self) -> Run:
        """Submit the call of the samples."""
        return (await self.runner.submit(CALL, RunCall("local"))).run

    async def finish(self, run: Run) -> Run:
        """Wait until the board has let go of a run and return it as the ledger has it."""
        await self._watch(run, lambda entry: entry is None)
        return await read(self.ledger, run.id)

    async def wait_for(self, run: Run, state: RunState) -> None:
        """Wait until the board shows a run in this state."""
        await self._watch(run, lambda entry: entry is not None and entry.run.state is state)

    async def reach_pause(self, run: Run, state: RunState) -> None:
        """Wait until a run is in this state and its task sleeps."""
        await self.wait_for(run, state)
        await wait_until(lambda: self.clock.count_sleepers() == 1)

    async def _watch(self, run: Run, condition: Callable[[BoardEntry | None], bool]) -> None:
        with anyio.fail_after(60):
            while not condition(entry := self.board.get(run.id)):
                assert entry is not None
                await entry.changed.wait()


@asynccontextmanager
async def open_bench(
    ledger: FaultyLedger,
    folder: Path,
    answer: Answer,
    *,
    provider: Magnific | None = None,
    is_automatic: bool = True,
) -> AsyncIterator[Bench]:
    """Run a runner whose clock never waits, or moves by hand alone."""
    clock, board, threads = (
        FakeClock(is_automatic=is_automatic),
        Board(),
        anyio.CapacityLimiter(2),
    )
    account = ScriptedAccount(answer, clock, provider=provider)
    fetcher = Fetcher(file_threads=threads)
    writer, process = RunWriter(board, clock), ProcessLock(folder / "home")
    renewer, accounts = LinkRenewer(ledger, clock), {ACCOUNT.id: account}
    saver = OutputSaver(ledger, board, clock, fetcher, rules=SavingRules(folder / "results"))
    preparer, catalogs = (
        CallPreparer(MediaRules((folder,)), threads, OutputFinder(ledger, DeliveredRuns())),
        dict[str, Catalog](),
    )
    async with Supervisor() as supervisor:
        runner = Runner(
            accounts=accounts,
            ledger=ledger,
            board=board,
            clock=clock,
            supervisor=supervisor,
            starter=RunStarter(ledger, board, clock, writer),
            follower=RunFollower(ledger, board, clock, Pace(), writer, supervisor=supervisor),
            saver=saver,
            writer=writer,
            process=process,
            calls=CallBook(clock, window_seconds=3600),
            retrier=OutputRetrier(ledger, saver, renewer, clock),
        )
        inheritor = RunInheritor(
            runner=runner,
            accounts=accounts,
            ledger=ledger,
            clock=clock,
            process=process,
            renewer=renewer,
            adopter=RunAdopter(accounts, ledger, clock, process),
            restorer=CallRestorer(preparer, catalogs, clock),
        )
        watch = OrphanWatch(inheritor, [ACCOUNT], ledger, clock, should_save=True, is_alive=process.is_alive)
        yield Bench(runner, inheritor, watch, account, ledger, board, clock, process, preparer, catalogs)
    process.release()
    await fetcher.aclose()


class OneApp(Catalog):
    """A catalogue that hands out what a test says, one after the other."""

    def __init__(self, ledger: FaultyLedger, clock: FakeClock, folder: Path, *found: Listing | Exception) -> None:
        super().__init__(ScriptedAccount(in_turn(), clock), ledger, clock, folder / "cache.json")
        self.found = list(found)
        self.waited: list[float] = []

    async def wait_until_attempted(self, seconds: float) -> None:
        """Note that somebody waits."""
        self.waited.append(seconds)

    async def fetch_listing(self, wanted: str) -> Listing:
        """Return the next listing, or raise."""
        assert wanted == "sketch"
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found
