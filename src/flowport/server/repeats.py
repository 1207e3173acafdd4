"""Answer a request once, however often it comes.

A proxy or client that is unsure may repeat a request under the same id while it is in progress. The first one is executed;
the others wait and get the same answer. If the client of the first disconnects, the next one is executed.

An id must not be reused in a session (MCP, "Requests"). The same request under the id of an answered one means that the
answer was not used: it counts as cancelled after the answer, and an equal call joins its run for a while.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio

from flowport.runs.delivery import Caller
from flowport.runs.waiting import EventWait, wait
from flowport.runtime.clock import Clock
from flowport.runtime.exchange import Exchange, RequestId

T = TypeVar("T")

_Key: TypeAlias = tuple[str, type, RequestId | None]

MAX_ANSWERED: Final = 256
"""Answered requests that are kept."""

_CHECK_EVERY: Final = 16
"""Finished requests are dropped once for this many new ones, and at most once for as many as are kept."""

_WAITING: Final = "this request is in progress already"


class RequestIdInUse(Exception):
    """Another request is in progress under the same id."""

    def __init__(self, request_id: RequestId | None) -> None:
        super().__init__(f"The id {request_id!r} belongs to another request that is still in progress. Use a new one.")


@dataclass(eq=False, slots=True)
class _Request(Generic[T]):
    digest: str
    """Of its content. A finished request is kept for a while, and its content may have megabytes."""
    exchange: Exchange
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: T | None = None
    """None until it is made, and if the client disconnected before that."""

    @property
    def is_alive(self) -> bool:
        """Whether its client waits, and it has an answer or will have one."""
        return self.exchange.is_open and not (self.done.is_set() and self.answer is None)


class RequestsInProgress(Generic[T]):
    """Requests that are not answered yet, by connection and id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requests: dict[_Key, list[_Request[T]]] = {}
        self._unchecked = 0
        """Requests since finished ones were dropped."""
        self._answered: OrderedDict[tuple[_Key, str], Exchange] = OrderedDict()
        """The last answered request of each id and content, the oldest first."""

    async def answer(
        self,
        caller: Caller,
        content: object,
        make: Callable[..., Awaitable[T]],
        *args: Any,
        is_stateless: bool = False,
    ) -> T:
        """Return the answer to a request: what `make` returns of `args`, or what it returned for the same request.

        Args:
            content: What the request asks for; equal for equal requests.
            is_stateless: Each request stands alone, so another one may have the same id by chance.

        Raises:
            RequestIdInUse: Another request with this id is in progress on this connection.
        """
        request_id = caller.exchange.request_id
        key = (caller.connection, type(request_id), request_id)
        others = self._requests.get(key, [])
        # The members of an object have no order.
        text = json.dumps(content, sort_keys=True, default=repr)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if not is_stateless and any(one.is_alive and one.digest != digest for one in others):
            raise RequestIdInUse(request_id)
        self._forget_answered()
        answered = (key, digest)
        before = self._answered.get(answered)
        if before is not None and before.is_written:
            before.note_cancelled()
        request = _Request[T](digest, caller.exchange)
        self._requests.setdefault(key, []).append(request)
        try:
            while (earlier := self._find_earlier(key, request)) is not None:
                await wait(EventWait(earlier.done, _WAITING), caller, self._clock)
                if earlier.answer is not None:
                    if (listener := earlier.exchange.listener) is not None:
                        caller.exchange.expect(listener)
                    request.answer = earlier.answer
                    return earlier.answer
            request.answer = await make(*args)
            return request.answer
        finally:
            request.done.set()
            if request.answer is not None:
                self._answered[answered] = caller.exchange
                while len(self._answered) > MAX_ANSWERED:
                    self._answered.popitem(last=False)

    def _find_earlier(self, key: _Key, request: _Request[T]) -> _Request[T] | None:
        for one in self._requests[key]:
            if one is request:
                break
            if one.is_alive and one.digest == request.digest:
                return one
        return None

    def _forget_answered(self) -> None:
        """Drop finished requests from time to time, because each pass checks all requests."""
        self._unchecked += 1
        if self._unchecked < max(_CHECK_EVERY, len(self._requests)):
            return
        self._unchecked = 0
        self._requests = {
            key: alive
            for key, requests in self._requests.items()
            if (alive := [one for one in requests if one.is_alive])
        }
