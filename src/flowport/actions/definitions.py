"""Read the definition of an app for a caller, with progress, within the wait budget; the reading itself goes on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Final, TypeVar

import anyio

from flowport.actions.waiting import PROGRESS_SECONDS, Caller
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.listing import Listing
from flowport.domain.call_errors import DefinitionNotRead
from flowport.domain.errors import FlowportError, StoreError
from flowport.domain.text import format_duration

LEAST_SECONDS: Final = 2.0
"""How long a definition is waited for at the least: where no request has to wait it takes less, also for a caller who
wants every answer at once."""

_BUDGET_SECONDS: Final = 1.0
"""A request that waits for the budget waits longer than this; it is shown in whole seconds."""

T = TypeVar("T")


@dataclass(slots=True)
class _Reading:
    """A definition that is being read."""

    done: anyio.Event = field(default_factory=anyio.Event)
    error: FlowportError | None = None


class DefinitionReader:
    """Reads definitions in tasks of their own, one for all who ask, so that the next call finds what this one began."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._readings: dict[str, _Reading] = {}
        """By tool name."""

    async def fetch_listing(self, home: OpenCatalog, listing: Listing, caller: Caller) -> Listing:
        """Return the app as `Catalog.fetch_listing` does.

        Raises:
            DefinitionNotRead: It is not read yet, and the caller's patience is over.
            FlowportError: What `Catalog.fetch_listing` raises.
        """
        if listing.tool is None and not listing.left_out:
            reading = self._readings.get(listing.tool_name) or self._begin(home, listing.tool_name)
            await self._wait(reading, home, listing, caller)
            if reading.error is not None:
                raise reading.error
        return await home.catalog.fetch_listing(listing.tool_name)

    def _begin(self, home: OpenCatalog, tool_name: str) -> _Reading:
        reading = self._readings[tool_name] = _Reading()

        async def read() -> None:
            try:
                await home.catalog.fetch_listing(tool_name)
            except FlowportError as exc:
                reading.error = exc
            self._end(tool_name)

        async def give_up() -> None:
            reading.error = StoreError("Flowport made a mistake", "Its log has the details.")
            self._end(tool_name)

        self._workspace.supervisor.spawn(f"definition of {tool_name}", read, on_crash=give_up)
        return reading

    def _end(self, tool_name: str) -> None:
        self._readings.pop(tool_name).done.set()

    async def _wait(self, reading: _Reading, home: OpenCatalog, listing: Listing, caller: Caller) -> None:
        clock = self._workspace.clock
        deadline = max(
            caller.arrived_at_seconds + self._workspace.settings.wait_seconds, clock.monotonic() + LEAST_SECONDS
        )
        while True:
            with clock.move_on_after(min(deadline - clock.monotonic(), PROGRESS_SECONDS)):
                await reading.done.wait()
            if reading.done.is_set():
                return
            wait = home.account.limiter.get_wait(1)
            wait_seconds = ceil(wait) if wait > _BUDGET_SECONDS else None
            if clock.monotonic() >= deadline:
                raise DefinitionNotRead(listing.app.name, home.account.provider.title, wait_seconds)
            why = (
                f"{home.account.provider.title} has not answered yet"
                if wait_seconds is None
                else f"the requests of this minute are used up, about {format_duration(wait_seconds)} left"
            )
            await caller.report(
                clock.monotonic() - caller.arrived_at_seconds, f"waiting to read the app's definition: {why}"
            )


async def tell_while(workspace: Workspace, caller: Caller, words: str, work: Callable[[], Awaitable[T]]) -> T:
    """Return what some work returns, and tell the client meanwhile what it waits for."""
    async with anyio.create_task_group() as group:
        group.start_soon(_tell, workspace, caller, words)
        try:
            found: T | FlowportError = await work()
        except FlowportError as exc:
            # The group would wrap it.
            found = exc
        group.cancel_scope.cancel()
    if isinstance(found, FlowportError):
        raise found
    return found


async def _tell(workspace: Workspace, caller: Caller, words: str) -> None:
    while True:
        with workspace.clock.move_on_after(PROGRESS_SECONDS):
            await anyio.sleep_forever()
        await caller.report(workspace.clock.monotonic() - caller.arrived_at_seconds, words)
