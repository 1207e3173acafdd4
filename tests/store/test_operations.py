"""Between records and rows."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.errors import StoreError
from flowport.store.rows import build_output_values, build_run_values, build_value, parse_output, parse_run

from .samples import OUTPUT, RUN, build_run


@pytest.fixture
def memory() -> Iterator[sqlite3.Connection]:
    """Return a database that only turns values into rows."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    yield connection
    connection.close()


def build_row(memory: sqlite3.Connection, values: dict[str, Any]) -> sqlite3.Row:
    """Return the values as SQLite gives them back."""
    columns = ", ".join(f":{name} AS {name}" for name in values)
    row: sqlite3.Row = memory.execute(f"SELECT {columns}", values).fetchone()
    return row


@pytest.mark.parametrize("run", [RUN, build_run("run_bare", price_credits=None)], ids=["full", "bare"])
def test_a_run_comes_back_whole(memory: sqlite3.Connection, run: Any) -> None:
    """What the store forgets is lost for good."""
    assert parse_run(build_row(memory, build_run_values(run)), run.outputs) == run


def test_an_output_comes_back_whole(memory: sqlite3.Connection) -> None:
    """A lost link or path is a lost result."""
    assert parse_output(build_row(memory, build_output_values("run_1", OUTPUT))) == OUTPUT


def test_columns_of_a_newer_version_are_passed_over(memory: sqlite3.Connection) -> None:
    """An older Flowport reads the file beside a newer one."""
    row = build_row(memory, {**build_output_values("run_1", OUTPUT), "colour": "red"})
    assert parse_output(row) == OUTPUT


def test_an_unheard_of_state_is_a_fault_of_the_store(memory: sqlite3.Connection) -> None:
    """Guessing what a state means could start a paid run twice."""
    row = build_row(memory, {**build_run_values(RUN), "state": "melted"})
    with pytest.raises(StoreError, match="a value that this version does not know"):
        parse_run(row, ())


def test_an_unheard_of_kind_is_a_fault_of_the_store(memory: sqlite3.Connection) -> None:
    """Only a newer version can have written it."""
    row = build_row(memory, {**build_output_values("run_1", OUTPUT), "kind": "smell"})
    with pytest.raises(StoreError, match="a value that this version does not know"):
        parse_output(row)


@pytest.mark.parametrize("value", [None, 0, 1.5, "", "é🙂", "nul\0nul"])
def test_a_value_that_fits_is_left_alone(value: Any) -> None:
    """The store does not tidy results."""
    assert build_value(value) == value


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec=None)))
def test_any_text_can_be_written(text: str) -> None:
    """A provider's text may hold half of a surrogate pair; the result must not be lost over it."""
    written = build_value(replace(OUTPUT, text=text).text)
    assert isinstance(written, str)
    assert len(written.encode().decode()) == len(text)
