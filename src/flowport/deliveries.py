"""Which runs the last answers held, so that an answer that did not arrive can be taken back.

A request handler returns before its answer is written, so it cannot know that it was. What comes to light afterwards is
that the client has cancelled the request, or that its connection broke with the answer in our hands.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

RequestId: TypeAlias = str | int

MAX_KEPT: Final = 512
"""Answers that are remembered; a cancellation crosses with one of the last few."""


class Deliveries:
    """Remembers what was handed over lately."""

    def __init__(self, take_back: Callable[[str], None]) -> None:
        """Begin empty; `take_back` hears the id of each run whose answer did not arrive."""
        self._take_back = take_back
        self._run_ids: OrderedDict[tuple[str, RequestId], str] = OrderedDict()

    def note(self, connection: str, request_id: RequestId, run_id: str) -> None:
        """Remember that the answer to a request holds the outputs of a run."""
        self._run_ids[connection, request_id] = run_id
        while len(self._run_ids) > MAX_KEPT:
            self._run_ids.popitem(last=False)

    def get_last(self) -> tuple[str, RequestId, str]:
        """Return connection, request and run of the last answer that held one."""
        (connection, request_id), run_id = next(reversed(self._run_ids.items()))
        return connection, request_id, run_id

    def lose(self, connection: str, request_id: RequestId) -> None:
        """Take the answer to a request back; nothing happens when it held no run."""
        run_id = self._run_ids.pop((connection, request_id), None)
        if run_id is not None:
            self._take_back(run_id)
