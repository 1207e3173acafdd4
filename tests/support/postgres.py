"""A real PostgreSQL for tests: the server programs of this system, in a folder of its own, reached by a socket."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import pytest

MISSING: Final = "PostgreSQL's server programs are not installed here (Debian: apt-get install postgresql)"


def find_programs() -> Path | None:
    """Return the folder with `initdb` and `postgres`; None where they are not installed."""
    folders = [Path(found).resolve().parent for name in ("postgres", "initdb") if (found := shutil.which(name))]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "postgres").exists() and (one / "initdb").exists()), None)


def get_user() -> str | None:
    """Return whom the server runs as: it refuses to run as root. None for the user of this process."""
    if sys.platform == "win32":
        return None
    return "postgres" if os.geteuid() == 0 else None


@dataclass
class PostgresServer:
    """A server in a folder."""

    programs: Path
    folder: Path
    is_synced: bool
    """Whether commits wait for the disk; what only tests behaviour need not."""
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    def get_url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://flowport@/{database}?host={self.folder}"

    def create_files(self) -> None:
        """Make the server's folder."""
        if (user := get_user()) is not None:
            shutil.chown(self.folder, user)
        subprocess.run(
            [
                self.programs / "initdb",
                *("--auth=trust", "--username=flowport", "--encoding=UTF8", "--locale=C", "--no-sync"),
                *("--pgdata", self.folder / "data"),
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd=self.folder,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=200"]
        settings += [] if self.is_synced else ["fsync=off", "full_page_writes=off", "synchronous_commit=off"]
        options = [part for one in settings for part in ("-c", one)]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *options],
                stdout=log,
                stderr=log,
                user=get_user(),
                cwd=self.folder,
            )
        while True:
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()
            try:
                psycopg.connect(self.get_url("postgres")).close()
            except psycopg.OperationalError:
                continue
            return

    def stop(self, *, is_at_once: bool = False) -> None:
        """End it: every connection is cut, and what is committed stays; at once as by a crash."""
        if self.process is not None:
            self.process.send_signal(3 if is_at_once else 2)
            self.process.wait(60)
            self.process = None

    def restart(self, *, is_at_once: bool = False) -> None:
        """End it and start it again."""
        self.stop(is_at_once=is_at_once)
        self.start()

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute a statement as an administrator, and return its rows."""
        with psycopg.connect(self.get_url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, template: str = "template0") -> str:
        """Make a database of its own for a test, and return its address."""
        self.databases += 1
        name = f"test_{self.databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.get_url(name)


@contextmanager
def open_postgres(*, is_synced: bool = False) -> Iterator[PostgresServer]:
    """Start a server of its own, and end it on the way out; the test is skipped where there is no PostgreSQL."""
    programs = find_programs()
    if programs is None:
        pytest.skip(MISSING)
    # The path of a socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="flowport-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(programs, Path(folder), is_synced)
        server.create_files()
        server.start()
        try:
            yield server
        finally:
            server.stop(is_at_once=True)
