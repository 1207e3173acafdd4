"""Tables, layouts, and files that are not to be used."""

import sqlite3
from collections.abc import Iterator

import pytest

from flowport.domain.errors import StoreError
from flowport.store.rows import OUTPUT_COLUMNS, RUN_COLUMNS
from flowport.store.sqlite.schema import LAYOUT, check_readable, create_tables, get_layout


@pytest.fixture
def memory() -> Iterator[sqlite3.Connection]:
    """Return an empty database."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def get_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def test_an_empty_file_becomes_one_of_ours(memory: sqlite3.Connection) -> None:
    """Later versions recognise by the layout what they may read."""
    assert get_layout(memory) == 0
    create_tables(memory)
    assert get_layout(memory) == LAYOUT
    check_readable(memory)


def test_the_tables_hold_every_field(memory: sqlite3.Connection) -> None:
    """A field that is added to a record needs a column and another layout."""
    create_tables(memory)
    assert get_columns(memory, "runs") == set(RUN_COLUMNS)
    assert get_columns(memory, "outputs") == {"run_id", *OUTPUT_COLUMNS}


def test_a_file_of_a_newer_version_is_refused(memory: sqlite3.Connection) -> None:
    """Misreading a run could pay for it twice."""
    create_tables(memory)
    memory.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    with pytest.raises(StoreError, match="written by a newer Flowport"):
        get_layout(memory)


def test_another_programs_database_is_refused(memory: sqlite3.Connection) -> None:
    """A mistyped path must not add tables to another program's data."""
    memory.execute("CREATE TABLE runs (mine)")
    with pytest.raises(StoreError, match="another program's database"):
        get_layout(memory)


def test_a_file_of_an_older_layout_cannot_be_read_alone(memory: sqlite3.Connection) -> None:
    """Its columns have other names."""
    create_tables(memory)
    memory.execute(f"PRAGMA user_version = {LAYOUT - 1}")
    with pytest.raises(StoreError, match="written by an older Flowport"):
        check_readable(memory)
