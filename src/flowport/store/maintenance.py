"""Check the store for damage and prune old runs that were delivered, once a day; and the state of its file."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import anyio.to_thread

from flowport.domain.access_tokens import TokenState
from flowport.domain.errors import StoreError
from flowport.domain.spending import PERIOD_SECONDS, SpendingLimits, get_caps
from flowport.runtime.clock import Clock
from flowport.store.interface import Store
from flowport.store.records import History

logger = logging.getLogger(__name__)

DAY_SECONDS: Final = 24 * 3600.0
"""The interval between two rounds; runs are kept at least this long, because they count as spent within a day."""


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The state of a store's file, as someone finds it who only reads."""

    layout: int | None = None
    """None where there is no file, or it cannot be read; 0 when it is empty."""
    is_older: bool = False
    """Whether an older Flowport wrote it: the next start sets it aside."""
    problem: StoreError | None = None
    """Why it cannot be read, or what is damaged."""
    is_writable: bool = True
    history: History | None = None
    """What the local owner has in it; None unless it can be read."""
    people: int = 0
    """The other owners of runs."""
    people_history: History | None = None
    """What they have in it together; None unless it can be read."""


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """The state of a team's database, as someone finds it who only reads."""

    problem: StoreError | None = None
    """Why it cannot be read."""
    reason: str = ""
    """What the driver says of it, which may name addresses and users."""
    version: int = 0
    """Of the server, as 150004 for 15.4."""
    max_connections: int = 0
    """Of all its clients, without those of administrators."""
    connections: int = 0
    """Those that are open."""
    is_read_only: bool = False
    can_create: bool = True
    """Whether tables can be created, as a migration does."""
    forbidden: int = 0
    """Tables that our user may not read or write."""
    ahead_seconds: float = 0.0
    """How far the clock of this computer is ahead of the database's, at least."""
    pending: int = 0
    """Migrations that the next start makes."""
    newer: int = 0
    """Migrations of a newer Flowport."""
    runs: int | None = None
    """None where the tables cannot be read."""
    live: int = 0
    unknown: int = 0
    processes: int = 0
    """Replicas and workers that are alive."""
    workers: int = 0
    waiting: int = 0
    """Jobs that are due."""
    oldest_seconds: float = 0.0
    """How long the oldest of them has waited."""
    homes: int = 0
    """How many different folders the processes that are alive use; all of them should use the same."""
    is_home_known: bool = True
    """Whether one of them uses the folders that the settings here name."""

    def add(self, **more: Any) -> "DatabaseHealth":
        """Return it with what else was found."""
        return replace(self, **more)


RemoveFiles: TypeAlias = Callable[[Sequence[str]], None]
"""Removes the saved files of runs that are on record no longer, as far as these files are to leave with their runs.
Called on a thread."""


async def keep_up(
    store: Store,
    clock: Clock,
    *,
    keep_days: int,
    spending_limits: SpendingLimits | None = None,
    remove_files: RemoveFiles | None = None,
) -> None:
    """Check and prune the store now and every day. Never returns.

    Every process of a home does it: what another has pruned costs nothing to look for.

    Args:
        keep_days: How long runs that are over and seen are kept; 0 keeps them forever.
        spending_limits: Those of the settings: while a cap per month is set, here or by a token, its runs are kept.
    """
    while True:
        try:
            # First, so that nothing is written into a file that is damaged.
            await store.check()
            if keep_days:
                counted_seconds = await _find_counted_seconds(store, clock, spending_limits)
                await _prune(store, clock, max(keep_days * DAY_SECONDS, counted_seconds), remove_files)
        except StoreError as exc:
            logger.error("the record of runs was not looked after, which is tried again tomorrow: %s", exc)  # noqa: TRY400 - the sentence says all
        await clock.sleep(DAY_SECONDS)


async def _find_counted_seconds(store: Store, clock: Clock, spending_limits: SpendingLimits | None) -> float:
    """Return how long a run counts for a cap that is set; what counts must be on record."""
    tokens = [one for one in await store.get_tokens() if one.get_state(clock.now()) is TokenState.VALID]
    every = [spending_limits, *(one.spending_limits for one in tokens)]
    caps = {cap for limits in every if limits is not None for cap in get_caps(limits)}
    return max((PERIOD_SECONDS[cap.period] for cap in caps), default=0.0)


async def _prune(store: Store, clock: Clock, kept_seconds: float, remove_files: RemoveFiles | None) -> None:
    boot = clock.boot_time()
    boot_before = boot.subtract(kept_seconds) if boot else None
    pruned = await store.prune(before=clock.now() - kept_seconds, boot_before=boot_before)
    if pruned.runs:
        logger.info("old runs were pruned from the record: %d", pruned.runs)
    if remove_files is not None and pruned.saved_paths:
        await anyio.to_thread.run_sync(remove_files, pruned.saved_paths)
