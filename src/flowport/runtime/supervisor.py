"""Run background tasks so that a crash of one is logged and ends no other.

A task that dies silently leaves a process that neither answers nor exits. Here every background task has a name, its
crash is logged with the traceback, and its owner is notified.
"""

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

logger = logging.getLogger(__name__)


class Supervisor:
    """Owns the background tasks of a process; leaving it cancels them all."""

    def __init__(self) -> None:
        self._group: anyio.abc.TaskGroup = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        if isinstance(error, Exception):
            # The group would wrap the error. No task here raises, so the error is passed on unwrapped and can be caught by its class.
            await self._group.__aexit__(None, None, None)
            return None
        return await self._group.__aexit__(kind, error, trace)

    def spawn(
        self,
        name: str,
        work: Callable[..., Awaitable[None]],
        *args: Any,
        on_crash: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Start a task.

        Args:
            on_crash: Awaited when the task ended with an error, to notify those who depend on it. Its own errors are logged.
        """
        self._group.start_soon(_run_guarded, name, work, args, on_crash, name=name)


async def _run_guarded(
    name: str,
    work: Callable[..., Awaitable[None]],
    args: tuple[Any, ...],
    on_crash: Callable[[], Awaitable[None]] | None,
) -> None:
    try:
        await work(*args)
    except Exception:  # the boundary of a background task: its error is logged and affects no other task
        logger.exception("the task %r has crashed", name)
    else:
        return
    if on_crash is not None:
        await _run_guarded(f"{name}, after its crash", on_crash, (), None)
