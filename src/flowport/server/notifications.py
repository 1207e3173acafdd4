"""Tell clients of both eras what has changed.

Since 2026-07-28 a client opens a stream for it and the library serves that. Older clients are told on their
connection, and the library keeps no list of those; here is one.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
import mcp.types as t
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from flowport.domain.uris import format_run_uri
from flowport.runtime.background import Changes, ListKind

logger = logging.getLogger(__name__)

SEND_SECONDS: Final = 1.0
"""How long a client may take to accept a word; one that takes longer has stopped reading and is told no more."""

MAX_WATCHED: Final = 1_000
"""Resources that one older client may watch."""

_WATCHED: Final = "flowport.watched"
_LIST_EVENTS: Final[Mapping[ListKind, type[ToolsListChanged | ResourcesListChanged]]] = {
    ListKind.TOOLS: ToolsListChanged,
    ListKind.RESOURCES: ResourcesListChanged,
}


class Announcer:
    """Knows who wants to hear of changes, and tells them."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._bus = InMemorySubscriptionBus()
        self._older: set[Connection] = set()
        self.listen = ListenHandler(self._bus)
        """Answers `subscriptions/listen`, which is how clients since 2026-07-28 listen."""

    async def track(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Note a client of the older eras when it is ready, and forget it when it leaves: a middleware."""
        result = await call_next(ctx)
        if ctx.method == "notifications/initialized":
            connection = _get_connection(ctx)
            self._older.add(connection)
            connection.exit_stack.callback(self._older.discard, connection)
        return result

    async def watch(self, context: ServerRequestContext[Any, Any], params: t.SubscribeRequestParams) -> t.EmptyResult:
        """Tell this older client of changes of one resource: `resources/subscribe`."""
        watched = _get_watched(_get_connection(context))
        if len(watched) < MAX_WATCHED:
            watched.add(str(params.uri))
        return t.EmptyResult()

    async def unwatch(
        self, context: ServerRequestContext[Any, Any], params: t.UnsubscribeRequestParams
    ) -> t.EmptyResult:
        """Tell it no more: `resources/unsubscribe`."""
        _get_watched(_get_connection(context)).discard(str(params.uri))
        return t.EmptyResult()

    async def keep_announcing_lists(self) -> None:
        """Tell of each change of a list. Never returns."""
        while True:
            lists = await self._changes.take_lists()
            await self.announce([_LIST_EVENTS[kind]() for kind in ListKind if kind in lists])

    async def keep_announcing_runs(self) -> None:
        """Tell of each change of a run to those who watch it. Never returns."""
        while True:
            run_ids = await self._changes.take_runs()
            await self.announce([ResourceUpdated(uri=format_run_uri(run_id)) for run_id in sorted(run_ids)])

    async def announce(self, events: Sequence[ServerEvent]) -> None:
        """Tell everybody who listens."""
        for event in events:
            await self._bus.publish(event)
        async with anyio.create_task_group() as group:
            for connection in tuple(self._older):
                group.start_soon(self._tell, connection, events)

    def count_older(self) -> int:
        """Return how many older clients are told."""
        return len(self._older)

    async def _tell(self, connection: Connection, events: Sequence[ServerEvent]) -> None:
        with anyio.move_on_after(SEND_SECONDS) as scope:
            for event in events:
                await _send(connection, event)
        if scope.cancelled_caught:
            logger.warning("a client has stopped reading; it is no longer told of changes")
            self._older.discard(connection)


async def _send(connection: Connection, event: ServerEvent) -> None:
    if isinstance(event, ToolsListChanged):
        await connection.send_tool_list_changed()
    elif isinstance(event, ResourcesListChanged):
        await connection.send_resource_list_changed()
    elif isinstance(event, ResourceUpdated) and event.uri in _get_watched(connection):
        await connection.send_resource_updated(event.uri)


def _get_watched(connection: Connection) -> set[str]:
    watched: set[str] = connection.state.setdefault(_WATCHED, set())
    return watched


def _get_connection(context: ServerRequestContext[Any, Any]) -> Connection:
    # The library's documentation tells middleware to push its clean-up onto the connection, and shows no way to it.
    return context.session._connection  # noqa: SLF001
