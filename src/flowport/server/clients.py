"""What a request tells of the client behind it, how that client is told of progress, and what its transport knows of it."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, NoReturn, TypeAlias

import anyio
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from flowport.domain.exchange import Exchange

REPORT_TIMEOUT_SECONDS: Final = 1.0
"""How long a client that has stopped reading may hold up a progress notification."""

MODERN_ERA: Final = "2026-07-28"
SESSION_HEADER: Final = "mcp-session-id"
STDIO: Final = "stdio"
"""The connection of a client that is alone with this process."""

Context: TypeAlias = ServerRequestContext[Any, Any]


EXCHANGE_KEY: Final = "flowport.domain.exchange"
"""Where the scope of a request over HTTP keeps its exchange."""


async def provide_exchange(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Make an exchange for a request whose transport has made none: a middleware.

    Nothing tells then that the answer was written, so what it holds counts as undelivered.
    """
    found = _find_exchange(ctx)
    if found is not None and found.request_id is None:
        found.request_id = ctx.request_id
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
        raise _refuse_arguments("is text that is no JSON object") from exc
    if found is None or isinstance(found, dict):
        return found
    raise _refuse_arguments("is text that is no JSON object")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_arguments(problem: str) -> MCPError:
    words = 'Nothing was started and nothing is charged. Give an object, such as {"prompt": "a lake"}.'
    return MCPError(INVALID_PARAMS, f"arguments {problem}. {words}")


def get_exchange(context: Context) -> Exchange:
    """Return the exchange of a request."""
    exchange = _find_exchange(context)
    if exchange is None:
        raise RuntimeError("a request has no exchange")
    return exchange


def _find_exchange(context: Context) -> Exchange | None:
    request = context.request
    found = request if request is None or isinstance(request, Exchange) else request.scope.get(EXCHANGE_KEY)
    return found if isinstance(found, Exchange) else None


def is_stateless(context: Context) -> bool:
    """Tell whether each request of the client stands alone, so that its ids are its own."""
    request = context.request
    return request is not None and not isinstance(request, Exchange) and not request.headers.get(SESSION_HEADER)


def get_connection_key(context: Context) -> str:
    """Return what all requests of one client have in common, as far as that can be told."""
    request = context.request
    if request is None or isinstance(request, Exchange):
        return STDIO
    if session_id := request.headers.get(SESSION_HEADER):
        return f"session {session_id}"
    # Since 2026-07-28 each request over HTTP stands alone: the same program on the same machine is the same client.
    client = context.session.client_params
    return f"{request.client.host if request.client else ''} {client.client_info.name if client else ''}"


def build_reporter(context: Context) -> Callable[[float, str], Awaitable[None]]:
    """Return what sends progress for a request: always more than before, and never for long."""
    last = -1.0

    async def report(progress: float, message: str) -> None:
        nonlocal last
        last = max(progress, last + 0.001)
        with anyio.move_on_after(REPORT_TIMEOUT_SECONDS):
            await context.session.report_progress(last, None, message)

    return report
