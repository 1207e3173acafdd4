"""Which runs the last answers held, so that an answer that did not arrive can be taken back.

A request handler returns before its answer is written, so it cannot know that it was. What comes to light afterwards is
that the client has cancelled the request, or that its connection broke with the answer in our hands.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

RequestId: TypeAlias = str | int
Request: TypeAlias = tuple[str, RequestId]
"""A connection, and a request that came over it."""

MAX_KEPT: Final = 512
"""Answers that are remembered once they are written, or may be; a cancellation crosses with one of the last few."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What an answer held, and for which call."""

    run_id: str
    call_id: str


class Deliveries:
    """Remembers what was handed over lately."""

    def __init__(self, take_back: Callable[[str], None]) -> None:
        """Begin empty; `take_back` hears the id of each run whose answer did not arrive."""
        self._take_back = take_back
        self._deliveries: OrderedDict[Request, _Delivery] = OrderedDict()
        self._confirming: set[str] = set()
        """The connections of whose answers it is told when they are written."""
        self._unwritten: dict[Request, None] = {}
        """The requests over these connections whose answers are not written yet."""

    def expect_confirmation(self, connection: str) -> None:
        """Take no answer over a connection for written before `confirm` tells so."""
        self._confirming.add(connection)

    def confirm(self, connection: str, request_id: RequestId) -> None:
        """Note that the answer to a request is written."""
        self._unwritten.pop((connection, request_id), None)

    def note(self, connection: str, request_id: RequestId, run_id: str, call_id: str) -> None:
        """Remember that the answer to a request, which is that of a call, holds the outputs of a run."""
        self._deliveries[connection, request_id] = _Delivery(run_id, call_id)
        if connection in self._confirming:
            self._unwritten[connection, request_id] = None
        if len(self._deliveries) > MAX_KEPT:
            for request in [one for one in self._deliveries if one not in self._unwritten][:-MAX_KEPT]:
                del self._deliveries[request]

    def get_unwritten_calls(self) -> frozenset[str]:
        """Return the calls whose answers are certainly not written yet."""
        return frozenset(self._deliveries[request].call_id for request in self._unwritten)

    def get_last(self) -> tuple[str, RequestId, str]:
        """Return connection, request and run of the last answer that held one."""
        (connection, request_id), delivery = next(reversed(self._deliveries.items()))
        return connection, request_id, delivery.run_id

    def lose(self, connection: str, request_id: RequestId) -> None:
        """Take the answer to a request back; nothing happens when it held no run."""
        self._unwritten.pop((connection, request_id), None)
        delivery = self._deliveries.pop((connection, request_id), None)
        if delivery is not None:
            self._take_back(delivery.run_id)

    def lose_unwritten(self, connection: str) -> None:
        """Take back every answer over a connection that is not written."""
        for lost, request_id in list(self._unwritten):
            if lost == connection:
                self.lose(lost, request_id)
