"""Know a connection pooler that gives the sessions of the server to transactions and not to connections.

Locks, settings and the channels that are listened to belong to a session, and behind such a pooler they are lost between two
statements (pgbouncer/pgbouncer#655). It does not name itself, so two connections that are open at the same time ask for their
sessions: connections without a pooler, or with one in session mode, have one each and keep it. What differs is proof; a busy
pooler may go unnoticed.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import psycopg

from flowport.store.postgres.problems import build_pooler_error
from flowport.store.postgres.transaction import Connection, build_options

logger = logging.getLogger(__name__)

COMPARE_SECONDS: Final = 2.0
"""A pooler without a free session lets a connection wait for minutes."""

ROUNDS: Final = 4
"""How often both connections ask. A pooler usually gives the session that was used last, and may just be opening more."""

Session: TypeAlias = tuple[Any, ...]

ASK_SESSION: Final = "SELECT pid, backend_start FROM pg_stat_get_activity(pg_backend_pid())"
"""Process ids alone may be equal on two servers of one address."""


async def check_sessions(connection: Connection, url: str) -> None:
    """Refuse an address behind which connections do not keep their sessions.

    Raises:
        StoreError: They certainly do not.
    """
    first, second = set[Session](), set[Session]()
    try:
        async with asyncio.timeout(COMPARE_SECONDS):
            await _compare(connection, url, first, second)
    except (psycopg.Error, TimeoutError) as exc:
        # There may be no connection left.
        logger.debug("the sessions of connections were not compared: %s", type(exc).__name__)
    if are_shared(first, second):
        raise build_pooler_error()


async def _compare(connection: Connection, url: str, first: set[Session], second: set[Session]) -> None:
    """Add the sessions of a connection and of another one."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, **build_options(url)) as other:
        for _ in range(ROUNDS):
            first.add(await _ask(connection))
            second.add(await _ask(other))
            if are_shared(first, second):
                return
        # While it holds a session, a pooler has another one for the first connection.
        async with other.transaction():
            second.add(await _ask(other))
            first.add(await _ask(connection))


async def _ask(connection: Connection) -> Session:
    row = await (await connection.execute(ASK_SESSION)).fetchone()
    return row or ()


def are_shared(first: Iterable[Session], second: Iterable[Session]) -> bool:
    """Return whether one of two connections has changed its session, or both were given the same one. Pure."""
    return len({*first}) > 1 or len({*second}) > 1 or not {*first}.isdisjoint(second)
