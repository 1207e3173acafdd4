"""What a request tells of the client behind it, and how that client is told of progress."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import anyio
from mcp.server import ServerRequestContext

REPORT_TIMEOUT_SECONDS: Final = 1.0
"""How long a client that has stopped reading may hold up a progress notification."""

MODERN_ERA: Final = "2026-07-28"
STDIO: Final = "stdio"
"""The connection of a client that is alone with this process."""

Context: TypeAlias = ServerRequestContext[Any, Any]


async def is_gone(context: Context) -> bool:
    """Tell whether the client has left a request that goes on all the same, as older ones over HTTP can."""
    return context.request is not None and bool(await context.request.is_disconnected())


def get_connection_key(context: Context) -> str:
    """Return what all requests of one client have in common, as far as that can be told."""
    request = context.request
    if request is None:
        return STDIO
    if session_id := request.headers.get("mcp-session-id"):
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
