"""Runs, files and settings of a sandbox in one SQLite database, in a folder or in memory. Nothing is synced to the disk."""

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

DATABASE_NAME: Final = "sandbox.sqlite3"
VERSION: Final = 1
_SCHEMA: Final = f"""
CREATE TABLE runs (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, status TEXT NOT NULL, accepted_at REAL NOT NULL, started_at REAL,
    completed_at REAL, error_message TEXT, inputs TEXT NOT NULL
);
CREATE TABLE files (
    id TEXT PRIMARY KEY, run_id TEXT, kind TEXT NOT NULL, tool TEXT NOT NULL, mime_type TEXT NOT NULL, width INTEGER,
    height INTEGER, duration_seconds REAL, created_at REAL NOT NULL, link_expires_at INTEGER NOT NULL, content BLOB
);
CREATE INDEX files_of_runs ON files (run_id);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = {VERSION};
"""


class Storage:
    """The database. One process at a time may open a folder; all use is on one thread."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open the database of a folder, which is made if it is missing; None keeps all in memory. Raises `OSError`.

        A file that is damaged or of another version is renamed, never deleted; `problem` then says so.
        """
        self.problem = ""
        if folder is None:
            self._connection = _open(":memory:")
        else:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / DATABASE_NAME
            try:
                self._connection = _open_file(path)
            except sqlite3.DatabaseError as exc:
                reason = str(exc) if isinstance(exc, _OtherVersionError) else "is damaged"
                self.problem = f"the sandbox's stored state {reason}; it was kept as {_set_aside(path).name}"
                self._connection = _open_file(path)
        self._secret = bytes.fromhex(self.get_setting("secret") or self.set_setting("secret", secrets.token_hex(32)))

    def read(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        return self._connection.execute(query, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Make several changes in one transaction; raises `OSError` when the disk does not take them."""
        try:
            with self._connection:
                yield self._connection
        except sqlite3.OperationalError as exc:
            raise OSError(0, str(exc)) from exc

    def get_setting(self, name: str) -> str:
        """Return a setting; empty when it does not exist."""
        rows = self.read("SELECT value FROM settings WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def set_setting(self, name: str, value: str) -> str:
        """Write a setting and return it; raises `OSError`."""
        with self.write() as changes:
            changes.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
        return value

    def sign(self, text: str) -> str:
        """Return the signature of a text; the same one as long as the database lives."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class _OtherVersionError(sqlite3.DatabaseError):
    """The database is of another version."""


def _open_file(path: Path) -> sqlite3.Connection:
    # Only its owner may read it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return _open(str(path))


def _open(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name)
    try:
        connection.row_factory = sqlite3.Row
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA auto_vacuum = FULL;")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, VERSION}:
            raise _OtherVersionError(f"is of version {version}, and this Flowport reads version {VERSION}")
        if version == 0:
            connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        elif connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError  # noqa: TRY301 - as the driver itself does when it sees the damage
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _set_aside(path: Path) -> Path:
    """Rename a file that cannot be used; an earlier one that was set aside is not replaced."""
    for n in range(1, 1000):
        target = path.with_name(f"{path.stem}.unreadable-{n}{path.suffix}")
        if not target.exists():
            return path.rename(target)
    raise OSError(0, f"{path.name} was set aside too often")
