"""The clients of both eras: identify them, report progress, ask the person there, and announce changes.

Older clients are asked in the middle of a call. Since 2026-07-28 the call is answered with the question, and the client
repeats it with the person's answer; the question is included and sealed, so that consent to one does not answer another.

Since 2026-07-28 a client opens a stream for change notifications, which the library serves. Older clients are notified on
their connection. The library keeps no list of those, so `Announcer` does.
"""

import hashlib
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn, TypeAlias

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
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params

from flowport.domain.call_errors import ConfirmationNeeded
from flowport.domain.principal import LOCAL, Principal
from flowport.domain.spending import Consent
from flowport.domain.text import clean_line
from flowport.domain.uris import format_run_uri
from flowport.runtime.background import Changes, ListKind
from flowport.runtime.exchange import Exchange

logger = logging.getLogger(__name__)

REPORT_TIMEOUT_SECONDS: Final = 1.0
"""How long a client that has stopped reading may hold up a progress notification."""

MODERN_ERA: Final = "2026-07-28"
SESSION_HEADER: Final = "mcp-session-id"
STDIO: Final = "stdio"
"""The connection of a client that is alone with this process."""

Context: TypeAlias = ServerRequestContext[Any, Any]

MAX_USED: Final = 4096
"""Answers of persons that are remembered; the seal on a question is valid for ten minutes."""

_KEY: Final = "confirm"
_MARK: Final = "#"
_NOTHING_TO_FILL_IN: Final[dict[str, Any]] = {"type": "object", "properties": {}}

EXCHANGE_KEY: Final = "flowport.runs.delivery"
"""Where the scope of a request over HTTP keeps its exchange."""


PRINCIPAL_KEY: Final = "flowport.principal"
"""Where the scope of an authenticated request over HTTP keeps its principal."""


async def provide_exchange(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Make an exchange for a request whose transport has made none: a middleware.

    Without a transport that reports writes, the content of the answer counts as undelivered.
    """
    found = find_exchange(ctx)
    if found is not None and found.request_id is None:
        found.request_id = ctx.request_id
        found.is_progress_wanted = progress_token_from_params(ctx.params) is not None
    if ctx.request_id is None or found is not None:
        return await call_next(ctx)
    exchange = Exchange(ctx.request_id)
    if ctx.request is None:
        ctx = replace(ctx, request=exchange)
    else:
        ctx.request.scope[EXCHANGE_KEY] = exchange
    try:
        return await call_next(ctx)
    finally:
        exchange.note_disconnected()


async def read_argument_text(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Read the arguments of a call that come as JSON text: a middleware, because the library's refusal names nothing.

    Raises:
        MCPError: They are no object.
    """
    if ctx.method != "tools/call" or ctx.params is None or "arguments" not in ctx.params:
        return await call_next(ctx)
    arguments = parse_argument_text(ctx.params["arguments"])
    return await call_next(replace(ctx, params={**ctx.params, "arguments": arguments}))


def parse_argument_text(value: Any) -> dict[str, Any] | None:
    """Return the arguments of a call; an object may come as JSON text, and nothing as blank text.

    Raises:
        MCPError: They are no object.
    """
    if value is None or isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise _refuse_arguments("is not an object")
    try:
        found = json.loads(value, parse_constant=_refuse_constant) if value.strip() else {}
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise _refuse_arguments("holds half of a character (a lone surrogate)") from exc
    except (ValueError, RecursionError) as exc:
        raise _refuse_arguments("is text that is not a JSON object") from exc
    if found is None or isinstance(found, dict):
        return found
    raise _refuse_arguments("is text that is not a JSON object")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_arguments(problem: str) -> MCPError:
    words = 'Nothing was started and nothing is charged. Give an object, such as {"prompt": "a lake"}.'
    return MCPError(t.INVALID_PARAMS, f"arguments {problem}. {words}")


def find_exchange(context: Context) -> Exchange | None:
    """Return the exchange of a request; None for a notification."""
    request = context.request
    found = request if request is None or isinstance(request, Exchange) else request.scope.get(EXCHANGE_KEY)
    return found if isinstance(found, Exchange) else None


def get_principal(context: Context) -> Principal:
    """Return who sends a request; the person at this computer where no authentication says otherwise."""
    request = context.request
    found = None if request is None or isinstance(request, Exchange) else request.scope.get(PRINCIPAL_KEY)
    return found if isinstance(found, Principal) else LOCAL


def is_stateless(context: Context) -> bool:
    """Return whether the client has no session, so that request ids may repeat."""
    request = context.request
    return request is not None and not isinstance(request, Exchange) and not request.headers.get(SESSION_HEADER)


def get_connection_key(context: Context) -> str:
    """Return a key that all requests of one client share, as far as they can be recognised."""
    request = context.request
    if request is None or isinstance(request, Exchange):
        return STDIO
    if session_id := request.headers.get(SESSION_HEADER):
        return f"session {session_id}"
    # Since 2026-07-28 each request over HTTP stands alone: the same program on the same machine is the same client.
    client = context.session.client_params
    return f"{request.client.host if request.client else ''} {client.client_info.name if client else ''}"


class UsedConfirmations:
    """Remembers which answers of persons were used, so that one yes counts once."""

    def __init__(self) -> None:
        """Begin with none used."""
        self._used: OrderedDict[str, None] = OrderedDict()

    def use(self, state: str) -> bool:
        """Return whether the answer that goes with this state is used for the first time."""
        if state in self._used:
            return False
        self._used[state] = None
        while len(self._used) > MAX_USED:
            self._used.popitem(last=False)
        return True


class McpCaller:
    """A client that sends a request."""

    def __init__(
        self,
        context: Context,
        arrived_at_seconds: float,
        params: t.CallToolRequestParams | None = None,
        used: UsedConfirmations | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            params: Those of a tool call, in which the person can be asked; None for another request.
            used: The answers of persons that were used before.
        """
        exchange, client = find_exchange(context), context.session.client_params
        if exchange is None:
            raise RuntimeError("a request has no exchange")
        self.arrived_at_seconds = arrived_at_seconds
        self.principal = get_principal(context)
        self.owner = self.principal.owner
        self.connection = get_connection_key(context)
        self.client = clean_line(client.client_info.name) if client else ""
        self.exchange = exchange
        self._context = context
        self._params = params
        self._used = used or UsedConfirmations()
        self._last_progress = -1.0

    @property
    def is_progress_wanted(self) -> bool:
        """Whether the request has a progress token."""
        return self.exchange.is_progress_wanted

    async def report(self, elapsed_seconds: float, message: str) -> None:
        """Send progress: always more than before, and never for long."""
        self._last_progress = max(elapsed_seconds, self._last_progress + 0.001)
        with anyio.move_on_after(REPORT_TIMEOUT_SECONDS):
            await self._context.session.report_progress(self._last_progress, None, message)

    async def confirm(self, question: str, patience_seconds: float) -> Consent:
        """Return the person's answer; silence for so long is a no.

        Raises:
            ConfirmationNeeded: The client asks when the call is answered with `build_question`.
        """
        capabilities = self._context.session.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            return Consent.CANNOT_ASK
        if self._context.protocol_version == MODERN_ERA:
            return self._read_answer(question)
        with anyio.move_on_after(patience_seconds):
            try:
                result = await self._context.session.elicit_form(
                    question, _NOTHING_TO_FILL_IN, self._context.request_id
                )
            except MCPError as exc:
                logger.warning("the client cannot ask the person: %s", exc)
                return Consent.CANNOT_ASK
            return Consent.GIVEN if result.action == "accept" else Consent.REFUSED
        return Consent.REFUSED

    def _read_answer(self, question: str) -> Consent:
        given = self._params.input_responses if self._params else None
        state = (self._params.request_state if self._params else None) or ""
        answer = (given or {}).get(_KEY)
        is_for_this = state.partition(_MARK)[0] == _digest(question)
        if answer is None or not is_for_this or not self._used.use(state):
            raise ConfirmationNeeded(question)
        return Consent.GIVEN if getattr(answer, "action", "") == "accept" else Consent.REFUSED


def build_question(error: ConfirmationNeeded) -> t.InputRequiredResult:
    """Return the answer that makes the client ask."""
    params = t.ElicitRequestFormParams(message=error.question, requested_schema=_NOTHING_TO_FILL_IN)
    # The random part makes each question different: without it one answer could be used again and again.
    state = f"{_digest(error.question)}{_MARK}{secrets.token_hex(8)}"
    return t.InputRequiredResult(input_requests={_KEY: t.ElicitRequest(params=params)}, request_state=state)


def _digest(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()


SEND_SECONDS: Final = 1.0
"""How long sending a notification may take; a client that takes longer has stopped reading and gets no more."""

MAX_WATCHED: Final = 1_000
"""Resources that one older client may watch."""

_WATCHED: Final = "flowport.watched"
_LIST_EVENTS: Final[Mapping[ListKind, type[ToolsListChanged | ResourcesListChanged]]] = {
    ListKind.TOOLS: ToolsListChanged,
    ListKind.RESOURCES: ResourcesListChanged,
}


class Announcer:
    """Sends change notifications to clients of both eras."""

    def __init__(self) -> None:
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
        """Subscribe an older client to one resource: `resources/subscribe`."""
        watched = _get_watched(_get_connection(context))
        if len(watched) < MAX_WATCHED:
            watched.add(str(params.uri))
        return t.EmptyResult()

    async def unwatch(
        self, context: ServerRequestContext[Any, Any], params: t.UnsubscribeRequestParams
    ) -> t.EmptyResult:
        """End that subscription: `resources/unsubscribe`."""
        _get_watched(_get_connection(context)).discard(str(params.uri))
        return t.EmptyResult()

    async def keep_announcing_lists(self, changes: Changes) -> None:
        """Announce each change of a list. Never returns."""
        while True:
            lists = await changes.take_lists()
            await self.announce([_LIST_EVENTS[kind]() for kind in ListKind if kind in lists])

    async def keep_announcing_runs(self, changes: Changes) -> None:
        """Announce each change of a run to its subscribers. Never returns."""
        while True:
            run_ids = await changes.take_runs()
            await self.announce([ResourceUpdated(uri=format_run_uri(run_id)) for run_id in sorted(run_ids)])

    async def announce(self, events: Sequence[ServerEvent]) -> None:
        """Notify every subscriber."""
        for event in events:
            await self._bus.publish(event)
        async with anyio.create_task_group() as group:
            for connection in tuple(self._older):
                group.start_soon(self._notify, connection, events)

    def count_older(self) -> int:
        """Return how many older clients get notifications."""
        return len(self._older)

    async def _notify(self, connection: Connection, events: Sequence[ServerEvent]) -> None:
        with anyio.move_on_after(SEND_SECONDS) as scope:
            for event in events:
                await _send(connection, event)
        if scope.cancelled_caught:
            logger.warning("a client has stopped reading; it gets no more notifications")
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
    # The library documents that middleware pushes its clean-up onto the connection, but offers no public access to it.
    return context.session._connection  # noqa: SLF001
