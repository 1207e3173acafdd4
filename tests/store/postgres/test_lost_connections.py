"""Transactions whose connection or server is lost, and those of a process that stands still."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.transaction import Transaction
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import PostgresServer, open_postgres
from tests.support.postgres_proxy import open_proxy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[PostgresServer]:
    """Run a server of its own, which a test may crash; its commits wait for the disk."""
    with open_postgres(is_synced=True) as server:
        yield server


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Give a folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="flowport-proxy-") as folder:
        yield Path(folder)


async def open_notes(url: str) -> Database:
    """Return a database with a table for what the tests write."""
    database = Database(url, prepare=migrate, patience_seconds=60.0)
    await database.open()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text text NOT NULL)")
    return database


def read_notes(url: str) -> list[str]:
    """Return what was written."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [str(row[0]) for row in connection.execute("SELECT text FROM notes ORDER BY text").fetchall()]


async def test_a_write_that_a_crash_has_undone_is_repeated(server: PostgresServer) -> None:
    """The server gives the number of the lost transaction to the next one, whose commit must not be taken for it."""
    url = server.create_database()
    database = await open_notes(url)
    attempts = 0

    def crash() -> None:
        """Crash the server, and have others write before the lost transaction is looked for."""
        server.restart(is_at_once=True)
        with psycopg.connect(url, autocommit=True) as connection:
            for number in range(20):
                connection.execute("INSERT INTO notes VALUES (%s)", (f"other {number}",))

    async def write(transaction: Transaction) -> str:
        """Write, and lose the server before the commit."""
        nonlocal attempts
        attempts += 1
        await transaction.execute("INSERT INTO notes VALUES ('ours')")
        if attempts == 1:
            await anyio.to_thread.run_sync(crash)
        return f"attempt {attempts}"

    assert await database.write(write) == "attempt 2"
    assert read_notes(url).count("ours") == 1
    await database.close()


async def test_a_commit_whose_answer_is_lost_is_not_repeated(server: PostgresServer) -> None:
    """The database is asked what became of it, and the result of the first attempt is returned."""
    url = server.create_database()
    database = await open_notes(url)
    attempts = 0

    async def write(transaction: Transaction) -> str:
        """Write and commit, and lose the connection before the answer."""
        nonlocal attempts
        attempts += 1
        await transaction.execute("INSERT INTO notes VALUES ('ours')")
        process_id = transaction.connection.info.backend_pid
        await transaction.connection.execute("COMMIT")
        server.execute(f"SELECT pg_terminate_backend({process_id})")
        return f"attempt {attempts}"

    assert await database.write(write) == "attempt 1"
    assert read_notes(url) == ["ours"]
    await database.close()


async def test_a_commit_that_goes_on_after_its_connection_is_waited_for(
    server: PostgresServer, short_folder: Path
) -> None:
    """Also the first one of a process, whose mark no other transaction can see yet."""
    url = server.create_database()
    await (await open_notes(url)).close()
    attempts = 0
    with psycopg.connect(url, autocommit=True) as watcher:
        watcher.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END'"
        )
        watcher.execute(
            "CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        watcher.execute("SELECT pg_advisory_lock(1)")

        async def wait_for_waiting(count: int) -> None:
            """Wait until so many transactions wait for another one."""
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            with anyio.fail_after(PATIENCE_SECONDS):
                while watcher.execute(waiting).fetchone() != (count,):  # noqa: ASYNC110 - the server has no event for us
                    await anyio.sleep(0.01)

        async def write(transaction: Transaction) -> str:
            """Write once."""
            nonlocal attempts
            attempts += 1
            await transaction.execute("INSERT INTO notes VALUES ('ours')")
            return f"attempt {attempts}"

        returned: list[str] = []
        async with open_proxy(server, short_folder) as proxy:
            database = Database(proxy.get_url(str(conninfo_to_dict(url)["dbname"])), patience_seconds=30.0)

            async def keep() -> None:
                """Keep what the write returned."""
                returned.append(await database.write(write))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep)
                await wait_for_waiting(1)
                for task in tuple(proxy.tasks):
                    task.cancel()
                await wait_for_waiting(2)
                watcher.execute("SELECT pg_advisory_unlock(1)")
            await database.close()
    assert returned == ["attempt 1"]
    assert read_notes(url) == ["ours"]


async def test_a_process_that_stands_still_holds_no_lock_for_long(server: PostgresServer) -> None:
    """The transaction of a paused process is undone, so that others go on; it is repeated when the process goes on."""
    url = server.create_database()
    paused, other = await open_notes(url), await open_notes(url)
    has_lock, is_done, attempts = anyio.Event(), anyio.Event(), 0
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO notes VALUES ('')")

    async def stand_still(transaction: Transaction) -> None:
        """Stand still between two statements, once."""
        nonlocal attempts
        attempts += 1
        cursor = await transaction.execute("SHOW idle_in_transaction_session_timeout")
        assert await cursor.fetchone() != ("0",)
        await transaction.execute("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
        await transaction.execute("UPDATE notes SET text = text || 'paused '")
        has_lock.set()
        await is_done.wait()

    async def go_on(transaction: Transaction) -> None:
        """Write the same row."""
        await transaction.execute("UPDATE notes SET text = text || 'other '")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paused.write, stand_still)
        await has_lock.wait()
        await other.write(go_on)
        is_done.set()
    assert read_notes(url) == ["other paused "]
    assert attempts == 2
    await paused.close()
    await other.close()
