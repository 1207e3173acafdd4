"""Tables and versions."""

import sqlite3
from collections.abc import Iterator

import pytest

from flowport.domain.errors import StoreError
from flowport.store.sqlite.migrations import APPLICATION_ID, SCHEMA_VERSION, prepare_schema
from flowport.store.sqlite.rows import OUTPUT_COLUMNS, RUN_COLUMNS


@pytest.fixture
def memory() -> Iterator[sqlite3.Connection]:
    """Return an empty database."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def get_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def get_number(connection: sqlite3.Connection, pragma: str) -> int:
    """Return what a pragma says."""
    number: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return number


def test_an_empty_file_gets_our_version(memory: sqlite3.Connection) -> None:
    """Later versions find out from it what is missing."""
    prepare_schema(memory)
    assert get_number(memory, "user_version") == SCHEMA_VERSION
    assert get_number(memory, "application_id") == APPLICATION_ID


def test_the_tables_hold_every_field(memory: sqlite3.Connection) -> None:
    """A field added to a record needs a migration."""
    prepare_schema(memory)
    assert get_columns(memory, "runs") == set(RUN_COLUMNS)
    assert get_columns(memory, "outputs") == {"run_id", *OUTPUT_COLUMNS}


def test_preparing_twice_changes_nothing(memory: sqlite3.Connection) -> None:
    """Every start prepares."""
    prepare_schema(memory)
    changes = memory.total_changes
    prepare_schema(memory)
    assert memory.total_changes == changes


def test_a_file_with_later_additions_is_used_as_it_is(memory: sqlite3.Connection) -> None:
    """An older Flowport keeps working beside a newer one, and never writes the version down."""
    prepare_schema(memory)
    memory.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 5}")
    prepare_schema(memory)
    assert get_number(memory, "user_version") == SCHEMA_VERSION + 5


def test_a_file_that_we_would_misread_is_refused(memory: sqlite3.Connection) -> None:
    """Misreading a run could pay for it twice."""
    prepare_schema(memory)
    memory.execute("UPDATE meta SET value = ? WHERE key = 'min_reader'", (str(SCHEMA_VERSION + 1),))
    with pytest.raises(StoreError, match="written by a newer Flowport"):
        prepare_schema(memory)


def test_another_programs_database_is_refused_and_left_alone(memory: sqlite3.Connection) -> None:
    """A mistyped path must not add tables to somebody's data."""
    memory.execute("CREATE TABLE runs (mine)")
    with pytest.raises(StoreError, match="another program's database"):
        prepare_schema(memory)
    assert get_columns(memory, "runs") == {"mine"}
    assert not memory.in_transaction


def test_a_database_without_meta_is_an_error_of_sqlite(memory: sqlite3.Connection) -> None:
    """A damaged file is told by the one who opens it."""
    memory.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    with pytest.raises(sqlite3.OperationalError, match="no such table: meta"):
        prepare_schema(memory)


def test_a_migration_that_fails_leaves_nothing_behind(memory: sqlite3.Connection) -> None:
    """Half a schema would be neither old nor new."""
    memory.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    memory.execute("CREATE TABLE outputs (left_over)")
    with pytest.raises(sqlite3.OperationalError, match="outputs already exists"):
        prepare_schema(memory)
    assert get_columns(memory, "runs") == set()
    assert get_number(memory, "user_version") == 0
