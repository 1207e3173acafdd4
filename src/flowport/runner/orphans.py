"""Keep watch over the home: what a process leaves when it ends is taken over by one of those that live."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

from flowport.clock import Clock
from flowport.errors import LedgerError, RunNotFound
from flowport.ledger.interface import Ledger
from flowport.model import Account, Run
from flowport.runner.batches import Batches
from flowport.runner.inheriting import RunInheritor

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 4.0
"""Between two looks into the ledger. Two of them, and the time they take, are within the ten seconds that we promise."""

ADOPT_SECONDS: Final = 60.0
"""Between two tries to read the runs of other keys; each run is tried once, unless the provider cannot be reached."""

MAX_ADOPTED: Final = 100
"""How many of them are tried in a row."""

UNSAVED_SECONDS: Final = 2 * 24 * 3600.0
"""For how long an output is tried whose link has expired by our clock; longer than any clock is wrong by its zone."""


class OrphanWatch:
    """Finds the runs of dead processes. Runs of living ones are left to them."""

    def __init__(
        self,
        inheritor: RunInheritor,
        accounts: Sequence[Account],
        ledger: Ledger,
        clock: Clock,
        *,
        should_save: bool,
        is_alive: Callable[[str], bool],
        batches: Batches | None = None,
    ) -> None:
        """Prepare; `is_alive` tells whether a process of this home lives."""
        self._is_alive = is_alive
        self._batches = batches
        self._should_save = should_save
        self._inheritor = inheritor
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock

    async def keep_watch(self) -> NoReturn:
        """Take over what dead processes left, now and every few seconds."""
        await self._repeat(self.take_over, WATCH_SECONDS)

    async def keep_adopting(self) -> NoReturn:
        """Try to read the runs of keys that are no longer configured, now and every minute."""
        await self._repeat(self.adopt, ADOPT_SECONDS)

    async def take_over(self) -> None:
        """Take over the live runs of dead processes, and those whose outputs nobody saves any more.

        Raises:
            LedgerError: The ledger cannot be read or written.
        """
        dead = [one for one in await self._ledger.get_calling_processes() if not self._is_alive(one)]
        if dead:
            await self._ledger.forget_calls_of(dead)
        now = self._clock.now()
        for account in self._accounts:
            live = await self._ledger.get_live_runs(account_id=account.id)
            await self._take_over_all(live)
            since = now - UNSAVED_SECONDS
            if self._should_save:
                await self._take_over_all(
                    await self._ledger.get_unsaved_runs(account_id=account.id, now=now, since=since)
                )

    async def adopt(self) -> None:
        """Let the present key try the runs of other keys of the same provider and host.

        Raises:
            LedgerError: The ledger cannot be read or written.
        """
        for account in self._accounts:
            stranded = await self._ledger.get_stranded_runs(
                scope=account.scope, account_id=account.id, limit=MAX_ADOPTED
            )
            await self._take_over_all(stranded)

    async def _take_over_all(self, runs: Sequence[Run]) -> None:
        # Batches first: a row that is refused tells its batch.
        for run in sorted(runs, key=lambda one: not one.is_batch):
            if not run.is_batch:
                await self._inheritor.take_over(run)
            elif self._batches is not None:
                await self._batches.take_up(run)

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_seconds: float) -> NoReturn:
        problem = ""
        while True:
            try:
                await work()
                problem = ""
            except (LedgerError, RunNotFound) as exc:
                # Once for each kind of trouble: a full disk stays full for hours.
                if str(exc) != problem:
                    logger.warning("what other processes left cannot be taken over just now: %s", exc)
                problem = str(exc)
            await self._clock.sleep(pause_seconds)
