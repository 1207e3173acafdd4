"""A real PostgreSQL for tests: the server programs of this system, in a folder of its own, reached by a socket."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from tests.support.patience import PATIENCE_SECONDS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from local_postgres import MISSING, UNSYNCED, PostgresServer, find_programs, get_user, run_postgres

__all__ = [
    "MISSING",
    "PostgresServer",
    "create_migrated",
    "dump_database",
    "empty_database",
    "find_programs",
    "get_user",
    "open_postgres",
    "wait_for_locks",
]

TEMPLATE = "flowport_template"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

_EMPTY = """
DO $$
DECLARE name text;
BEGIN
    PERFORM set_config('session_replication_role', 'replica', true);
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migrations' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
        PERFORM setval(quote_ident(name)::regclass, 1, false);
    END LOOP;
END
$$
"""


@contextmanager
def open_postgres(*, is_synced: bool = False) -> Iterator[PostgresServer]:
    """Start a server of its own, and end it on the way out; the test is skipped where there is no PostgreSQL.

    Args:
        is_synced: Whether commits wait for the disk; what only tests behaviour need not.
    """
    if find_programs() is None:
        pytest.skip(MISSING)
    with (
        tempfile.TemporaryDirectory(prefix="flowport-pg-", ignore_cleanup_errors=True) as folder,
        run_postgres(Path(folder), settings=() if is_synced else UNSYNCED) as server,
    ):
        yield server


def create_template(server: PostgresServer) -> None:
    """Make the database that those of tests are copies of, with our tables.

    Its language sorts otherwise than bytes do, like that of most databases.
    """
    server.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")

    async def prepare() -> None:
        """Migrate it."""
        database = Database(server.get_url(TEMPLATE), prepare=migrate)
        await database.open()
        await database.close()

    anyio.run(prepare)


def create_migrated(server: PostgresServer) -> str:
    """Return the address of a new database with our tables."""
    return server.create_database(TEMPLATE)


def empty_database(url: str) -> None:
    """Delete all rows of our tables and begin their numbers at 1 again, for the next test that gets the database."""
    with psycopg.connect(url) as connection:
        connection.execute(_EMPTY)


def dump_database(url: str) -> bytes:
    """Return all rows of all tables of a database, as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        queries = [sql.SQL("SELECT one::text FROM {} AS one").format(sql.Identifier(name)) for (name,) in tables]
        rows = [row[0] for query in queries for row in connection.execute(query)]
    return "\n".join(rows).encode()


async def wait_for_locks(connection: psycopg.Connection[TupleRow], count: int) -> None:
    """Wait until so many statements of the database wait for locks."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while connection.execute(_WAITING).fetchone() != (count,):  # noqa: ASYNC110 - the database has no event for it
            await anyio.sleep(0.01)
