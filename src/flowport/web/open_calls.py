"""The tool calls that are not answered yet: how many each person may have, and how they end with the process."""

from collections import Counter
from typing import Final

import anyio
from mcp.server.context import CallNext, HandlerResult

from flowport.domain.call_errors import ServerEnding, TooManyCalls
from flowport.server.clients import Context, get_principal
from flowport.server.results import build_error_result

_TOOL_CALL: Final = "tools/call"


class OpenCalls:
    """The calls of all clients of a server."""

    def __init__(self, max_of_person: int) -> None:
        """Begin with none; `max_of_person` is how many calls of one person may wait side by side."""
        self._max_of_person = max_of_person
        self._scopes: set[anyio.CancelScope] = set()
        self._by_owner: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many calls are not answered yet."""
        return len(self._scopes)

    async def track(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a call, unless the person has too many or the process ends: a middleware."""
        if ctx.method != _TOOL_CALL:
            return await call_next(ctx)
        principal = get_principal(ctx)
        owner = principal.owner
        # A server of one person needs no limit between persons.
        if not principal.is_local and self._by_owner[owner] >= self._max_of_person:
            return build_error_result(TooManyCalls(self._max_of_person))
        self._by_owner[owner] += 1
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                return await call_next(ctx)
        finally:
            self._scopes.discard(scope)
            self._by_owner[owner] -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]
        return build_error_result(ServerEnding())

    def end(self) -> None:
        """Answer the calls that are left with a sentence: none of them waits for a run, which would have been named."""
        for scope in tuple(self._scopes):
            scope.cancel()
