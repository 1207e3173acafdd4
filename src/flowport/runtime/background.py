"""Background tasks: a crash of one ends no other, clients get the changes that they make, the first tool list comes first.

A task that dies silently leaves a process that neither answers nor exits. Here every background task has a name, its
crash is logged with the traceback, and its owner is notified.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import anyio.abc

from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

FIRST_LIST_SECONDS: Final = 5.0
"""How long background work waits for the first tool list."""


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


T = TypeVar("T")

QUIET_SECONDS: Final = 0.3
"""How long changes of runs are collected; short, because a client may watch a run."""

LIST_SECONDS: Final = 3.0
"""How long changes of lists are collected. A first catalogue arrives app by app, and clients read the whole list again at each
notification."""


MAX_NOTED: Final = 10_000
"""Changes that are collected; a process without clients takes none."""


class ListKind(StrEnum):
    """A list that clients keep."""

    TOOLS = "tools"
    RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class ListChange:
    """A list that changed, and for whom."""

    kind: ListKind
    owner: str | None = None
    """Whose list it is; None for everyone's."""
    account_id: str | None = None
    """The account whose apps changed; None for a change that does not depend on accounts."""


@dataclass(frozen=True, slots=True, order=True)
class RunChange:
    """A run that changed."""

    run_id: str
    owner: str


class Changes:
    """The changes that were not announced yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lists = _Noted[ListChange]()
        self._runs = _Noted[RunChange]()

    def note_list(self, kind: ListKind, *, owner: str | None = None, account_id: str | None = None) -> None:
        """Record that a list changed: for everyone, for one owner, or for those who use an account."""
        self._lists.add(ListChange(kind, owner, account_id))

    def note_run(self, run_id: str, *, owner: str, is_relisted: bool) -> None:
        """Record that a run changed, and whether its entry in its owner's resource list changed too."""
        self._runs.add(RunChange(run_id, owner))
        if is_relisted:
            self.note_list(ListKind.RESOURCES, owner=owner)

    async def take_lists(self) -> frozenset[ListChange]:
        """Wait for a change of a list and those of the next seconds; return and clear them all."""
        return await self._lists.take(self._clock, LIST_SECONDS)

    async def take_runs(self) -> frozenset[RunChange]:
        """Wait for a change of a run and those that follow at once; return and clear them all."""
        return await self._runs.take(self._clock, QUIET_SECONDS)


class _Noted(Generic[T]):
    """A set of distinct changes, and an event that is set when there is one."""

    def __init__(self) -> None:
        self._things: set[T] = set()
        self._bell = anyio.Event()

    def add(self, thing: T) -> None:
        if len(self._things) < MAX_NOTED:
            self._things.add(thing)
        self._bell.set()

    async def take(self, clock: Clock, seconds: float) -> frozenset[T]:
        await self._bell.wait()
        await clock.sleep(seconds)
        taken = frozenset(self._things)
        self._things.clear()
        self._bell = anyio.Event()
        return taken


class FirstList:
    """The first tool list: work that it does not need begins after it was written. Listens to the exchange of its request."""

    def __init__(self, saved: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.saved = saved
        """The list that is answered until the catalogues are loaded; None without one, and after that."""
        self.outdated = anyio.Event()
        """Set when the list has to be saved for the next start."""
        self.asked = anyio.Event()
        """Set when a client asked for it: from then on changes must be announced."""
        self.written = anyio.Event()
        """Set when it was written, its client is gone, or another request needs what is loaded after it."""

    def note_outdated(self) -> None:
        """A catalogue was loaded or saved."""
        self.outdated.set()

    def note_written(self) -> None:
        """The list was written."""
        self.written.set()

    def note_left(self) -> None:
        """The client is gone."""
        self.written.set()

    def note_cancelled(self) -> None:
        """The request was cancelled after the list was written, which changes nothing."""

    async def wait_until_written(self) -> None:
        """Wait until it was written, at most 5 s, because some clients never ask for it."""
        with anyio.move_on_after(FIRST_LIST_SECONDS):
            await self.written.wait()
