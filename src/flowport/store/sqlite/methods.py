"""Turn operations, which are functions of a connection, into methods of a store."""

import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def reads(
    operation: Callable[Concatenate[sqlite3.Connection, P], T],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a method that performs an operation on a snapshot."""

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Perform it on the thread for reads."""
        found: T = await self._worker.read(lambda connection: operation(connection, *args, **kwargs))
        return found

    return perform


def writes(
    operation: Callable[Concatenate[sqlite3.Connection, P], T], *, begins_run: bool = False
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a method that performs an operation in a transaction.

    Args:
        begins_run: Refuse it when the file is damaged or gone. What was begun is still written as well as it can be.
    """

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Perform it on the thread for writes."""
        if begins_run:
            self._require_sound()
        found: T = await self._worker.write(lambda connection: operation(connection, *args, **kwargs))
        return found

    return perform
