"""SQLite's errors as sentences."""

import sqlite3

import pytest

from flowport.store.sqlite.errors import build_closed_error, build_store_error

PROBLEMS = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_LOCKED: "another part of this process keeps it locked",
    sqlite3.SQLITE_PERM: "its file may not be opened",
    sqlite3.SQLITE_READONLY: "its file may not be written",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is not a database",
    sqlite3.SQLITE_CONSTRAINT: "a new record contradicts an earlier one",
    sqlite3.SQLITE_IOERR_FSYNC: "the disk reports an error",
    sqlite3.SQLITE_BUSY_RECOVERY: "another process keeps it locked",
    sqlite3.SQLITE_TOOBIG: "SQLite reports SQLITE_TOOBIG",
}


def build_sqlite_error(code: int, name: str) -> sqlite3.Error:
    """Return an error as the library raises it."""
    error = sqlite3.OperationalError("words of the library")
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(("code", "problem"), PROBLEMS.items())
def test_a_code_of_sqlite_has_its_sentence(code: int, problem: str) -> None:
    """A person must learn what to do; extended codes count as their primary one."""
    assert build_store_error(build_sqlite_error(code, "SQLITE_TOOBIG")).problem == problem


def test_every_sentence_says_what_to_do() -> None:
    """A problem without a remedy leaves the reader where he was."""
    remedies = [build_store_error(build_sqlite_error(code, "X")).remedy for code in PROBLEMS]
    assert all(remedy.endswith(".") for remedy in remedies)


def test_an_error_without_a_code_is_named_by_its_class() -> None:
    """Python's own module raises errors that SQLite never saw."""
    assert build_store_error(sqlite3.ProgrammingError("x")).problem == "SQLite reports ProgrammingError"


def test_a_closed_store_says_why() -> None:
    """It is the one failure without a cause on this machine."""
    assert build_closed_error().problem == "it was closed because Flowport is stopping"
