"""Announce changes to clients of both eras, each to those whom it concerns: an owner's runs to that owner alone.

Since 2026-07-28 a client opens a stream for change notifications, which the library serves. Older clients are notified on
their connection. The library keeps no list of those, so `Announcer` does.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
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
from mcp.shared.exceptions import MCPError

from flowport.domain.principal import Principal
from flowport.domain.uris import format_run_uri
from flowport.runtime.background import Changes, ListChange, ListKind, RunChange
from flowport.server.clients import get_principal

logger = logging.getLogger(__name__)

SEND_SECONDS: Final = 1.0
"""How long sending a notification may take; a client that takes longer has stopped reading and gets no more."""

MAX_WATCHED: Final = 1_000
"""Resources that one older client may watch."""

MAX_URI_CHARACTERS: Final = 200
"""Of a resource that is watched; ours are shorter, and a longer one never changes."""

MAX_LISTEN_CHARACTERS: Final = MAX_WATCHED * MAX_URI_CHARACTERS
"""Of the request for a stream, which is in memory for as long as the stream lasts."""

MAX_STREAMS: Final = 200
"""Streams that one owner may have, so that the connections of a server are left to others."""

_WATCHED: Final = "flowport.watched"
_LIST_EVENTS: Final[Mapping[ListKind, type[ToolsListChanged | ResourcesListChanged]]] = {
    ListKind.TOOLS: ToolsListChanged,
    ListKind.RESOURCES: ResourcesListChanged,
}


@dataclass(frozen=True, slots=True)
class Audience:
    """Who listens: an owner with accounts."""

    owner: str
    account_ids: frozenset[str] | None = None
    """None for every account of the settings."""


@dataclass(slots=True, eq=False)
class _Channel:
    """The streams on which one audience listens."""

    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    streams: int = 0
    listen: ListenHandler = field(init=False)

    def __post_init__(self) -> None:
        self.listen = ListenHandler(self.bus)


class Announcer:
    """Sends change notifications to clients of both eras."""

    def __init__(self) -> None:
        self._channels: dict[Audience, _Channel] = {}
        self._older: dict[Connection, Audience] = {}

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: t.SubscriptionsListenRequestParams
    ) -> t.SubscriptionsListenResult:
        """Serve a stream of changes: `subscriptions/listen`, which is how clients since 2026-07-28 listen."""
        if len(json.dumps(context.params, ensure_ascii=False)) > MAX_LISTEN_CHARACTERS:
            problem = f"The request for a stream of changes is longer than {MAX_LISTEN_CHARACTERS} characters."
            raise MCPError(t.INVALID_PARAMS, f"{problem} Name fewer resources.")
        audience = _get_audience(context)
        if sum(one.streams for known, one in self._channels.items() if known.owner == audience.owner) >= MAX_STREAMS:
            problem = f"{MAX_STREAMS} streams of changes of this person are open, which is the most."
            raise MCPError(t.INTERNAL_ERROR, f"{problem} Close one, and try again.")
        channel = self._channels.setdefault(audience, _Channel())
        channel.streams += 1
        try:
            return await channel.listen(context, params)
        finally:
            channel.streams -= 1
            if not channel.streams and self._channels.get(audience) is channel:
                del self._channels[audience]

    def close(self) -> None:
        """End every stream."""
        for channel in tuple(self._channels.values()):
            channel.listen.close()

    async def track(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Note a client of the older eras when it is ready, and forget it when it leaves: a middleware."""
        result = await call_next(ctx)
        connection = _get_connection(ctx)
        if ctx.method == "notifications/initialized":
            self._older[connection] = _get_audience(ctx)
            connection.exit_stack.callback(self._older.pop, connection, None)
        elif connection in self._older:
            # Each request may come with another provider key.
            self._older[connection] = _get_audience(ctx)
        return result

    async def watch(self, context: ServerRequestContext[Any, Any], params: t.SubscribeRequestParams) -> t.EmptyResult:
        """Subscribe an older client to one resource: `resources/subscribe`. One that is not its owner's never changes."""
        watched, uri = _get_watched(_get_connection(context)), str(params.uri)
        if len(watched) < MAX_WATCHED and len(uri) <= MAX_URI_CHARACTERS:
            watched.add(uri)
        return t.EmptyResult()

    async def unwatch(
        self, context: ServerRequestContext[Any, Any], params: t.UnsubscribeRequestParams
    ) -> t.EmptyResult:
        """End that subscription: `resources/unsubscribe`."""
        _get_watched(_get_connection(context)).discard(str(params.uri))
        return t.EmptyResult()

    async def keep_announcing_lists(self, changes: Changes, shared_ids: AbstractSet[str] = frozenset()) -> None:
        """Announce each change of a list. Never returns.

        Args:
            shared_ids: The accounts of the settings.
        """
        while True:
            taken = await changes.take_lists()
            await self._announce(partial(_choose_lists, taken, shared_ids))

    async def keep_announcing_runs(self, changes: Changes) -> None:
        """Announce each change of a run to its owner's subscribers. Never returns."""
        while True:
            taken = sorted(await changes.take_runs())
            await self._announce(partial(_choose_runs, taken))

    def count_older(self) -> int:
        """Return how many older clients get notifications."""
        return len(self._older)

    async def _announce(self, choose: Callable[[Audience], Sequence[ServerEvent]]) -> None:
        """Notify every audience of what it is to know."""
        for audience, channel in tuple(self._channels.items()):
            for event in choose(audience):
                await channel.bus.publish(event)
        async with anyio.create_task_group() as group:
            for connection, audience in tuple(self._older.items()):
                if events := [event for event in choose(audience) if _is_wanted(connection, event)]:
                    group.start_soon(self._notify, connection, events)

    async def _notify(self, connection: Connection, events: Sequence[ServerEvent]) -> None:
        with anyio.move_on_after(SEND_SECONDS) as scope:
            for event in events:
                await _send(connection, event)
        if scope.cancelled_caught:
            logger.warning("a client has stopped reading; it gets no more notifications")
            self._older.pop(connection, None)


def _choose_lists(
    changes: Iterable[ListChange], shared_ids: AbstractSet[str], audience: Audience
) -> Sequence[ServerEvent]:
    """Return the list changes that concern an audience, each kind once."""
    account_ids = shared_ids if audience.account_ids is None else audience.account_ids
    kinds = {
        change.kind
        for change in changes
        if change.owner in {None, audience.owner} and (change.account_id is None or change.account_id in account_ids)
    }
    return [_LIST_EVENTS[kind]() for kind in ListKind if kind in kinds]


def _choose_runs(changes: Iterable[RunChange], audience: Audience) -> Sequence[ServerEvent]:
    """Return the changes of an audience's own runs."""
    return [ResourceUpdated(uri=format_run_uri(one.run_id)) for one in changes if one.owner == audience.owner]


def _is_wanted(connection: Connection, event: ServerEvent) -> bool:
    return not isinstance(event, ResourceUpdated) or event.uri in _get_watched(connection)


async def _send(connection: Connection, event: ServerEvent) -> None:
    if isinstance(event, ToolsListChanged):
        await connection.send_tool_list_changed()
    elif isinstance(event, ResourcesListChanged):
        await connection.send_resource_list_changed()
    elif isinstance(event, ResourceUpdated):
        await connection.send_resource_updated(event.uri)


def _get_audience(context: ServerRequestContext[Any, Any]) -> Audience:
    principal: Principal = get_principal(context)
    return Audience(principal.owner, principal.account_ids)


def _get_watched(connection: Connection) -> set[str]:
    watched: set[str] = connection.state.setdefault(_WATCHED, set())
    return watched


def _get_connection(context: ServerRequestContext[Any, Any]) -> Connection:
    # The library documents that middleware pushes its clean-up onto the connection, but offers no public access to it.
    return context.session._connection  # noqa: SLF001
