"""The door for SQLite's errors: each becomes a `StoreError` that says what is wrong and what to do."""

import sqlite3
from typing import Final

from flowport.domain.errors import StoreError

_PRIMARY_CODE: Final = 0xFF
"""The part of an extended SQLite result code that holds the primary one."""

_TRY_AGAIN: Final = "Close the programs that have it open and try again."

# https://www.sqlite.org/rescode.html — by primary result code: what is wrong, and what to do about it.
SENTENCES: Final = {
    sqlite3.SQLITE_BUSY: ("another process keeps it locked", _TRY_AGAIN),
    sqlite3.SQLITE_LOCKED: ("another part of this process keeps it locked", _TRY_AGAIN),
    sqlite3.SQLITE_PERM: ("its file may not be opened", "Give your user the right to read and write FLOWPORT_HOME."),
    sqlite3.SQLITE_READONLY: ("its file may not be written", "Make FLOWPORT_HOME and the files in it writable."),
    sqlite3.SQLITE_CANTOPEN: (
        "its file cannot be opened",
        "Check that FLOWPORT_HOME is a folder that you may read and write.",
    ),
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space on the disk that holds FLOWPORT_HOME."),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "Check the disk that holds FLOWPORT_HOME, then try again."),
    sqlite3.SQLITE_CORRUPT: (
        "its file is damaged",
        "Close Flowport everywhere, then restore the file from a backup, or move it and those beside it away.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "its file is not a database",
        "Close Flowport everywhere, then move the file out of FLOWPORT_HOME, so that Flowport begins an empty one.",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "a new record contradicts an earlier one",
        "Try again; if it happens again, report it as a fault of Flowport.",
    ),
}


_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error means that the file's contents are damaged."""
    return (getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE) in _DAMAGE


def is_busy(error: Exception) -> bool:
    """Return whether an error means that another process held the file for too long."""
    return (getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE) == sqlite3.SQLITE_BUSY


def build_damage_error() -> StoreError:
    """Return the error for damage that SQLite has found or would not see."""
    return StoreError(*SENTENCES[sqlite3.SQLITE_CORRUPT])


def build_readonly_error() -> StoreError:
    """Return the error for a file that is marked as not to be written."""
    return StoreError(*SENTENCES[sqlite3.SQLITE_READONLY])


def build_store_error(error: sqlite3.Error) -> StoreError:
    """Return the sentence for an error of SQLite; raise it `from` that error."""
    # Errors that Python's own module raises, such as for a wrong parameter, carry no code.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None and (code & _PRIMARY_CODE) in SENTENCES:
        return StoreError(*SENTENCES[code & _PRIMARY_CODE])
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreError(f"SQLite reports {name}", "Try again; if it happens again, report it as a fault of Flowport.")


def build_closed_error() -> StoreError:
    """Return the error for a call that comes after the store was closed."""
    return StoreError("it was closed because Flowport is stopping", "Start Flowport again.")
