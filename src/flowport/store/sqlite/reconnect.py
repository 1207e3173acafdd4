"""A store whose file cannot be written to: read where that is possible, and used again once it is repaired.

A full disk, missing rights, damage, a file of a newer version: every operation that needs to write reports why it
cannot, so no run is started that could be forgotten. Nothing here changes the file.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import anyio.to_thread

from flowport.domain.errors import StoreError
from flowport.store.sqlite.connection import BUSY_SECONDS
from flowport.store.sqlite.errors import build_closed_error, build_store_error
from flowport.store.sqlite.schema import check_readable
from flowport.store.sqlite.store import SqliteStore, open_worker
from flowport.store.sqlite.thread import StoreWorker, T, Work

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""Between two attempts to open the file for writing; they are only made when an operation is asked for."""

FIRST_BUSY_SECONDS: Final = 3.0
"""How long the first opening waits for another process: a client waits for its greeting meanwhile."""

REOPEN_BUSY_SECONDS: Final = 1.0
"""How long such a try waits for another process: reads wait for it too."""

Open: TypeAlias = Callable[[], StoreWorker]


def open_store(path: Path, *, retry_seconds: float = RETRY_SECONDS, busy_seconds: float = BUSY_SECONDS) -> SqliteStore:
    """Open the store at a path as well as it can be; see `open_sqlite_store`. Raises nothing.

    Args:
        retry_seconds: How soon after a failed attempt another is made.
        busy_seconds: How long each write waits for another process; the opening waits three seconds at most.
    """
    try:
        first_wait_seconds = min(FIRST_BUSY_SECONDS, busy_seconds)
        return SqliteStore(open_worker(path, busy_seconds=busy_seconds, wait_seconds=first_wait_seconds))
    except StoreError as exc:
        reopen = partial(open_worker, path, busy_seconds=busy_seconds, wait_seconds=REOPEN_BUSY_SECONDS)
        return _open_reconnecting_store(path, exc, reopen, retry_seconds)


def open_refusing_store(path: Path, problem: StoreError) -> SqliteStore:
    """Open the store at a path for reading alone, for good."""
    return _open_reconnecting_store(path, problem, None, RETRY_SECONDS)


def _open_reconnecting_store(path: Path, problem: StoreError, reopen: Open | None, retry_seconds: float) -> SqliteStore:
    logger.error("%s", problem)
    return SqliteStore(ReconnectingThread(problem, path, reopen, retry_seconds=retry_seconds))


class ReconnectingThread:
    """Stands in for a `StoreWorker` whose file cannot be opened, and passes operations on to one as soon as it can."""

    def __init__(self, problem: StoreError, path: Path, reopen: Open | None, *, retry_seconds: float) -> None:
        """Begin with a file that could not be opened for writing just now.

        Args:
            problem: Why not.
            reopen: Opens the file for writing, or raises `StoreError`; None when that is never to be tried.
        """
        self._problem = problem
        self._path = path
        self._reopen = reopen
        self._retry_seconds = retry_seconds
        self._current = _open_reader(path)
        self._is_reconnected = False
        self._is_closed = False
        self._tried_at = time.monotonic()
        self._opening = anyio.Lock()

    @property
    def damage(self) -> StoreError | None:
        """What was found wrong with the file since it can be written to; before, each operation says why it cannot."""
        return self._current.damage if self._current is not None and self._is_reconnected else None

    @damage.setter
    def damage(self, damage: StoreError | None) -> None:
        if self._current is not None:
            self._current.damage = damage

    @property
    def commits(self) -> int:
        """How many write transactions were committed."""
        return self._current.commits if self._current is not None else 0

    def find_loss(self) -> StoreError | None:
        """Return what is wrong when the file that can be written to by now is no longer the one at its path."""
        return self._current.find_loss() if self._current is not None and self._is_reconnected else None

    async def write(self, work: Work[T], *, patience_seconds: float | None = None) -> T:
        """Return what the operation returned, if the file can be written to by now."""
        return await (await self._get_writer()).write(work, patience_seconds=patience_seconds)

    async def perform_alone(self, work: Work[T]) -> T:
        """Return what came of it, if the file can be written to by now."""
        return await (await self._get_writer()).perform_alone(work)

    async def read(self, work: Work[T]) -> T:
        """Return what the operation returned, from the file as it can be read."""
        await self._try_to_reconnect()
        if self._current is None:
            raise self._problem
        return await self._current.read(work)

    async def close(self) -> None:
        """Close what is open."""
        async with self._opening:
            self._is_closed = True
        if self._current is not None:
            await self._current.close()

    async def _get_writer(self) -> StoreWorker:
        await self._try_to_reconnect()
        if self._current is None or not self._is_reconnected:
            raise self._problem
        return self._current

    async def _try_to_reconnect(self) -> None:
        async with self._opening:
            if self._is_closed:
                raise build_closed_error()
            if self._is_reconnected or self._reopen is None:
                return
            if time.monotonic() - self._tried_at >= self._retry_seconds:
                await self._reconnect(self._reopen)
                self._tried_at = time.monotonic()

    async def _reconnect(self, reopen: Open) -> None:
        # First, because SQLite shares what a process has open of a file, and with it that it is for reading alone.
        if self._current is not None:
            await self._current.close()
        try:
            # On a thread: it may have to wait for another process.
            self._current = await anyio.to_thread.run_sync(reopen)
        except StoreError as exc:
            self._problem = exc
            self._current = _open_reader(self._path)
        else:
            self._is_reconnected = True
            logger.info("the record of runs can be used again")


def _open_reader(path: Path) -> StoreWorker | None:
    """Return what can read the file and cannot change it; None when nothing can."""
    # A file without a journal is not in use. Read as immutable it needs no lock files, which could not be created, or
    # would be left behind with rights that hinder the repair.
    has_journal = os.path.lexists(path.with_name(f"{path.name}-wal"))
    option = "mode=ro" if has_journal else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{option}", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as exc:
        logger.info("it cannot be read either: %s", build_store_error(exc).problem)
        return None
    try:
        connection.row_factory = sqlite3.Row
        check_readable(connection)
    except sqlite3.Error as exc:
        problem = build_store_error(exc).problem
    except StoreError as exc:
        problem = exc.problem
    else:
        return StoreWorker(connection)
    connection.close()
    logger.info("it cannot be read either: %s", problem)
    return None
