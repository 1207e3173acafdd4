"""What replicas report to each other: news, over one connection that listens, and what was used once.

A notification is only a hint. While the connection is away nothing is delivered, so after it was made again the runs are
read whose `changed_number` is newer than what was known. A transaction takes its numbers before it commits: a smaller one
may become visible after a larger one that was seen. The query therefore begins at the number of the look before the last one,
and reports some changes twice. A transaction that stays open for longer than two looks is found by those who wait for its
run, who look at the store by themselves. What concerns no record (`ANNOUNCED`, `BEGUN`, `UNWANTED`, `LISTED`) is not repeated:
the next poll, or the next look at the catalogue's file, finds the same later.
"""

import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import anyio
import psycopg

from flowport.domain.errors import StoreError
from flowport.store.cluster import News, NewsKind
from flowport.store.postgres.database import Database
from flowport.store.postgres.transaction import NEWS_CHANNEL, Connection, Transaction, build_options

logger = logging.getLogger(__name__)
# The line that ends a warning must not be missing in the log.
logger.setLevel(logging.INFO)

LOOK_SECONDS: Final = 5.0
"""Between two looks whether the connection still answers, each of which notes the newest change."""

CONNECT_SECONDS: Final = 5
"""How long a connection may take to be made, and a look to be answered."""

PAUSE_SECONDS: Final = 0.2
"""Between two attempts to connect."""

MAX_CAUGHT_UP: Final = 1_000
"""Runs that are reported one by one after a reconnect; above that everything may have changed."""


class PostgresNews:
    """The news of one process."""

    def __init__(self, database: Database, *, look_seconds: float = LOOK_SECONDS) -> None:
        """Prepare; nothing is connected."""
        self._database = database
        self._look_seconds = look_seconds
        self._listeners: list[Callable[[News], None]] = []
        self._points: deque[tuple[float, int]] = deque(maxlen=2)
        """When the last looks were, and the newest change as of then, the older one first; empty before the first one."""
        self.is_connected = False

    def subscribe(self, listener: Callable[[News], None]) -> None:
        """Call a listener with all news from now on, those of this process included."""
        self._listeners.append(listener)

    async def post(self, news: News) -> None:
        """Send news that no write of the store sends.

        Raises:
            StoreError: The database cannot be reached.
        """
        fields = build_fields(news)

        async def send(transaction: Transaction) -> None:
            transaction.post(fields)

        await self._database.write(send)

    async def keep_listening(self) -> NoReturn:
        """Receive news, over one connection that is made again when it is lost."""
        while True:
            try:
                await self._database.open()
                async with self._connect() as connection:
                    await self._listen(connection)
            except (psycopg.Error, OSError, TimeoutError, StoreError) as exc:
                if self.is_connected:
                    logger.warning("news of other processes are not received just now: %s", type(exc).__name__)
            finally:
                self.is_connected = False
            await anyio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Connection]:
        connection: Connection = await psycopg.AsyncConnection.connect(
            self._database.url,
            autocommit=True,
            application_name="flowport news",
            **{**build_options(self._database.url), "connect_timeout": CONNECT_SECONDS},
        )
        try:
            yield connection
        finally:
            # A lost connection has nothing to say any more.
            with anyio.CancelScope(shield=True):
                await connection.close()

    async def _listen(self, connection: Connection) -> NoReturn:
        await connection.execute(f"LISTEN {NEWS_CHANNEL}")
        await self._catch_up(connection)
        await self._note_point(connection)
        if not self.is_connected:
            logger.info("news of other processes are received")
        self.is_connected = True
        while True:
            async for notification in connection.notifies(timeout=self._look_seconds):
                if (news := parse_news(notification.payload, self._database.origin)) is not None:
                    self._report(news)
            with anyio.fail_after(CONNECT_SECONDS):
                await self._note_point(connection)

    async def _note_point(self, connection: Connection) -> None:
        """Note the newest change; looks that follow each other closely, after a reconnect, count as one."""
        number, now = await _get_number(connection), time.monotonic()
        if not self._points or now - self._points[-1][0] >= self._look_seconds:
            self._points.append((now, number))

    async def _catch_up(self, connection: Connection) -> None:
        """Report what has changed since the last connection."""
        if not self._points:
            return
        since = self._points[0][1]
        cursor = await connection.execute(
            "SELECT id, owner, batch_id, account_id FROM runs WHERE changed_number >= %s ORDER BY changed_number LIMIT %s",
            (since, MAX_CAUGHT_UP + 1),
        )
        changed = await cursor.fetchall()
        if len(changed) > MAX_CAUGHT_UP:
            self._report(News(NewsKind.MISSED))
            return
        for run_id, owner, batch_id, account_id in changed:
            self._report(News(NewsKind.CHANGED, run_id, owner, batch_id, account_id))

    def _report(self, news: News) -> None:
        for listener in self._listeners:
            try:
                listener(news)
            except Exception:  # the boundary of a listener: a bug of one takes the news from no other
                logger.exception("a listener could not take news")


async def _get_number(connection: Connection) -> int:
    cursor = await connection.execute("SELECT last_value FROM changes")
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


def build_fields(news: News) -> Mapping[str, str]:
    """Return the fields of news by name, without the empty ones."""
    fields = {
        "kind": news.kind.value,
        "run_id": news.run_id,
        "owner": news.owner,
        "batch_id": news.batch_id,
        "account_id": news.account_id,
        "text": news.text,
    }
    return {name: value for name, value in fields.items() if value}


def parse_news(payload: str, origin: str) -> News | None:
    """Return the news of a notification; None for what this version does not know."""
    try:
        fields: Any = json.loads(payload)
        kind = NewsKind(fields.pop("kind"))
        is_own = fields.pop("from", "") == origin
        known = {name: str(fields.get(name, "")) for name in ("run_id", "owner", "batch_id", "account_id", "text")}
    except (ValueError, KeyError, AttributeError, TypeError):
        logger.debug("a notification is not known to this version")
        return None
    return News(kind, **known, is_own=is_own, goes_on="goes_on" in fields)


class PostgresMarks:
    """What was used, or counts no longer, until it expires anyway."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(self, mark: str, *, expires_at: float, now: float) -> bool:
        """Return whether this is the first use; marks that expired before now are forgotten.

        Raises:
            StoreError: The database cannot be reached.
        """

        async def use_once(transaction: Transaction) -> bool:
            await transaction.execute("DELETE FROM used_marks WHERE expires_at < %s", (now,))
            cursor = await transaction.execute(
                "INSERT INTO used_marks (mark, expires_at) VALUES (%s, %s) ON CONFLICT DO NOTHING", (mark, expires_at)
            )
            return cursor.rowcount == 1

        return await self._database.write(use_once)

    async def is_used(self, mark: str) -> bool:
        """Return whether it was used.

        Raises:
            StoreError: The database cannot be reached.
        """

        async def find(transaction: Transaction) -> bool:
            cursor = await transaction.execute("SELECT 1 FROM used_marks WHERE mark = %s", (mark,))
            return await cursor.fetchone() is not None

        return await self._database.look_up(find)
