"""Act on what other processes of a team have done: wake those who wait here, and what carries runs out.

News are hints. What they say of a record is read from the store, and what is missed is found by the looks that go on anyway.
"""

import logging
from collections.abc import Mapping
from typing import Final, NoReturn, assert_never

import anyio

from flowport.catalog.refresher import Catalog
from flowport.domain.errors import RunNotFound, StoreError
from flowport.network.account import OpenAccount
from flowport.runs.live import LiveRun, LiveRuns
from flowport.runs.poll import RunPoller
from flowport.runs.service import Runner
from flowport.runtime.background import Changes, ListKind, Supervisor
from flowport.runtime.clock import Clock
from flowport.store.cluster import News, NewsKind
from flowport.store.interface import Store

logger = logging.getLogger(__name__)

BATCH_SECONDS: Final = 0.05
"""How long changes of rows are collected before their batch is carried on."""

AGAIN_SECONDS: Final = 1.0
"""After a read that failed."""


class NewsReader:
    """Takes the news of one process."""

    def __init__(
        self,
        *,
        runner: Runner,
        poller: RunPoller,
        live_runs: LiveRuns,
        accounts: Mapping[str, OpenAccount],
        catalogs: Mapping[str, Catalog],
        store: Store,
        clock: Clock,
        supervisor: Supervisor,
        changes: Changes | None,
        wait_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            accounts: The open ones by id, like the catalogues.
            changes: What the clients of this process are to know; None in a process without any.
            wait_seconds: How long a call usually waits.
        """
        self._runner = runner
        self._poller = poller
        self._live_runs = live_runs
        self._accounts = accounts
        self._catalogs = catalogs
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._changes = changes
        self._wait_seconds = wait_seconds
        self._unread: dict[str, None] = {}
        """Runs of this process that others have changed."""
        self._unowned: dict[str, bool] = {}
        """Runs whose news could not name their owner, and whether one is new in its list."""
        self._batches: dict[str, None] = {}
        """Batches of this process with rows that others have changed."""
        self._bell = anyio.Event()

    def take(self, news: News) -> None:
        """Act on news at once, or have `keep_reading` do it."""
        match news.kind:
            case NewsKind.CREATED | NewsKind.CHANGED:
                self._take_change(news)
            case NewsKind.ANNOUNCED | NewsKind.BEGUN:
                self._take_event(news)
            case NewsKind.UNWANTED | NewsKind.AWAITED:
                self._take_call(news)
            case NewsKind.TROUBLED:
                self._live_runs.news.note_problem(news)
            case NewsKind.LISTED:
                self._load(news.account_id)
            case NewsKind.MISSED:
                self._take_missed()
            case _:
                assert_never(news.kind)

    def _take_event(self, news: News) -> None:
        account = self._accounts.get(news.account_id)
        if account is not None and not news.is_own:
            self._poller.announce(news.run_id, account, is_end=news.kind is NewsKind.ANNOUNCED)

    def _take_call(self, news: News) -> None:
        entry = self._live_runs.get(news.run_id)
        if entry is None:
            return
        if news.kind is NewsKind.UNWANTED:
            self._runner.note_unwanted(entry.run)
        else:
            self._supervisor.spawn(f"call for run {news.run_id}", self._wait, entry)

    def _take_change(self, news: News) -> None:
        is_relisted = news.kind is NewsKind.CREATED and not news.batch_id
        if self._changes is not None:
            if news.owner:
                self._changes.note_run(news.run_id, owner=news.owner, is_relisted=is_relisted)
            else:
                self._unowned[news.run_id] = is_relisted or self._unowned.get(news.run_id, False)
                self._bell.set()
        # Hundreds may wait, and each reads the store when it is woken.
        self._live_runs.news.wake(news.run_id, is_going_on=news.goes_on)
        # What this process writes, it knows already.
        if not news.is_own and self._live_runs.get(news.run_id) is not None:
            self._unread[news.run_id] = None
            self._bell.set()
        if not news.is_own and not news.goes_on and news.batch_id and self._live_runs.get(news.batch_id) is not None:
            self._batches[news.batch_id] = None
            self._bell.set()

    def _take_missed(self) -> None:
        """Look at everything again; which resources have changed cannot be said, so the list has."""
        self._unread.update(dict.fromkeys(self._live_runs.get_ids()))
        self._bell.set()
        self._live_runs.news.wake_all()
        if self._changes is not None:
            self._changes.note_list(ListKind.RESOURCES)
        for account_id in tuple(self._catalogs):
            self._load(account_id)

    def _load(self, account_id: str) -> None:
        if (catalog := self._catalogs.get(account_id)) is not None:
            self._supervisor.spawn("catalogue of another process", catalog.load_changed)

    async def _wait(self, entry: LiveRun) -> None:
        """Let a call at another process count as one that waits here."""
        with entry.wait():
            await self._clock.sleep(self._wait_seconds)

    async def keep_reading(self) -> NoReturn:
        """Read what others have changed of the runs of this process, and act on it."""
        while True:
            await self._bell.wait()
            self._bell = anyio.Event()
            batches, self._batches = self._batches, {}
            for batch_id in batches:
                if (entry := self._live_runs.get(batch_id)) is not None:
                    entry.wake()
            try:
                await self._read_changed()
                await self._read_owners()
            except StoreError as exc:
                logger.info("what other processes have changed is read later: %s", exc)
                self._bell.set()
                await self._clock.sleep(AGAIN_SECONDS)
            await self._clock.sleep(BATCH_SECONDS)

    async def _read_changed(self) -> None:
        while self._unread:
            run_id = next(iter(self._unread))
            # A change that comes while it is read is read as well.
            del self._unread[run_id]
            if self._live_runs.get(run_id) is None:
                continue
            try:
                self._runner.note_kept(await self._store.get_run_of_any_owner(run_id))
            except RunNotFound:
                logger.info("run %s was erased by another process", run_id)
            except StoreError:
                self._unread[run_id] = None
                raise

    async def _read_owners(self) -> None:
        while self._unowned and self._changes is not None:
            run_id = next(iter(self._unowned))
            is_relisted = self._unowned.pop(run_id)
            try:
                owner = (await self._store.get_run_of_any_owner(run_id)).owner
            except RunNotFound:
                logger.info("run %s was erased by another process", run_id)
            except StoreError:
                self._unowned[run_id] = is_relisted
                raise
            else:
                self._changes.note_run(run_id, owner=owner, is_relisted=is_relisted)
