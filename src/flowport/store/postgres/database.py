"""Connections to the database: a pool, transactions whose outcome is certain, and errors as sentences.

A commit whose answer is lost with its connection may have happened. Each transaction that writes therefore leaves a number
of its own in the table `commits`, and the next connection looks whether it is there. Only then is the work repeated or its
result returned: a start that was recorded is never taken for one that was not. (`pg_xact_status` is not enough: a server
that has crashed gives the numbers of transactions that it has lost to others.)
"""

import asyncio
import contextlib
import itertools
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import anyio
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from flowport.domain.errors import StoreError
from flowport.store.postgres.problems import (
    build_closed_error,
    build_error,
    build_refusal,
    build_unreachable_error,
)
from flowport.store.postgres.sessions import check_sessions
from flowport.store.postgres.transaction import (
    ADAPTERS,
    ASK_MARK,
    FORGET_MARKS,
    MARK,
    ON_CONNECTING,
    Connection,
    Transaction,
    Work,
    build_options,
)

logger = logging.getLogger(__name__)
# Their warnings name addresses and users; what they warn of becomes an error of ours, or is tried again.
logging.getLogger("psycopg").setLevel(logging.ERROR)

PATIENCE_SECONDS: Final = 5.0
"""How long an operation waits for a database that cannot be reached, before it fails."""

CONNECT_SECONDS: Final = 2
"""How long the one attempt may take that says why there is no connection."""

RETRY_SECONDS: Final = 0.1
"""Between two attempts to reach it."""

T = TypeVar("T")


async def _configure(connection: Connection) -> None:
    await connection.execute(ON_CONNECTING)


@dataclass(slots=True)
class _Attempt(Generic[T]):
    """One attempt to commit a transaction."""

    slot: str
    number: int
    """Of this process, never used again."""
    is_sent: bool = False
    """Whether the transaction may have been committed."""
    result: T | None = None

    async def perform(self, connection: Connection, work: "Work[T]", origin: str) -> None:
        """Do the work and commit it, or undo it."""
        transaction = Transaction(connection, origin)
        transaction.send("BEGIN")
        mark = transaction.send(MARK, (self.slot, self.number))
        try:
            self.result = await work(transaction)
            # The mark is made before the commit is sent: while that may still happen, its row is locked.
            if mark.cursor is None:
                await transaction.flush()
            transaction.send_news()
            transaction.send("COMMIT")
            self.is_sent = True
            await transaction.flush()
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                await connection.execute("ROLLBACK")
            raise


class Database:
    """The pool of one process. It is opened with the first operation."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 10,
        patience_seconds: float = PATIENCE_SECONDS,
        prepare: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            url: The address, with its password; it is in no log and no error.
            patience_seconds: How long an operation waits for a database that cannot be reached.
            prepare: Brings the tables up to date, with the first connection.
        """
        self.url = url
        self.origin = secrets.token_hex(8)
        """Of the news of this process, which it receives like those of others."""
        self._patience_seconds = patience_seconds
        self._prepare = prepare
        self._opening = anyio.Lock()
        self._is_ready = False
        self._is_closed = False
        self._writes = set[asyncio.Task[Any]]()
        self._turns = anyio.Semaphore(max_connections)
        self._turns_in_line = anyio.Semaphore(max(1, max_connections // 3))
        self._free_slots = [f"{self.origin}:{n}" for n in range(max_connections)]
        self._numbers = itertools.count(1)
        self._answered_at = -math.inf
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=max_connections,
            timeout=patience_seconds,
            # Then it begins with short pauses again, so that a database that comes back is found soon.
            reconnect_timeout=patience_seconds,
            kwargs={**build_options(url), "autocommit": True, "application_name": "flowport", "context": ADAPTERS},
            configure=_configure,
            open=False,
        )

    async def open(self) -> None:
        """Connect, and bring the tables up to date; a second call does nothing.

        Raises:
            StoreError: The database cannot be reached, or is not ours to use.
        """
        self._check_open()
        await self._open()

    async def _open(self) -> None:
        if self._is_ready:
            return
        async with self._opening:
            if self._is_ready:
                return
            await self.pool.open()

            async def prepare(connection: Connection) -> None:
                if self._prepare is not None:
                    await check_sessions(connection, self.url)
                    await self._prepare(connection)
                    await connection.execute(FORGET_MARKS)

            try:
                await self._repeat(prepare)
            except StoreError as exc:
                if isinstance(exc.__cause__, PoolTimeout):
                    await self._explain()
                raise
            self._is_ready = True

    async def _explain(self) -> None:
        """Say why there is no connection at all, which the pool does not.

        Raises:
            StoreError: The database refuses it.
        """
        try:
            connection = await psycopg.AsyncConnection.connect(self.url, connect_timeout=CONNECT_SECONDS)
        except psycopg.Error as exc:
            raise build_refusal(exc) from exc
        else:
            await connection.close()

    async def close(self) -> None:
        """Finish the writes, and close every connection; later operations raise `StoreError`."""
        self._is_closed = True
        if self._writes:
            await asyncio.wait(self._writes)
        self._is_ready = False
        await self.pool.close()

    async def read(self, work: Work[T]) -> T:
        """Perform an operation that only reads, in one snapshot.

        Raises:
            StoreError: The database cannot be reached, or refuses.
        """

        async def perform(connection: Connection) -> T:
            transaction = Transaction(connection)
            transaction.send("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return await work(transaction)
            finally:
                with contextlib.suppress(psycopg.Error):
                    await connection.execute("ROLLBACK")

        return await self._read(perform)

    async def look_up(self, work: Work[T], *, is_urgent: bool = False) -> T:
        """Perform an operation that reads with one statement; it needs no transaction.

        Args:
            is_urgent: Whether it goes before what waits for a connection, and has the next one that is free.

        Raises:
            StoreError: The database cannot be reached, or refuses.
        """

        async def perform(connection: Connection) -> T:
            return await work(Transaction(connection))

        return await self._read(perform, is_urgent=is_urgent)

    async def _read(self, perform: Callable[[Connection], Awaitable[T]], *, is_urgent: bool = False) -> T:
        await self.open()
        async with contextlib.nullcontext() if is_urgent else self._take_turn(self._turns):
            return await self._repeat(perform)

    async def write(self, work: Work[T], *, is_in_line: bool = False) -> T:
        """Perform an operation in a transaction, and return its result once it is committed.

        A caller that is cancelled meanwhile loses the result alone.

        Args:
            is_in_line: Whether such operations wait for each other in the database; few of them then hold a connection.

        Raises:
            StoreError: The database cannot be reached, or refuses; nothing was changed.
        """
        return await asyncio.shield(self.start(lambda: self._write(work, is_in_line=is_in_line)))

    async def change(self, work: Callable[[Transaction, bool], Awaitable[T]]) -> T:
        """Perform statements that commit by themselves, together, and return the result of the work.

        Args:
            work: Receives whether it was performed before and its answer was lost; it must change nothing a second time. A statement
                of the first time that is still on its way meets the same records.

        Raises:
            StoreError: The database cannot be reached, or refuses. While it cannot be reached, something may have been changed.
        """
        attempts = itertools.count()

        async def perform(connection: Connection) -> T:
            return await work(Transaction(connection), next(attempts) > 0)

        await self._open()
        async with self._take_turn(self._turns):
            return await self._repeat(perform)

    def start(self, write: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start a write, which goes on when its caller is cancelled, and which `close` waits for.

        Raises:
            StoreError: The database was closed.
        """
        self._check_open()
        task = asyncio.ensure_future(write())
        self._writes.add(task)
        task.add_done_callback(self._end_write)
        return task

    def draw_key(self) -> str:
        """Return what no other change of any process is known by."""
        return f"{self.origin}:{next(self._numbers)}"

    def _end_write(self, task: "asyncio.Task[Any]") -> None:
        self._writes.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), StoreError):
            logger.debug("a write has failed: %s", error)

    async def _write(self, work: Work[T], *, is_in_line: bool) -> T:
        await self._open()
        async with contextlib.AsyncExitStack() as stack:
            if is_in_line:
                await stack.enter_async_context(self._take_turn(self._turns_in_line))
            await stack.enter_async_context(self._take_turn(self._turns))
            slot = self._free_slots.pop()
            stack.callback(self._free_slots.append, slot)
            return await self._commit(work, slot)

    async def _commit(self, work: Work[T], slot: str) -> T:
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            attempt = _Attempt[T](slot, next(self._numbers))
            try:
                async with self._connect(give_up_at) as connection:
                    await attempt.perform(connection, work, self.origin)
            except psycopg.Error as exc:
                if not _is_passing(exc):
                    raise build_error(exc) from exc
                if not attempt.is_sent or not await self._was_committed(attempt, give_up_at):
                    if time.monotonic() >= give_up_at:
                        raise build_error(exc) from exc
                    await anyio.sleep(RETRY_SECONDS)
                    continue
            return cast("T", attempt.result)

    async def _was_committed(self, attempt: _Attempt[T], give_up_at: float) -> bool:
        """Return what became of a transaction whose connection was lost while it was committed.

        Raises:
            StoreError: The database could not be asked in time. It may have been committed.
        """
        while True:
            try:
                async with self._connect(give_up_at) as connection, connection.transaction():
                    await connection.execute("SET LOCAL lock_timeout = '1s'")
                    # The lost transaction holds the lock of this row until it has ended.
                    cursor = await connection.execute(ASK_MARK, (attempt.slot,))
                    row = await cursor.fetchone()
                    return row is not None and row[0] == attempt.number
            except psycopg.OperationalError as exc:
                logger.info("whether a transaction was committed could not be asked yet: %s", type(exc).__name__)
            if time.monotonic() >= give_up_at:
                raise build_unreachable_error()
            await anyio.sleep(RETRY_SECONDS)

    async def _repeat(self, perform: Callable[[Connection], Awaitable[T]]) -> T:
        """Perform something that may be done twice, again if its connection was lost."""
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            try:
                async with self._connect(give_up_at) as connection:
                    return await perform(connection)
            except psycopg.Error as exc:
                if not _is_passing(exc) or time.monotonic() >= give_up_at:
                    raise build_error(exc) from exc
                await anyio.sleep(RETRY_SECONDS)

    def _check_open(self) -> None:
        if self._is_closed:
            raise build_closed_error()

    @contextlib.asynccontextmanager
    async def _take_turn(self, turns: anyio.Semaphore) -> AsyncIterator[None]:
        """Wait until a connection is free, however many wait, as long as the database answers others.

        Raises:
            StoreError: It does not.
        """
        while True:
            with anyio.move_on_after(self._patience_seconds):
                await turns.acquire()
                break
            if time.monotonic() - self._answered_at > self._patience_seconds:
                raise build_unreachable_error()
        try:
            yield
        finally:
            turns.release()

    @contextlib.asynccontextmanager
    async def _connect(self, give_up_at: float) -> AsyncIterator[Connection]:
        """Give a connection of the pool.

        Raises:
            StoreError: None can be made in time.
        """
        try:
            async with self.pool.connection(timeout=max(0.05, give_up_at - time.monotonic())) as connection:
                yield connection
                self._answered_at = time.monotonic()
        except PoolTimeout as exc:
            raise build_unreachable_error() from exc
        except PoolClosed as exc:
            raise build_closed_error() from exc


def _is_passing(error: psycopg.Error) -> bool:
    """Return whether an operation may succeed when it is repeated: its connection was lost, or it lost a conflict."""
    return isinstance(error, psycopg.OperationalError | psycopg.errors.IdleInTransactionSessionTimeout)
