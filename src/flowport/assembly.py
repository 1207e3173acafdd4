"""Put the parts of a running Flowport together, and take them apart again."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import anyio

from flowport.accounts import FixedLocation, OpenAccount
from flowport.budget import RequestBudget
from flowport.builtin_sandbox import SANDBOX_ACCOUNT, BuiltInSandbox
from flowport.catalog.cache import build_cache_path
from flowport.catalog.discovery import Catalog
from flowport.changes import Changes, ListKind
from flowport.clock import Clock, SystemClock
from flowport.desk import Desk, OpenCatalog
from flowport.errors import LedgerError
from flowport.fetch import Fetcher
from flowport.ledger.interface import Ledger
from flowport.ledger.sqlite import open_sqlite_ledger
from flowport.media.arguments import MediaRules
from flowport.model import Account, App, Source
from flowport.previewing import Previewer
from flowport.processes import ProcessLock, Turn
from flowport.providers.interface import Provider
from flowport.providers.magnific import STYLES, Magnific
from flowport.runner.board import Board
from flowport.runner.calling import CallBook
from flowport.runner.delivering import FileDeliverer
from flowport.runner.following import RunFollower
from flowport.runner.preparing import CallPreparer
from flowport.runner.references import OutputFinder, SeenRuns
from flowport.runner.runs import Runner
from flowport.runner.saving import OutputSaver, SavingRules
from flowport.runner.starting import RunStarter
from flowport.runner.uploading import FileUploads
from flowport.runner.writing import RunWriter
from flowport.schedule import Pace
from flowport.settings import ProviderSettings, Settings
from flowport.supervisor import Supervisor
from flowport.transport import Location
from flowport.upload import Uploader

logger = logging.getLogger(__name__)

FILE_THREADS: Final = 8
"""Threads for files and pictures, apart from those on which the protocol reads and writes."""

LOOKS_SHARE: Final = 0.8
"""The part of the request budget that looks at runs may plan with; starts and discovery need the rest."""


def _build_magnific(configured: ProviderSettings) -> Provider:
    return Magnific(styles=STYLES if configured.api_style == "auto" else (configured.api_style,))


PROVIDERS: Final[dict[str, Callable[[ProviderSettings], Provider]]] = {"magnific": _build_magnific}
"""Every provider by its name in the settings."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Assembly:
    """A running Flowport and what the server needs besides."""

    desk: Desk
    file_threads: anyio.CapacityLimiter
    first_listed: anyio.Event
    """To be set at the first tool list; the catalogue is not refreshed before, so that the list is never delayed."""


@asynccontextmanager
async def open_assembly(
    settings: Settings, *, clock: Clock | None = None, pace: Pace | None = None
) -> AsyncIterator[Assembly]:
    """Open the ledger and the accounts, start the background work, and end all of it on the way out.

    Raises:
        LedgerError: The ledger cannot be opened.
    """
    clock = clock or SystemClock()
    _make_home(settings)
    ledger = open_sqlite_ledger(settings.home / "ledger.sqlite3")
    file_threads = anyio.CapacityLimiter(FILE_THREADS)
    fetcher = Fetcher(file_threads=file_threads)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        stack.push_async_callback(fetcher.aclose)
        accounts = [_open_account(settings, clock, stack)]
        for account in accounts:
            stack.push_async_callback(account.aclose)
        process = _hold_process_lock(settings)
        stack.callback(process.release)
        changes = Changes(clock)
        supervisor = await stack.enter_async_context(Supervisor())
        first_listed = anyio.Event()
        note = partial(_note_tools, changes, first_listed)
        turns = [_open_turn(account, settings, stack) for account in accounts]
        catalogs = [
            OpenCatalog(one, _build_catalog(one, ledger, clock, settings, on_change=note, turn=turn))
            for one, turn in zip(accounts, turns, strict=True)
        ]
        shared = _Shared(settings, clock, ledger, fetcher, file_threads, supervisor, partial(_doubt, catalogs))
        runner = _build_runner(shared, accounts, Board(changes.note_run), process, pace or _build_pace(accounts))
        supervisor.spawn("orphans", runner.settle_orphans)
        for one in catalogs:
            is_cached = await one.catalog.load()
            supervisor.spawn("catalogue", _keep_fresh, one.catalog, first_listed if is_cached else None)
            supervisor.spawn("doubts", one.catalog.read_doubted)
        seen = SeenRuns()
        preparer = CallPreparer(MediaRules(settings.file_roots), file_threads, OutputFinder(ledger, seen))
        previewer = Previewer(file_threads, is_wanted=settings.should_show_previews)
        desk = Desk(settings, clock, ledger, catalogs, preparer, runner, fetcher, changes, previewer, seen)
        yield Assembly(desk, file_threads, first_listed)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What most parts are made of."""

    settings: Settings
    clock: Clock
    ledger: Ledger
    fetcher: Fetcher
    file_threads: anyio.CapacityLimiter
    supervisor: Supervisor
    doubt: Callable[[OpenAccount, App], None]


def _build_runner(
    shared: _Shared, accounts: list[OpenAccount], board: Board, process: ProcessLock, pace: Pace
) -> Runner:
    ledger, clock = shared.ledger, shared.clock
    writer = RunWriter(board, clock)
    rules = SavingRules(shared.settings.output_dir, is_wanted=shared.settings.should_save_outputs)
    return Runner(
        accounts={account.account.id: account for account in accounts},
        ledger=ledger,
        board=board,
        clock=clock,
        supervisor=shared.supervisor,
        starter=RunStarter(
            ledger, board, clock, writer, deliverer=_build_deliverer(shared, process), on_doubt=shared.doubt
        ),
        follower=RunFollower(ledger, board, clock, pace, writer),
        saver=OutputSaver(ledger, board, clock, shared.fetcher, rules=rules, threads=shared.file_threads),
        writer=writer,
        process=process,
        calls=CallBook(clock, window_seconds=shared.settings.reattach_seconds),
    )


def _build_deliverer(shared: _Shared, process: ProcessLock) -> FileDeliverer:
    uploader = Uploader(file_threads=shared.file_threads)
    uploads = FileUploads(shared.ledger, shared.clock, process, uploader, threads=shared.file_threads)
    return FileDeliverer(shared.ledger, shared.clock, uploads, shared.fetcher, threads=shared.file_threads)


def _doubt(catalogs: list[OpenCatalog], account: OpenAccount, app: App) -> None:
    """Have the definition of an app read again by the catalogue that it comes from."""
    for one in catalogs:
        if one.account is account:
            one.catalog.doubt(app)


def _note_tools(changes: Changes, first_listed: anyio.Event) -> None:
    """Note that the tools have changed; before the first list there is nobody whose list that makes wrong."""
    if first_listed.is_set():
        changes.note_list(ListKind.TOOLS)


async def _keep_fresh(catalog: Catalog, first_listed: anyio.Event | None) -> None:
    if first_listed is not None:
        with anyio.move_on_after(5):
            await first_listed.wait()
    await catalog.keep_fresh()


def _open_turn(account: OpenAccount, settings: Settings, stack: AsyncExitStack) -> Turn:
    """Return the turn at refreshing an account's catalogue, which ends with this process."""
    turn = Turn(settings.home, f"refresh-{build_cache_path(settings.home, account.account).stem}")
    stack.callback(turn.release)
    return turn


def _hold_process_lock(settings: Settings) -> ProcessLock:
    try:
        return ProcessLock(settings.home)
    except OSError as exc:
        problem = f"the folder {settings.home} cannot be written to ({exc.strerror})"
        raise LedgerError(problem, "Set FLOWPORT_HOME to a folder of yours.") from exc


def _make_home(settings: Settings) -> None:
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        problem = f"the folder {settings.home} cannot be made ({exc.strerror})"
        raise LedgerError(problem, "Set FLOWPORT_HOME to a folder of yours.") from exc


def _build_pace(accounts: list[OpenAccount]) -> Pace:
    limits = [account.budget.limit for account in accounts if account.budget.limit]
    return Pace(looks_per_minute=int(min(limits) * LOOKS_SHARE) if limits else 0)


def _build_catalog(
    account: OpenAccount,
    ledger: Ledger,
    clock: Clock,
    settings: Settings,
    *,
    on_change: Callable[[], None],
    turn: Turn,
) -> Catalog:
    path = build_cache_path(settings.home, account.account)
    # The sandbox's apps are for trying: a setting that was made for a real account must not empty its list.
    source = Source.ALL if account.is_sandbox else settings.source
    return Catalog(
        account,
        ledger,
        clock,
        path,
        globs=settings.apps,
        max_tools=settings.max_tools,
        source=source,
        on_change=on_change,
        has_turn=turn.take,
    )


def _open_account(settings: Settings, clock: Clock, stack: AsyncExitStack) -> OpenAccount:
    """Return the configured account, or the sandbox's when none is configured."""
    if settings.providers:
        return _open_configured(settings.providers[0], settings, clock)
    provider = Magnific(title="The sandbox", styles=("flows",))
    sandbox = BuiltInSandbox(provider)
    stack.push_async_callback(sandbox.aclose)
    budget = RequestBudget(settings.requests_per_minute or 0, clock)
    return OpenAccount(SANDBOX_ACCOUNT, provider, budget, sandbox.locate, is_sandbox=True)


def _open_configured(configured: ProviderSettings, settings: Settings, clock: Clock) -> OpenAccount:
    provider = PROVIDERS[configured.provider](configured)
    parts = urlsplit(configured.base_url)
    location = Location(
        configured.base_url,
        provider.build_headers(configured.api_key, parts.hostname or ""),
        configured.api_key,
        is_loopback=parts.hostname in _LOOPBACK,
    )
    limit = settings.requests_per_minute
    budget = RequestBudget(provider.requests_per_minute if limit is None else limit, clock)
    account = Account(configured.provider, parts.netloc, configured.fingerprint)
    locate: Callable[[], Awaitable[Location]] = FixedLocation(location)
    return OpenAccount(account, provider, budget, locate)
