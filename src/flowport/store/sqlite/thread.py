"""The thread that owns a store's connection.

Theory of operation: a caller hands over a whole operation, a function of the connection, and awaits its result. The
thread takes everything that waits at that moment. The writes among it become one transaction, so that many callers
share one sync of the disk; then the reads share a snapshot. All of them were asked for side by side, so their order
is undefined. Savepoints are only made when an operation fails; those beside it are then performed a second time.

Reads have a connection and a thread of their own where one is given: SQLite lets them read while another process, or
our own write, holds the file. A read sees the writes that were asked for before it, unless one of them takes long. Each
write has its own deadline, counted from when it was asked for: the waits of several writes for a held file do not add up.

A cancelled await cannot leave a transaction open, which would lock out every other process. A disk that is full fails the
writes but not the reads beside them.
"""

import asyncio
import contextlib
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Final, Protocol, TypeAlias, TypeVar

from flowport.domain.errors import StoreError
from flowport.store.sqlite.errors import build_closed_error, build_store_error, is_busy, is_damage
from flowport.store.sqlite.operations import FileIdentity

MAX_GROUP_JOBS: Final = 256
"""How many operations may wait for one commit; a bound on how long the first of them waits."""

_DEADLINE_SLACK_SECONDS: Final = 0.25
"""Writes whose deadlines are this close give up together."""

GRACE_SECONDS: Final = 0.25
"""How long a read waits for the writes that were asked for before it; one that takes longer waits for another process."""

_TIMEOUT_STEP_MS: Final = 100
"""The busy timeout is rounded up to this, so that it is set for few groups."""

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]
"""A whole operation; it begins and ends no transaction itself, and changes nothing but the database."""


class Isolation(Enum):
    """How an operation is performed."""

    WRITE = "in a transaction, with others"
    READ = "from a snapshot, with others"
    ALONE = "in no transaction"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an operation ended; the error wins."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A caller in an event loop that awaits an outcome."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, outcome: _Outcome) -> None:
        """Deliver the outcome, in the waiter's own loop."""
        if self.future.done():  # the await was cancelled
            return
        if outcome.error is not None:
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome.value)


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    isolation: Isolation
    waiter: _Waiter
    give_up_at: float
    """When a write stops waiting for other processes, by the monotonic clock."""


def _deliver(outcomes: Iterable[tuple[_Waiter, _Outcome]]) -> None:
    """Deliver outcomes from the store's thread, all of a loop at once: waking a loop is most of the cost."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiter, _Outcome]]] = {}
    for waiter, outcome in outcomes:
        by_loop.setdefault(waiter.loop, []).append((waiter, outcome))
    for loop, outcomes_there in by_loop.items():
        # A closed loop raises RuntimeError: then no caller waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, outcomes_there)


def _settle_all(outcomes: list[tuple[_Waiter, _Outcome]]) -> None:
    for waiter, outcome in outcomes:
        waiter.settle(outcome)


class Worker(Protocol):
    """What performs the operations of a store."""

    damage: StoreError | None
    """What was found wrong with the file; None as long as nothing was."""

    @property
    def commits(self) -> int:
        """How many write transactions were committed."""

    def find_loss(self) -> StoreError | None:
        """Return what is wrong when the open file is no longer the one at its path."""

    async def write(self, work: Work[T], *, patience_seconds: float | None = None) -> T:
        """Return what the operation returned, once its changes are on disk."""

    async def read(self, work: Work[T]) -> T:
        """Return what the operation returned, from one snapshot."""

    async def perform_alone(self, work: Work[T]) -> T:
        """Return what came of what SQLite does in no transaction."""

    async def close(self) -> None:
        """Perform what was queued, then close the file."""


class ConnectionThread:
    """A connection, its queue, and the thread that alone uses it."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Guards those below, and that nothing is queued behind the None that ends the thread.
        self._lock = threading.Lock()
        self._is_closing = False
        self._predecessor: ConnectionThread | None = None
        self.ended = threading.Event()
        self._closers: list[_Waiter] = []
        self._timeout_ms = -1
        self.commits = 0
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def put(self, job: _Job) -> None:
        """Queue a job; raises `StoreError` once the thread is to end."""
        with self._lock:
            if self._is_closing:
                raise build_closed_error()
            self._jobs.put(job)

    def close(self, after: "ConnectionThread | None" = None) -> Awaitable[None]:
        """Let the thread perform what was queued and end, as `after` has by then; return what waits for that."""
        waiter = _Waiter()
        with self._lock:
            if self.ended.is_set():
                waiter.future.set_result(None)
            else:
                self._closers.append(waiter)
                if not self._is_closing:
                    self._is_closing = True
                    self._predecessor = after
                    self._jobs.put(None)
        return waiter.future

    def _serve(self) -> None:
        while jobs := self._take_jobs():
            self.write_group([job for job in jobs if job.isolation is Isolation.WRITE])
            self._read_group([job for job in jobs if job.isolation is Isolation.READ])
            for job in jobs:
                if job.isolation is Isolation.ALONE:
                    self._wait_until(job.give_up_at)
                    _deliver([(job.waiter, _attempt(job.work, self._connection))])
        if self._predecessor is not None:
            self._predecessor.ended.wait()
        self._connection.close()
        with self._lock:
            self.ended.set()
        _deliver((waiter, _Outcome()) for waiter in self._closers)

    def _take_jobs(self) -> list[_Job]:
        """Wait for one job and take those that wait behind it; nothing when the worker is to end."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == MAX_GROUP_JOBS or self._jobs.empty():
                return jobs
            job = self._jobs.get()
        if jobs:
            self._jobs.put(None)  # the end, to be found again when these are done
        return jobs

    def write_group(self, jobs: list[_Job]) -> None:
        """Perform writes in one transaction; while another process holds the file each of them waits its own time."""
        while jobs:
            self._wait_until(min(job.give_up_at for job in jobs))
            group = _attempt(partial(_write_together, [job.work for job in jobs]), self._connection)
            if group.error is None:
                self.commits += 1
                _deliver(zip((job.waiter for job in jobs), group.value, strict=True))
                return
            limit = time.monotonic() + _DEADLINE_SLACK_SECONDS
            patient = [job for job in jobs if job.give_up_at > limit] if is_busy(group.error) else []
            _deliver((job.waiter, group) for job in jobs if job not in patient)
            jobs = patient

    def _wait_until(self, give_up_at: float) -> None:
        """Let SQLite wait for other processes until then."""
        remaining_ms = max(0.0, give_up_at - time.monotonic()) * 1000
        timeout_ms = math.ceil(remaining_ms / _TIMEOUT_STEP_MS) * _TIMEOUT_STEP_MS
        if timeout_ms != self._timeout_ms:
            self._connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
            self._timeout_ms = timeout_ms

    def _read_group(self, jobs: list[_Job]) -> None:
        """Perform reads on one snapshot."""
        if not jobs:
            return
        begun = _attempt(_begin_reading, self._connection)
        _deliver((job.waiter, _attempt(job.work, self._connection) if begun.error is None else begun) for job in jobs)
        _abandon(self._connection)


class StoreWorker:
    """One connection, or one for writes and one for reads, each with the thread that alone uses it until `close`."""

    thread_type: ClassVar[type[ConnectionThread]] = ConnectionThread
    """What performs the writes; a benchmark slows it down."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        reader: sqlite3.Connection | None = None,
        *,
        busy_seconds: float | None = None,
    ) -> None:
        """Start the threads.

        Args:
            connection: Performs everything.
            reader: Performs the reads instead; None leaves them to `connection`.
            busy_seconds: How long a write waits for other processes; None for as long as the connection does.
        """
        self._identity = FileIdentity.read(connection)
        timeout_ms = connection.execute("PRAGMA busy_timeout").fetchone()[0]
        self._busy_seconds = timeout_ms / 1000 if busy_seconds is None else busy_seconds
        self._writes: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._main = self.thread_type(connection, "flowport-store")
        self._reader = self._main if reader is None else ConnectionThread(reader, "flowport-store-reads")
        self.damage: StoreError | None = None
        """What an operation or a check has found wrong with the file; None as long as nothing was."""

    @property
    def commits(self) -> int:
        """How many write transactions were committed; fewer than writes when they come side by side."""
        return self._main.commits

    def find_loss(self) -> StoreError | None:
        """Return what is wrong when the open file is no longer the one at its path."""
        return self._identity.find_loss()

    async def write(self, work: Work[T], *, patience_seconds: float | None = None) -> T:
        """Return what the operation returned, once its changes are on disk.

        Args:
            work: The operation.
            patience_seconds: How long it waits for other processes; None for as long as the connection does.

        Raises:
            StoreError: SQLite failed, or the worker is closed; nothing was changed.
            Exception: Whatever the operation raised; nothing was changed.
        """
        return await self._perform(work, Isolation.WRITE, patience_seconds)

    async def read(self, work: Work[T]) -> T:
        """Return what the operation returned, from one snapshot; what it might change is undone.

        Raises:
            StoreError: SQLite failed, or the worker is closed.
            Exception: Whatever the operation raised.
        """
        if self._reader is not self._main:
            await self._let_writes_pass()
        return await self._perform(work, Isolation.READ)

    async def perform_alone(self, work: Work[T]) -> T:
        """Return what came of what SQLite does in no transaction; other writes wait until it is done.

        Raises:
            StoreError: SQLite failed, or the worker is closed.
            Exception: Whatever the operation raised.
        """
        return await self._perform(work, Isolation.ALONE)

    async def close(self) -> None:
        """Perform what was queued, then close the connections; a second call waits for the same end."""
        # Both are asked to close before either is awaited, so that nothing is taken after the call. SQLite removes the journal at the
        # last close; two connections that close at the same time each see the other, and the journal stays.
        reader = None if self._reader is self._main else self._reader
        ends = [*([] if reader is None else [reader.close()]), self._main.close(after=reader)]
        await asyncio.gather(*ends)

    async def _let_writes_pass(self) -> None:
        """Wait for the writes that were asked for before, unless they take long."""
        self._forget_writes()
        if not self._writes:
            return
        asked_at, last = self._writes[0][0], self._writes[-1][1]
        remaining_seconds = asked_at + GRACE_SECONDS - time.monotonic()
        if remaining_seconds > 0 and last.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([last], timeout=remaining_seconds)

    def _forget_writes(self) -> None:
        while self._writes and self._writes[0][1].done():
            self._writes.popleft()

    async def _perform(self, work: Work[T], isolation: Isolation, patience_seconds: float | None = None) -> T:
        patience = self._busy_seconds if patience_seconds is None else min(patience_seconds, self._busy_seconds)
        job = _Job(work, isolation, waiter := _Waiter(), time.monotonic() + patience)
        (self._reader if isolation is Isolation.READ else self._main).put(job)
        if isolation is not Isolation.READ:
            self._forget_writes()
            self._writes.append((time.monotonic(), waiter.future))
        try:
            result: T = await waiter.future
        except sqlite3.Error as exc:
            problem = build_store_error(exc)
            if is_damage(exc):
                self.damage = problem
            raise problem from exc
        return result


def _attempt(work: Work[Any], connection: sqlite3.Connection) -> _Outcome:
    try:
        return _Outcome(value=work(connection))
    except Exception as exc:  # noqa: BLE001 - nothing is swallowed: it is raised again where the operation is awaited
        return _Outcome(error=exc)


def _write_together(works: list[Work[Any]], connection: sqlite3.Connection) -> list[_Outcome]:
    # A transaction that begins as a reader cannot wait for its turn to write: SQLite fails it at once.
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = _write_all(works, connection)
        connection.execute("COMMIT")
    finally:
        _abandon(connection)
    return outcomes


def _write_all(works: list[Work[Any]], connection: sqlite3.Connection) -> list[_Outcome]:
    """Perform the operations, as a rule without savepoints, which are two thirds of the statements of a group."""
    outcomes: list[_Outcome] = []
    for work in works:
        outcomes.append(_attempt(work, connection))
        if outcomes[-1].error is not None:
            break
    else:
        return outcomes
    # One has failed: its changes must go and those of the others stay, so all are performed again.
    _abandon(connection)
    connection.execute("BEGIN IMMEDIATE")
    return [_write_in_savepoint(work, connection) for work in works]


def _write_in_savepoint(work: Work[Any], connection: sqlite3.Connection) -> _Outcome:
    connection.execute("SAVEPOINT operation")
    outcome = _attempt(work, connection)
    if outcome.error is not None:
        # After some errors (disk full, I/O) SQLite itself undoes the transaction, and the others' work with it.
        if not connection.in_transaction:
            raise outcome.error
        connection.execute("ROLLBACK TO operation")
    connection.execute("RELEASE operation")
    return outcome


def _begin_reading(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")


def _abandon(connection: sqlite3.Connection) -> None:
    """Undo the transaction that is open, if one is."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
