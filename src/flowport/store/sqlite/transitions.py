"""The store's writes about runs. Each function is one operation inside the worker's transaction.

A change of state names the states that it may start from in its WHERE, so comparing and setting are one statement. Each
method says during which states it is meant; `NEXT_STATES` decides which of them the change is allowed from.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import FINAL_STATES, NEXT_STATES, Output, Run, RunState
from flowport.domain.run_events import RunEvent, apply
from flowport.store.sqlite.rows import (
    OUTPUT_COLUMNS,
    RUN_COLUMNS,
    Value,
    build_changed_values,
    build_output_values,
    build_run_values,
    build_value,
    parse_run,
)

STARTED_STATES: Final = frozenset(state for state in RunState if state.is_at_provider)
"""What a provider may say of a run that it has taken and not finished."""

LIVE_STATES: Final = frozenset(RunState) - FINAL_STATES
"""Where a run is that is not over."""

FINISHED_STATES: Final = FINAL_STATES - {RunState.UNKNOWN}
"""How a run may end whose fate is known."""

_RUNNING_AT: Final = "running_at = CASE WHEN :state = 'running' THEN coalesce(running_at, :at) ELSE running_at END"
"""Keeps when the run was first said to be running."""


def insert_run(connection: sqlite3.Connection, run: Run) -> None:
    """Add a run as it is, with its outputs."""
    connection.execute(_build_insert("runs", RUN_COLUMNS), build_run_values(run))
    _insert_outputs(connection, run.id, run.outputs)


def set_starting(connection: sqlite3.Connection, run_id: str, *, at: float) -> bool:
    """Move accepted → starting."""
    return _change_state(
        connection, run_id, RunState.STARTING, "starting_at = :at", {"at": at}, during={RunState.ACCEPTED}
    )


def set_not_taken(connection: sqlite3.Connection, run_id: str) -> bool:
    """Move starting → accepted, as if the start had not been tried."""
    return _change_state(connection, run_id, RunState.ACCEPTED, "starting_at = NULL", during={RunState.STARTING})


def set_started(
    connection: sqlite3.Connection, run_id: str, *, provider_run_id: str, state: RunState, at: float
) -> bool:
    """Move starting → queued or running."""
    _require(state, STARTED_STATES)
    return _change_state(
        connection,
        run_id,
        state,
        f"provider_run_id = :provider_run_id, started_at = :at, {_RUNNING_AT}",
        {"provider_run_id": provider_run_id, "at": at},
        during={RunState.STARTING},
    )


def set_look(connection: sqlite3.Connection, run_id: str, *, state: RunState, at: float) -> bool:
    """Move between queued and running, or stay."""
    _require(state, STARTED_STATES)
    return _change_state(connection, run_id, state, _RUNNING_AT, {"at": at}, during=STARTED_STATES)


def set_finished(
    connection: sqlite3.Connection,
    run_id: str,
    *,
    state: RunState,
    outputs: Sequence[Output],
    failure: str,
    spent_credits: float,
    is_cost_told: bool = False,
    at: float,
) -> bool:
    """Move to an end that is known, write the outputs and release the reservation."""
    _require(state, FINISHED_STATES)
    is_changed = _change_state(
        connection,
        run_id,
        state,
        "failure = :failure, spent_credits = :spent_credits, is_cost_told = :is_cost_told, reserved_credits = 0, "
        "finished_at = :at",
        {"failure": failure, "spent_credits": spent_credits, "is_cost_told": is_cost_told, "at": at},
        during=LIVE_STATES,
    )
    if is_changed:
        _insert_outputs(connection, run_id, outputs)
    return is_changed


def set_cancelled(connection: sqlite3.Connection, run_id: str, *, failure: str, at: float) -> bool:
    """Move accepted → cancelled, and release the reservation."""
    return _change_state(
        connection,
        run_id,
        RunState.CANCELLED,
        "failure = :failure, reserved_credits = 0, finished_at = :at",
        {"failure": failure, "at": at},
        during={RunState.ACCEPTED},
    )


def set_unknown(connection: sqlite3.Connection, run_id: str, *, failure: str, start_answer: str, at: float) -> bool:
    """Move starting → unknown, and the reservation to what counts as spent."""
    return _change_state(
        connection,
        run_id,
        RunState.UNKNOWN,
        "failure = :failure, start_answer = :start_answer, finished_at = :at, "
        "spent_credits = reserved_credits, reserved_credits = 0",
        {"failure": failure, "start_answer": start_answer, "at": at},
        during={RunState.STARTING},
    )


def replace_output(connection: sqlite3.Connection, run_id: str, output: Output) -> None:
    """Write over the output of the same number.

    Raises:
        RunNotFound: There is none.
    """
    # Not INSERT OR REPLACE, which would empty the columns that a newer version has added.
    settings = ", ".join(f"{column} = :{column}" for column in OUTPUT_COLUMNS)
    cursor = connection.execute(
        f"UPDATE outputs SET {settings} WHERE run_id = :run_id AND n = :n",  # noqa: S608 - our own column names
        build_output_values(run_id, output),
    )
    if cursor.rowcount == 0:
        raise RunNotFound(run_id)


_WITH_ROWS: Final = "id IN (SELECT :run_id UNION ALL SELECT run_id FROM batch_rows WHERE batch_id = :run_id)"
"""A run, or a batch with its rows."""


def record_event(connection: sqlite3.Connection, run_id: str, event: RunEvent) -> bool:
    """Apply an event to a run, and what it changes to all rows of a batch; False when there is no such run."""
    row = connection.execute(f"SELECT {', '.join(RUN_COLUMNS)} FROM runs WHERE id = ?", (run_id,)).fetchone()  # noqa: S608 - our own words
    if row is None:
        return False
    before = parse_run(row, ())
    changed = build_changed_values(before, apply(before, event))
    if changed:
        assignments = ", ".join(f"{column} = :{column}" for column in changed)
        whose = _WITH_ROWS if before.is_batch else "id = :run_id"
        connection.execute(f"UPDATE runs SET {assignments} WHERE {whose}", {**changed, "run_id": run_id})  # noqa: S608 - our own words
    return True


def set_told(connection: sqlite3.Connection, run_id: str, *, at: float) -> None:
    """Write when the caller was first told the id, unless that is written."""
    connection.execute("UPDATE runs SET told_at = ? WHERE id = ? AND told_at IS NULL", (at, run_id))


def set_followed(connection: sqlite3.Connection, run_id: str, *, is_followed: bool) -> None:
    """Write whether the run is still looked at."""
    connection.execute("UPDATE runs SET is_followed = ? WHERE id = ?", (is_followed, run_id))


def set_process(connection: sqlite3.Connection, run_id: str, *, from_process: str, to_process: str) -> bool:
    """Compare and set who follows the run."""
    cursor = connection.execute(
        "UPDATE runs SET process_id = ?, is_followed = 1 WHERE id = ? AND process_id = ?",
        (to_process, run_id, from_process),
    )
    return cursor.rowcount == 1


def set_account(connection: sqlite3.Connection, run_id: str, *, from_account: str, to_account: str) -> bool:
    """Compare and set whose key the run is read with."""
    cursor = connection.execute(
        "UPDATE runs SET account_id = ?, adoption_tried = '' WHERE id = ? AND account_id = ?",
        (to_account, run_id, from_account),
    )
    return cursor.rowcount == 1


def set_adoption_tried(connection: sqlite3.Connection, run_id: str, *, account_id: str) -> None:
    """Write which account's key could not read the run."""
    connection.execute("UPDATE runs SET adoption_tried = ? WHERE id = ?", (account_id, run_id))


def _change_state(
    connection: sqlite3.Connection,
    run_id: str,
    state: RunState,
    settings: str = "",
    values: Mapping[str, Value] | None = None,
    *,
    during: Collection[RunState],
) -> bool:
    """Compare and set; False, and nothing written, when the run is not in a state that `state` may follow."""
    allowed = ", ".join(f"'{before}'" for before in during if state in NEXT_STATES[before] | {before})
    assignments = f"state = :state, {settings}" if settings else "state = :state"
    cursor = connection.execute(
        f"UPDATE runs SET {assignments} WHERE id = :run_id AND state IN ({allowed})",  # noqa: S608 - our own words
        {"state": state, "run_id": run_id, **{name: build_value(value) for name, value in (values or {}).items()}},
    )
    return cursor.rowcount == 1


def _require(state: RunState, allowed: Collection[RunState]) -> None:
    if state not in allowed:
        names = ", ".join(sorted(allowed))
        message = f"{state} is not one of {names}"
        raise ValueError(message)


def _insert_outputs(connection: sqlite3.Connection, run_id: str, outputs: Iterable[Output]) -> None:
    connection.executemany(
        _build_insert("outputs", ("run_id", *OUTPUT_COLUMNS)),
        [build_output_values(run_id, output) for output in outputs],
    )


def _build_insert(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(columns)
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - our own table and column names
