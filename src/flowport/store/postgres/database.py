"""Connections to the database: a pool, transactions whose outcome is certain, and errors as sentences.

A commit whose answer is lost with its connection may have happened. Each transaction that writes therefore knows its own
number, and the next connection asks the database what became of it (`pg_xact_status`). Only then is the work repeated or
its result returned: a start that was recorded is never taken for one that was not.
"""

import contextlib
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio
import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.rows import TupleRow
from psycopg.types.string import StrDumperUnknown
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from flowport.domain.errors import StoreError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 5.0
"""How long an operation waits for a database that cannot be reached, before it fails."""

RETRY_SECONDS: Final = 0.1
"""Between two attempts to reach it."""

NEWS_CHANNEL: Final = "flowport_news"
"""Where transactions report what they changed, see `store.postgres.news`."""

MAX_NEWS_BYTES: Final = 7_900
"""Of one notification; PostgreSQL takes fewer than 8,000."""

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
Values: TypeAlias = Sequence[Any] | Mapping[str, Any]


class _CleanText(StrDumperUnknown):
    """Any text, as a database takes it: half of a surrogate pair and a zero character are replaced, and nothing is lost."""

    def dump(self, obj: str) -> bytes:
        return obj.replace("\0", "\ufffd").encode(errors="replace")


_ADAPTERS: Final = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_dumper(str, _CleanText)


class Transaction:
    """A transaction that writes, or what is read in one."""

    def __init__(self, connection: Connection, origin: str = "") -> None:
        self.connection = connection
        """For what only a connection can do; `flush` comes before its use."""
        self._queued: list[tuple[str, Values]] = []
        self._origin = origin
        self._news: list[str] = []

    def send(self, statement: str, values: Values = ()) -> None:
        """Have a statement executed whose result is not needed: with the next one that is executed, in one round trip."""
        self._queued.append((statement, values))

    async def execute(self, statement: str, values: Values = ()) -> psycopg.AsyncCursor[TupleRow]:
        """Execute one statement, made of our own words, after those that were sent, and return its cursor."""
        if not self._queued:
            return await self.connection.execute(statement, values)
        async with self.connection.pipeline():
            await self._execute_queued()
            cursor = await self.connection.execute(statement, values)
        return cursor  # noqa: RET504 - it has its rows once the block has ended

    async def flush(self) -> None:
        """Execute what was sent."""
        if self._queued:
            async with self.connection.pipeline():
                await self._execute_queued()

    async def _execute_queued(self) -> None:
        queued, self._queued = self._queued, []
        for statement, values in queued:
            await self.connection.execute(statement, values)

    def post(self, news: Mapping[str, str]) -> None:
        """Report a change to every replica once this is committed."""
        self._news.append(format_news({**news, "from": self._origin}))

    def send_news(self) -> None:
        """Send the news with the statements that wait."""
        if self._news:
            news, self._news = self._news, []
            self.send("SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload", (NEWS_CHANNEL, news))


Work: TypeAlias = Callable[[Transaction], Awaitable[T]]
"""A whole operation. It may be performed more than once, and changes nothing but the database."""


@dataclass(slots=True)
class _Attempt(Generic[T]):
    """One attempt to commit a transaction."""

    number: str = ""
    """The transaction's own number, once it may have been committed."""
    result: T | None = None

    async def perform(self, connection: Connection, work: "Work[T]", origin: str) -> None:
        """Do the work and commit it, or undo it."""
        transaction = Transaction(connection, origin)
        try:
            async with connection.pipeline():
                await connection.execute("BEGIN")
                cursor = await connection.execute("SELECT pg_current_xact_id()::text")
            row = await cursor.fetchone()
            self.result = await work(transaction)
            transaction.send_news()
            transaction.send("COMMIT")
            self.number = "" if row is None else str(row[0])
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
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=max_connections,
            timeout=patience_seconds,
            kwargs={"autocommit": True, "application_name": "flowport", "context": _ADAPTERS},
            open=False,
        )

    async def open(self) -> None:
        """Connect, and bring the tables up to date; a second call does nothing.

        Raises:
            StoreError: The database cannot be reached, or is not ours to use.
        """
        if self._is_ready:
            return
        async with self._opening:
            if self._is_closed:
                raise _build_closed_error()
            if self._is_ready:
                return
            await self.pool.open()
            if self._prepare is not None:
                async with self._connect(time.monotonic() + self._patience_seconds) as connection:
                    await self._prepare(connection)
            self._is_ready = True

    async def close(self) -> None:
        """Close every connection; later operations raise `StoreError`."""
        self._is_closed = True
        self._is_ready = False
        await self.pool.close()

    async def read(self, work: Work[T]) -> T:
        """Perform an operation that only reads, in one snapshot.

        Raises:
            StoreError: The database cannot be reached, or refuses.
        """

        async def perform(connection: Connection) -> T:
            async with connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return await work(Transaction(connection))

        return await self._repeat(perform)

    async def look_up(self, work: Work[T]) -> T:
        """Perform an operation that reads with one statement; it needs no transaction.

        Raises:
            StoreError: The database cannot be reached, or refuses.
        """

        async def perform(connection: Connection) -> T:
            return await work(Transaction(connection))

        return await self._repeat(perform)

    async def write(self, work: Work[T]) -> T:
        """Perform an operation in a transaction, and return its result once it is committed.

        A caller that is cancelled meanwhile loses the result alone.

        Raises:
            StoreError: The database cannot be reached, or refuses; nothing was changed.
        """
        with anyio.CancelScope(shield=True):
            result = await self._write(work)
        return result  # noqa: RET504 - the type checker takes the scope for one that may swallow errors

    async def _write(self, work: Work[T]) -> T:
        await self.open()
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            attempt = _Attempt[T]()
            try:
                async with self._connect(give_up_at) as connection:
                    await attempt.perform(connection, work, self.origin)
            except psycopg.OperationalError as exc:
                if not attempt.number or not await self._was_committed(attempt.number, give_up_at):
                    if time.monotonic() >= give_up_at:
                        raise build_error(exc) from exc
                    await anyio.sleep(RETRY_SECONDS)
                    continue
            except psycopg.Error as exc:
                raise build_error(exc) from exc
            return cast("T", attempt.result)

    async def _was_committed(self, number: str, give_up_at: float) -> bool:
        """Return what became of a transaction whose connection was lost while it was committed.

        Raises:
            StoreError: The database could not be asked in time. It may have been committed.
        """
        while True:
            try:
                async with self._connect(give_up_at) as connection:
                    cursor = await connection.execute("SELECT pg_xact_status(%s::xid8)", (number,))
                    row = await cursor.fetchone()
                    if row is not None and row[0] != "in progress":
                        return bool(row[0] == "committed")
            except psycopg.OperationalError as exc:
                logger.info(
                    "the database was not there to say whether a transaction was committed: %s", type(exc).__name__
                )
            if time.monotonic() >= give_up_at:
                raise build_unreachable_error()
            await anyio.sleep(RETRY_SECONDS)

    async def _repeat(self, perform: Callable[[Connection], Awaitable[T]]) -> T:
        """Perform something that only reads, again if its connection was lost."""
        await self.open()
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            try:
                async with self._connect(give_up_at) as connection:
                    return await perform(connection)
            except psycopg.OperationalError as exc:
                if time.monotonic() >= give_up_at:
                    raise build_error(exc) from exc
                await anyio.sleep(RETRY_SECONDS)
            except psycopg.Error as exc:
                raise build_error(exc) from exc

    @contextlib.asynccontextmanager
    async def _connect(self, give_up_at: float) -> AsyncIterator[Connection]:
        """Give a connection of the pool.

        Raises:
            StoreError: None can be made in time.
        """
        try:
            async with self.pool.connection(timeout=max(0.05, give_up_at - time.monotonic())) as connection:
                yield connection
        except PoolTimeout as exc:
            raise build_unreachable_error() from exc
        except PoolClosed as exc:
            raise _build_closed_error() from exc


def format_news(news: Mapping[str, str]) -> str:
    """Return news as the text of a notification; what makes it too long is left out, a text first and then the owner."""
    fields = {name: value for name, value in news.items() if value}
    text = json.dumps(fields)
    for name in ("text", "owner"):
        if len(text) > MAX_NEWS_BYTES and fields.pop(name, None) is not None:
            text = json.dumps(fields)
    return text


def build_unreachable_error() -> StoreError:
    """Return the sentence for a database that does not answer."""
    return StoreError(
        "the database cannot be reached",
        "Flowport tries again by itself; ask again in a moment, or check the database.",
    )


def build_error(error: psycopg.Error) -> StoreError:
    """Return the sentence for an error of the database; its text may hold values and is left to the log."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return build_unreachable_error()
    if isinstance(error, psycopg.IntegrityError):
        return StoreError(
            "a new record contradicts an earlier one",
            "Try again; if it happens again, report it as a fault of Flowport.",
        )
    logger.warning("the database has refused an operation (%s): %s", error.sqlstate, type(error).__name__)
    code = f"{type(error).__name__}, {error.sqlstate}" if error.sqlstate else type(error).__name__
    return StoreError(f"the database has refused an operation ({code})", "Its log has the details.")


def _build_closed_error() -> StoreError:
    return StoreError("it was closed because Flowport is stopping", "Start Flowport again.")
