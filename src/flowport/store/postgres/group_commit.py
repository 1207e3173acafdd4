"""Group commit: changes that come while others are being committed are sent together, and wait for the disk once.

A change is one row of a statement that takes the rows of any number of runs, as one JSON text, and says which of them it has
changed. Each row has a key that no other change of any process has. A statement whose answer is lost is sent again, and
changes no row a second time; `find` then says which rows the first one has changed. It does not find what the server is still
changing: a caller that receives nothing looks for the key once more, in a transaction that has the lock of the run.
"""

import asyncio
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

import psycopg

from flowport.domain.errors import StoreError
from flowport.store.postgres.database import Database
from flowport.store.postgres.transaction import Sent, Transaction, clean_text

MAX_TOGETHER: Final = 100
"""Changes of one commit."""

MAX_GROUP_BYTES: Final = 8 * 1024**2
"""Of their rows. A result that is text may have megabytes, and a parameter of a statement has a limit."""

Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Sends an item at once while nothing is on its way, and otherwise together with those that come meanwhile."""

    def __init__(
        self,
        send: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        start: Callable[[Callable[[], Coroutine[Any, Any, None]]], asyncio.Task[None]],
        *,
        wait_seconds: float = 0.0,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            send: Sends items, and returns the result of each, or the exception that its caller is to receive.
            start: Starts a task.
            wait_seconds: How long the first item waits for others, where none of them is urgent.
        """
        self._send = send
        self._start = start
        self._wait_seconds = wait_seconds
        self._waiting = deque[tuple[T, asyncio.Future[R]]]()
        self._is_sending = False
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Send an item, and return its result. A caller that is cancelled meanwhile loses the result alone."""
        if not self._is_sending:
            # Kept, because a task that nothing refers to may be collected.
            self._task = self._start(self._send_all)
            self._is_sending = True
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        return await result

    async def _send_all(self) -> None:
        taken: list[tuple[T, asyncio.Future[R]]] = []
        try:
            while self._waiting:
                if self._wait_seconds:
                    await asyncio.sleep(self._wait_seconds)
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
                outcomes = await self._send([item for item, _ in taken])
                for (_, result), outcome in zip(taken, outcomes, strict=True):
                    _settle(result, outcome)
        except Exception as exc:  # noqa: BLE001 - every caller receives it
            for _, result in (*taken, *self._waiting):
                _settle(result, exc)
            self._waiting.clear()
        finally:
            self._is_sending = False
            for _, result in (*taken, *self._waiting):
                result.cancel()


def _settle(result: asyncio.Future[R], outcome: R | Exception) -> None:
    if result.done():
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)


@dataclass(frozen=True, slots=True)
class GroupStatement:
    """A statement for any number of rows; both of its texts return rows that begin with the key of a change."""

    change: str
    """Changes the runs `%(ids)s` by `%(rows)s`, a JSON array of objects with a `run_id` and a `key`. It waits for no row's lock."""
    find: str
    """Finds what was changed by the changes `%(keys)s`, and names the same values."""


@dataclass(frozen=True, slots=True)
class _Change:
    statement: GroupStatement
    run_id: str
    key: str
    row: str
    """As JSON."""


class GroupCommit:
    """Commits the changes of one process."""

    def __init__(self, database: Database, values: Mapping[str, Any]) -> None:
        """Prepare; nothing is opened.

        Args:
            values: What every statement may name besides its rows.
        """
        self._database = database
        self._values = values
        self._changes = Coalescer(self._send, database.start)

    async def change(self, statement: GroupStatement, row: Mapping[str, Any], key: str) -> Row | None:
        """Make one change, and return its row once it is committed; None where nothing was changed, as far as is known.

        A caller that is cancelled meanwhile loses the result alone.

        Args:
            key: What no other change of any process is known by, see `Database.draw_key`.

        Raises:
            StoreError: The database cannot be reached, or refuses. While it cannot be reached, something may have been changed.
        """
        text = json.dumps({**clean_values(row), "key": key})
        return await self._changes.add(_Change(statement, row["run_id"], key, text))

    async def _send(self, changes: Sequence[_Change]) -> Sequence[Row | StoreError | None]:
        half = len(changes) // 2
        if half and sum(len(change.row) for change in changes) > MAX_GROUP_BYTES:
            return [*await self._send(changes[:half]), *await self._send(changes[half:])]
        try:
            found = await self._database.change(partial(self._commit, changes))
        except StoreError as exc:
            if len(changes) > 1 and _is_refusal(exc):
                # One of them is at fault.
                return [outcome for change in changes for outcome in await self._send([change])]
            # Each caller raises an error of its own.
            return [_copy(exc) for _ in changes]
        return [found.get(change.key) for change in changes]

    async def _commit(
        self,
        changes: Sequence[_Change],
        transaction: Transaction,
        is_again: bool,  # noqa: FBT001 - see `Database.change`
    ) -> dict[str, Row]:
        groups: dict[GroupStatement, list[_Change]] = {}
        for change in changes:
            groups.setdefault(change.statement, []).append(change)
        sent = list[Sent]()
        # Statements that are sent together are one transaction, as none of them begins another.
        for statement, own in groups.items():
            rows = f"[{','.join(change.row for change in own)}]"
            values = {**self._values, "ids": [change.run_id for change in own], "rows": rows}
            sent.append(transaction.send(statement.change, values))
            if is_again:
                values["keys"] = [change.key for change in own]
                sent.append(transaction.send(statement.find, values))
        # What a change returns counts more than what is found of it afterwards.
        return {row[0]: row for one in reversed(sent) for row in await transaction.fetch(one)}


def clean_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose values the database keeps as they are, also where JSON has none such."""
    return {name: _clean(value) for name, value in row.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else clean_text(value)
    # PostgreSQL reads "nan" and "inf" as numbers where the column has such.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _copy(error: StoreError) -> StoreError:
    copy = StoreError(error.problem, error.remedy)
    copy.__cause__ = error
    return copy


def _is_refusal(error: StoreError) -> bool:
    """Return whether the database answered, and refused."""
    cause = error.__cause__
    return isinstance(cause, psycopg.Error) and not isinstance(cause, psycopg.OperationalError)
