"""What the operations of the SQLite store have in common: how they are performed, rows and records, the write of a run.

A method of the store is a function of a connection that `reads`, `writes` or `begins_run` turns into a coroutine. Columns
have the names of the record's fields. What an event makes of a run is decided by `domain.run_events.apply` alone: the
transaction holds the write lock, so the row cannot change between being read and being written.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeAlias, TypeVar

from flowport.domain.errors import StoreError
from flowport.domain.models import Output, Run
from flowport.domain.run_events import (
    Delivered,
    DeliveryCancelled,
    RunEvent,
    StartConfirmed,
    Witness,
    apply,
    is_covered,
)
from flowport.store.records import Recorded, RecordOutcome, Stale
from flowport.store.rows import (
    FINAL,
    LIVE,
    OUTPUT_COLUMNS,
    RUN_COLUMNS,
    RUN_LIST,
    Value,
    build_changed_values,
    build_output_values,
    build_run_values,
    parse_output,
    parse_run,
)
from flowport.store.statements import build_insert

P = ParamSpec("P")
T = TypeVar("T")
Operation: TypeAlias = Callable[Concatenate[Any, sqlite3.Connection, P], T]
"""A method with the whole of an operation, to which the thread hands the connection."""
Method: TypeAlias = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]


def reads(operation: Operation[P, T]) -> Method[P, T]:
    """Return a method that performs an operation on a snapshot, on the thread for reads."""

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await self.worker.read(lambda connection: operation(self, connection, *args, **kwargs))
        return found

    return perform


def writes(operation: Operation[P, T]) -> Method[P, T]:
    """Return a method that performs an operation in a transaction, on the thread for writes."""

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await self.worker.write(lambda connection: operation(self, connection, *args, **kwargs))
        return found

    return perform


def begins_run(operation: Operation[P, T]) -> Method[P, T]:
    """Return a method that writes, and is refused when the file is damaged or gone."""
    write = writes(operation)

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # What was begun is still written as well as it can be.
        if (problem := self.worker.damage or self.worker.find_loss()) is not None:
            raise problem
        return await write(self, *args, **kwargs)

    return perform


_OUTPUT_LIST: Final = ", ".join(("run_id", *OUTPUT_COLUMNS))
IS_OVER: Final = f"runs.state IN ({FINAL})"
# The plus keeps SQLite from walking an owner's runs state by state: it is to take the index of the few undelivered.
IS_UNDELIVERED: Final = f"(runs.delivered_at IS NULL AND +{IS_OVER})"
IS_ALONE: Final = "runs.batch_id = ''"
"""Of a batch with its rows the batch alone."""
# An ended run has an instant of its end; the state is compared too, without an index, because it decides.
IS_LIVE: Final = f"(runs.finished_at IS NULL AND +runs.state IN ({LIVE}))"


def select_runs(
    connection: sqlite3.Connection, source: str, values: Sequence[Value] | Mapping[str, Value]
) -> tuple[Run, ...]:
    """Return the runs of a query, with their outputs: one query for the runs, one for all outputs.

    Args:
        source: What follows FROM; made of our own words.
    """
    rows = connection.execute(f"SELECT {RUN_LIST} FROM {source}", values).fetchall()  # noqa: S608 - our own words
    outputs: dict[str, list[Output]] = {row["id"]: [] for row in rows}
    # A list of any length as one parameter.
    for row in connection.execute(
        f"SELECT {_OUTPUT_LIST} FROM outputs WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id, n",  # noqa: S608 - our own words
        (json.dumps(list(outputs)),),
    ):
        outputs[row["run_id"]].append(parse_output(row))
    return tuple(parse_run(row, outputs[row["id"]]) for row in rows)


def find_run(connection: sqlite3.Connection, run_id: str) -> Run | None:
    """Return one run of any owner; None if nothing was found."""
    return next(iter(select_runs(connection, "runs WHERE id = ?", (run_id,))), None)


def insert_run(connection: sqlite3.Connection, run: Run) -> None:
    """Add a run as it is, with its outputs."""
    connection.execute(_INSERT_RUN, build_run_values(run))
    connection.executemany(_WRITE_OUTPUT, [build_output_values(run.id, output) for output in run.outputs])


def record_event(
    connection: sqlite3.Connection,
    run_id: str,
    event: RunEvent,
    lease: int | None = None,
    *,
    ended_call_id: str = "",
    unless_waited_for: bool = False,
) -> RecordOutcome:
    """Apply an event to a run, and a delivery of a batch to its rows; the call that it answers waits no longer."""
    if ended_call_id:
        remove_waiting(connection, ended_call_id)
    before = find_run(connection, run_id)
    if before is None or (unless_waited_for and is_waited_for(connection, run_id)):
        return Stale(before)
    is_possible = is_covered(before, event, lease) and not _is_claimed(connection, before, event)
    after = apply(before, event) if is_possible else before
    if after == before:
        return Stale(before)
    if changed := build_changed_values(before, after):
        assignments = ", ".join(f"{column} = :{column}" for column in changed)
        is_shared = before.is_batch and isinstance(event, Delivered | DeliveryCancelled)
        whose = _WITH_ROWS if is_shared else "id = :run_id"
        connection.execute(f"UPDATE runs SET {assignments} WHERE {whose}", {**changed, "run_id": run_id})  # noqa: S608 - our own words
    changed_outputs = [output for output in after.outputs if output not in before.outputs]
    connection.executemany(_WRITE_OUTPUT, [build_output_values(run_id, output) for output in changed_outputs])
    return Recorded(after)


def _is_claimed(connection: sqlite3.Connection, run: Run, event: RunEvent) -> bool:
    """Return whether what was found by a search is a run of the provider that is another run of ours.

    An event that came to the address of the run is about this run.
    """
    if not isinstance(event, StartConfirmed) or event.witness is Witness.WEBHOOK:
        return False
    found = connection.execute(
        "SELECT 1 FROM runs WHERE account_id = ? AND provider_run_id = ? AND provider_run_id <> '' AND id <> ?",
        (run.account_id, event.provider_run_id, run.id),
    )
    return found.fetchone() is not None


def is_held(connection: sqlite3.Connection, run_id: str, lease: int) -> bool:
    """Return whether a lease of a run is the present one."""
    return connection.execute("SELECT 1 FROM runs WHERE id = ? AND lease = ?", (run_id, lease)).fetchone() is not None


def remove_waiting(connection: sqlite3.Connection, *call_ids: str) -> None:
    """Forget calls."""
    connection.executemany("DELETE FROM waiting_calls WHERE id = ?", ((one,) for one in call_ids))


def is_waited_for(connection: sqlite3.Connection, run_id: str) -> bool:
    """Return whether a call waits for a run."""
    return connection.execute("SELECT 1 FROM waiting_calls WHERE run_id = ?", (run_id,)).fetchone() is not None


_INSERT_RUN: Final = build_insert("runs", RUN_COLUMNS)
# Not INSERT OR REPLACE, which would empty the columns that a newer version has added.
_WRITE_OUTPUT: Final = (
    build_insert("outputs", ("run_id", *OUTPUT_COLUMNS))
    + " ON CONFLICT (run_id, n) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in OUTPUT_COLUMNS)
)
_WITH_ROWS: Final = "id IN (SELECT :run_id UNION ALL SELECT run_id FROM batch_rows WHERE batch_id = :run_id)"
"""A batch with its rows."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Where the file was, and which it was, when it was opened."""

    path: str
    """Empty for a database without a file."""
    device: int = 0
    inode: int = 0

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Self:
        """Return the identity of the file of a connection that was just opened."""
        return cls.find(str(connection.execute("PRAGMA database_list").fetchone()[2] or ""))

    @classmethod
    def find(cls, path: str) -> Self:
        """Return the identity of the file at a path."""
        try:
            found = os.stat(path)  # noqa: PTH116 - the identity is what is asked for, of a path as SQLite writes it
        except OSError:
            return cls(path)
        return cls(path, found.st_dev, found.st_ino)

    def find_loss(self) -> StoreError | None:
        """Return what is wrong when the file is no longer there, or is another one, or was emptied."""
        if not self.path:
            return None
        try:
            found = os.stat(self.path)  # noqa: PTH116 - as above
        except OSError:
            return _build_error("its file was removed or moved")
        if (found.st_dev, found.st_ino) != (self.device, self.inode):
            return _build_error("its file was replaced")
        return None if found.st_size else _build_error("its file was emptied")


def _build_error(problem: str) -> StoreError:
    return StoreError(
        f"{problem} while Flowport is running, so a run that is started now could be forgotten and paid for twice",
        "Restart Flowport everywhere.",
    )
