"""A database that is slow, or a process with much to write: the process still shows that it lives."""

from collections.abc import AsyncIterator

import anyio
import pytest

from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.transaction import Transaction
from flowport.store.postgres.workers import PostgresWorkers
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import PostgresServer
from tests.support.scripted import wait_until

pytestmark = pytest.mark.anyio
CONNECTIONS = 2


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """Open a database with few connections."""
    database = Database(postgres.create_database(), prepare=migrate, max_connections=CONNECTIONS)
    await database.open()
    yield database
    await database.close()


async def test_a_heartbeat_waits_for_no_writes_in_line(database: Database) -> None:
    """Otherwise a process with hundreds of slow writes counts as dead, and its runs are taken from it."""
    held = [anyio.Event() for _ in range(CONNECTIONS * 5)]
    begun: list[int] = []
    has_beaten = anyio.Event()
    workers = PostgresWorkers(database, kind="replica", version="1")

    async def write(number: int) -> None:
        """Write slowly."""

        async def hold(_transaction: Transaction) -> None:
            """Hold a connection."""
            begun.append(number)
            await held[number].wait()

        await database.write(hold)

    async def beat() -> None:
        """Note when it is done."""
        await workers.beat()
        has_beaten.set()

    async with anyio.create_task_group() as tasks:
        try:
            for number in range(len(held)):
                tasks.start_soon(write, number)
            await wait_until(lambda: len(begun) == CONNECTIONS)
            tasks.start_soon(beat)
            await wait_until(lambda: database.pool.get_stats().get("requests_waiting") == 1)
            held[begun[0]].set()
            with anyio.fail_after(PATIENCE_SECONDS):
                await has_beaten.wait()
        finally:
            for event in held:
                event.set()


@pytest.mark.parametrize("given", ["", "&connect_timeout=9&tcp_user_timeout=0"])
async def test_a_connection_that_a_router_has_forgotten_is_noticed(postgres: PostgresServer, given: str) -> None:
    """By itself a system waits for a quarter of an hour, and the pool would be empty meanwhile; an address may say otherwise."""
    url = postgres.create_database()
    database = Database(url + given)
    found: list[dict[str, str]] = []

    async def look(transaction: Transaction) -> None:
        """Keep the options of the connection."""
        found.append(transaction.connection.info.get_parameters())

    await database.look_up(look)
    await database.close()
    options = {name: found[0].get(name) for name in ("connect_timeout", "tcp_user_timeout", "keepalives_idle")}
    assert options == (
        {"connect_timeout": "9", "tcp_user_timeout": "0", "keepalives_idle": "3"}
        if given
        else {"connect_timeout": "5", "tcp_user_timeout": "6000", "keepalives_idle": "3"}
    )
