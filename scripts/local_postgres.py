"""Run a PostgreSQL of its own from the system's server programs: in a folder, reached by a socket alone."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

MISSING: Final = "PostgreSQL's server programs are not installed here (Debian: apt-get install postgresql)"
UNSYNCED: Final = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""Settings of a server whose data need not outlive the machine's power."""

END_SECONDS: Final = 60


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


class PostgresServer:
    """A server in a folder, whose path is short: that of a socket has at most 107 characters."""

    def __init__(self, programs: Path, folder: Path, *, settings: Sequence[str] = ()) -> None:
        """Prepare; nothing is started.

        Args:
            settings: Further settings of the server, as `name=value`.
        """
        self.programs = programs
        self.folder = folder
        self._settings = settings
        self._databases = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / "log.txt"

    def get_url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://flowport@/{database}?host={self.folder}"

    def start(self) -> None:
        """Make its files if they are missing, start it, and wait until it answers.

        Raises:
            RuntimeError: It ended instead; the message has its log.
        """
        data = self.folder / "data"
        if (user := get_user()) is not None:
            shutil.chown(self.folder, user)
        if not data.exists():
            kind = ("--auth=trust", "--username=flowport", "--encoding=UTF8", "--locale=C", "--no-sync")
            command = [str(self.programs / "initdb"), *kind, "--pgdata", str(data)]
            subprocess.run(command, check=True, capture_output=True, user=user, cwd=self.folder)
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=200"]
        options = [part for one in (*settings, *self._settings) for part in ("-c", one)]
        with self.log.open("ab") as log:
            # A group of its own: Ctrl-C is for the program that ends it.
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", data, *options],
                stdout=log,
                stderr=log,
                user=user,
                cwd=self.folder,
                start_new_session=True,
            )
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text(encoding='utf-8')}")
            try:
                psycopg.connect(self.get_url("postgres")).close()
            except psycopg.OperationalError:
                continue
            return

    def stop(self, *, is_at_once: bool = False) -> None:
        """End it: every connection is cut, and what is committed stays; at once as by a crash."""
        if self.process is not None:
            self.process.send_signal(getattr(signal, "SIGQUIT", signal.SIGTERM) if is_at_once else signal.SIGINT)
            self.process.wait(END_SECONDS)
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

    def ensure_database(self, name: str) -> str:
        """Make a database unless it exists, and return its address."""
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608 - our own words
            self.execute(f"CREATE DATABASE {name}")
        return self.get_url(name)

    def create_database(self, template: str = "template0") -> str:
        """Make a new database, and return its address."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.get_url(name)


@contextmanager
def run_postgres(folder: Path, *, settings: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """Run a server in a folder, and end it on the way out.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    programs = find_programs()
    if programs is None:
        raise FileNotFoundError(MISSING)
    server = PostgresServer(programs, folder, settings=settings)
    server.start()
    try:
        yield server
    finally:
        server.stop(is_at_once=True)
