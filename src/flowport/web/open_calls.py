"""The tool calls that are not answered yet: how many each person may have, and how they end with the process."""

from collections import Counter
from typing import Final

from mcp.server.context import CallNext, HandlerResult

from flowport.domain.call_errors import ServerEnding, TooManyCalls
from flowport.runtime.exchange import Exchange
from flowport.server.clients import Context, find_exchange, get_principal
from flowport.server.results import build_error_result
from flowport.web.access_log import note_trace

_TOOL_CALL: Final = "tools/call"


class OpenCalls:
    """The calls of all clients of a server."""

    def __init__(self, max_of_person: int) -> None:
        """Begin with none; `max_of_person` is how many calls of one person may wait side by side."""
        self._max_of_person = max_of_person
        self._open: set[Exchange | None] = set()
        self._interrupted: set[Exchange | None] = set()
        self._by_owner: Counter[str] = Counter()
        self.refused = 0
        """Calls above the limit of a person."""

    @property
    def count(self) -> int:
        """How many calls are not answered yet."""
        return len(self._open)

    async def track(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a call, unless the person has too many or the process ends: a middleware."""
        if ctx.request is not None and not isinstance(ctx.request, Exchange):
            note_trace(ctx.request.scope, ctx.params)
        if ctx.method != _TOOL_CALL:
            return await call_next(ctx)
        principal = get_principal(ctx)
        owner = principal.owner
        # A server of one person needs no limit between persons.
        if not principal.is_local and self._by_owner[owner] >= self._max_of_person:
            self.refused += 1
            return build_error_result(TooManyCalls(self._max_of_person))
        exchange = find_exchange(ctx)
        self._by_owner[owner] += 1
        self._open.add(exchange)
        try:
            result = await call_next(ctx)
        finally:
            self._open.discard(exchange)
            self._by_owner[owner] -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]
        # A result that was complete at that moment is delivered.
        is_empty = isinstance(result, dict) and not result.get("content")
        return build_error_result(ServerEnding()) if is_empty and exchange in self._interrupted else result

    def end(self) -> None:
        """Answer the calls that are left with a sentence: none of them waits for a run, which would have been named."""
        self._interrupted |= self._open
        for exchange in tuple(self._open):
            if exchange is not None:
                exchange.interrupt()
