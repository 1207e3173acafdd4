"""Opening the store's file: its rights, its connection's settings, and what must not be opened."""

import itertools
import logging
import os
import random
import sqlite3
import stat
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final

from flowport.domain.errors import StoreError
from flowport.store.rows import build_value
from flowport.store.sqlite.errors import (
    SENTENCES,
    build_damage_error,
    build_readonly_error,
    build_store_error,
    is_busy,
    is_damage,
)
from flowport.store.sqlite.operations import FileIdentity
from flowport.store.sqlite.schema import LAYOUT, create_tables, get_layout, is_store

logger = logging.getLogger(__name__)

STORE_NAME: Final = "store.sqlite3"
"""The file's name in FLOWPORT_HOME."""

FORMER_NAME: Final = "ledger.sqlite3"
"""The file's name before layout 10. A file of this name is renamed like one of an older layout."""

BUSY_SECONDS: Final = 10.0
"""How long a transaction waits for another process before it gives up."""

_RETRY_SECONDS: Final = 0.01
"""Pause between two tries at what SQLite's own busy handler does not wait for."""


def has_store(path: Path) -> bool:
    """Return whether there is a store at a path, or one of its former name beside it. Nothing is created."""
    return path.exists() or _is_former(path.with_name(FORMER_NAME))


def _is_former(path: Path) -> bool:
    """Return whether a file of the former name is a store; one that is in use by an older Flowport is."""
    # An empty file is not opened: SQLite would delete the journal beside it.
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        with closing(_connect(path, 0, mode="ro")) as connection:
            return is_store(connection)
    except sqlite3.Error as exc:
        return is_busy(exc)


def open_connection(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Return a connection to the store at a path, proved to be writable. A file of an older layout or name is renamed.

    Raises:
        StoreError: The file cannot be read or written, is damaged, is not a store, or is too new.
    """
    give_up_at = time.monotonic() + busy_seconds
    notices: list[str] = []
    try:
        _rename_former(path.with_name(FORMER_NAME), busy_seconds, give_up_at, notices)
        refuse_lone_journal(path)
        while True:
            prepare_file(path)
            # Before it is opened: if the path still leads to this file later, it is the one that was opened.
            identity = FileIdentity.find(str(path.absolute()))
            connection = _connect(path, busy_seconds)
            try:
                if get_layout(connection) in {0, LAYOUT}:
                    return _prepare(connection, busy_seconds, notices)
                aside = _set_aside(connection, path, identity)
            except BaseException:
                connection.close()
                raise
            connection.close()
            _note_rename(aside, give_up_at, notices)
    except OSError as exc:
        raise build_file_error(exc) from exc
    except sqlite3.Error as exc:
        raise build_store_error(exc) from exc


def _rename_former(path: Path, busy_seconds: float, give_up_at: float, notices: list[str]) -> None:
    """Rename a store of the former name. Another program's file, an empty one and one that cannot be read are left alone."""
    # An empty file is not opened: SQLite would delete the journal beside it.
    while path.is_file() and path.stat().st_size:
        identity = FileIdentity.find(str(path.absolute()))
        try:
            # It must not be created again if another process has renamed it since.
            with closing(_connect(path, busy_seconds, mode="rw")) as connection:
                if not is_store(connection):
                    return
                aside = _set_aside(connection, path, identity)
        except sqlite3.DatabaseError as exc:
            if is_damage(exc):
                logger.warning("the former record of runs at %s cannot be read and was left there: %s", path, exc)
                return
            if path.exists():
                raise
            aside = None
        _note_rename(aside, give_up_at, notices)


def _note_rename(aside: Path | None, give_up_at: float, notices: list[str]) -> None:
    """Report a rename; wait a moment when another process prevented it.

    Raises:
        StoreError: It was prevented for too long.
    """
    if aside is not None:
        notice = f"The record of runs was written by an older Flowport: it was renamed to {aside}, and a new one began."
        notices.append(notice)
        logger.warning("%s", notice)
    elif time.monotonic() > give_up_at:
        raise StoreError(*SENTENCES[sqlite3.SQLITE_BUSY])
    # Other processes that open the same older file get their turn.
    time.sleep(_RETRY_SECONDS * (1 + random.random()))  # noqa: S311 - a pause


def _connect(path: Path, busy_seconds: float, *, mode: str = "rwc") -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _prepare(connection: sqlite3.Connection, busy_seconds: float, notices: list[str]) -> sqlite3.Connection:
    """Configure a connection, create the tables in an empty file, and keep the notices for the next answer."""
    _configure(connection, busy_seconds)
    # Without the right to write SQLite opens a file for reading, and reports it at the first change only.
    connection.execute("BEGIN IMMEDIATE")
    try:
        if get_layout(connection) == 0:
            create_tables(connection)
        connection.executemany("INSERT INTO notices (text) VALUES (?)", [(build_value(notice),) for notice in notices])
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return connection


def _set_aside(connection: sqlite3.Connection, path: Path, identity: "FileIdentity") -> Path | None:
    """Rename a file of an older layout, and return where it is; None while another process uses it or when one was first.

    No run in it is changed or deleted.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        # The journal is emptied into the file and removed, which takes being alone with it. So none is left behind.
        if connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
            return None
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as exc:
        if is_busy(exc):
            return None
        raise
    aside = None
    if identity.find_loss() is None:
        aside = next(
            name for n in itertools.count(1) if not (name := path.with_name(f"{path.name}.older-{n}")).exists()
        )
        path.rename(aside)
    connection.execute("ROLLBACK")
    return aside


def open_reading_connection(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Return a second connection to a store that `open_connection` has opened, for reads beside its writes.

    Raises:
        StoreError: SQLite cannot open it once more.
    """
    try:
        return _connect(path, busy_seconds)
    except sqlite3.Error as exc:
        raise build_store_error(exc) from exc


def refuse_lone_journal(path: Path) -> None:
    """Raise when the journal holds runs and the file beside it nothing: SQLite would throw the journal away."""
    # The journal first: another process that creates the store fills the file before it.
    journal = path.with_name(f"{path.name}-wal")
    has_journal = journal.exists() and journal.stat().st_size > 0
    if has_journal and (not path.exists() or path.stat().st_size == 0):
        raise build_damage_error()


def prepare_file(path: Path) -> None:
    """Create the file with its rights, which SQLite copies to the two files that it keeps beside it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        # Only a file that is new may be opened here: closing it would drop the locks of a connection in this process.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if not mode & stat.S_IWUSR:
            # SQLite would open it for reading, and give the files beside it the same rights, which would stay.
            raise build_readonly_error() from None
        if stat.S_ISREG(mode) and mode & 0o077:
            _take_rights_from_others(path)


def _take_rights_from_others(path: Path) -> None:
    """Leave the file to this user alone, where the file system has rights: a Windows disk or a share may have none."""
    try:
        path.chmod(0o600)
    except OSError as exc:
        _warn_of_rights(path, exc.strerror or type(exc).__name__)


@cache
def _warn_of_rights(path: Path, reason: str) -> None:
    """Warn once a process: the file is opened again and again while something else is wrong with it."""
    logger.warning("other users of this computer may read %s, which keeps no rights (%s)", path, reason)


def _configure(connection: sqlite3.Connection, busy_seconds: float) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # In WAL mode anything less does not sync at commit, and a sync must precede every start request.
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS a plain sync may stop at the drive's cache; elsewhere this does nothing.
    connection.execute("PRAGMA fullfsync = ON")
    if _switch_to_wal(connection, busy_seconds) != "wal":
        raise StoreError(
            "its folder does not allow several programs to share a database", "Set FLOWPORT_HOME to a local disk."
        )


def _switch_to_wal(connection: sqlite3.Connection, busy_seconds: float) -> str:
    """Return the journal mode of the file, which is then `wal` wherever that is possible."""
    give_up_at = time.monotonic() + busy_seconds
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as exc:
            # The switch fails at once, without waiting, while another process does the same.
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(_RETRY_SECONDS)


def build_file_error(error: OSError) -> StoreError:
    """Return the sentence for a file that the system does not let us open."""
    reason = error.strerror or type(error).__name__
    return StoreError(
        f"its file cannot be opened ({reason})", "Check that FLOWPORT_HOME is a folder that you may read and write."
    )
