"""A database whose clock a test sets: connections find `clock_timestamp` in a schema of the test's before the server's own."""

from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.postgres import PostgresServer, create_migrated

ORIGIN: Final = 1_800_000_000.0
"""Where its clock begins, as that of `FakeClock`."""


class VirtualDatabase:
    """A database with a clock that stands still unless it is set; it is read from a file, so every process sees it."""

    def __init__(self, server: PostgresServer) -> None:
        self.url = create_migrated(server)
        self.origin = ORIGIN
        self.now = ORIGIN
        self._server = server
        self._name = str(conninfo_to_dict(self.url)["dbname"])
        # Where the server may read: the test's own folder belongs to another user.
        self._file = Path(server.folder) / f"{self._name}.clock"
        self.set(ORIGIN)
        self.execute("CREATE SCHEMA virtual")
        self.execute(
            "CREATE FUNCTION virtual.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"$$ SELECT to_timestamp(pg_read_file('{self._file}')::float8) $$"
        )
        self.execute(f"ALTER DATABASE {self._name} SET search_path = virtual, public, pg_catalog")

    def set(self, now: float) -> None:
        """Set its clock."""
        self.now = now
        following = self._file.with_suffix(".next")
        following.write_text(repr(now), encoding="ascii")
        following.chmod(0o644)
        following.replace(self._file)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Execute a statement in it, and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
