"""A real PostgreSQL for tests: the server programs of this system, in a folder of its own, reached by a socket."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from local_postgres import MISSING, UNSYNCED, PostgresServer, find_programs, run_postgres

from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate

__all__ = ["MISSING", "PostgresServer", "create_template", "find_programs", "open_postgres"]

TEMPLATE = "flowport_template"


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
    """Make the database that those of tests are copied from, with all tables.

    Its language sorts otherwise than bytes do, as that of most databases.
    """
    server.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")

    async def create_tables() -> None:
        database = Database(server.get_url(TEMPLATE), prepare=migrate)
        try:
            await database.open()
        finally:
            await database.close()

    asyncio.run(create_tables())
