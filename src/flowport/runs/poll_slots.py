"""What waits for its next poll: one slot for each live run, and those whose pace does not allow a poll yet."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import anyio

from flowport.providers.interface import RunStatus
from flowport.runs.live import LiveRun
from flowport.runs.steps import PollState


@dataclass(slots=True, eq=False)
class PollSlot:
    """A run that waits for its next poll. Mutable: it changes with every poll."""

    entry: LiveRun
    live: PollState
    get_usual_seconds: Callable[[], float]
    turn: anyio.Event = field(default_factory=anyio.Event)
    """Set when the run is to be polled, or when polling ends."""
    problem: Exception | None = None
    """Why no request can be sent; None when one can."""
    status: RunStatus | None = None
    """What a bulk status request returned; None when the run needs a request of its own."""
    is_alone: bool = False
    """Whether a bulk status response left the run out: the next poll is its own."""
    permit: anyio.Semaphore | None = None
    """Held while the poll is in progress."""
    is_inherited: bool = False
    """Whether another process started the run, so that an event may have come while none listened; it is read once first."""
    is_open: bool = True
    """Whether the run is still polled."""
    crowd: int = 1
    chance: float = 0.0
    """What spreads its next poll among others; see `get_next_pause`."""
    rest_number: int = -1
    """Of its entry among the resting slots; negative while it does not rest."""
    sent_at: float = 0.0
    """Monotonic seconds just before the request of its last poll."""

    @property
    def provider_run_id(self) -> str:
        """The provider's id of the run."""
        return self.entry.run.provider_run_id

    def release_permit(self) -> None:
        """End the poll that is in progress, so that another one may begin."""
        if self.permit is not None:
            self.permit.release()
            self.permit = None


class RestingSlots:
    """Slots by the instant at which their pace allows a poll."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, PollSlot]] = []
        """Removed slots stay until their instant; their number is another one by then."""

    @property
    def next_at(self) -> float:
        """The first instant; infinity when no slot rests."""
        return self._heap[0][0] if self._heap else inf

    def put(self, slot: PollSlot, ripe_at: float) -> None:
        """Let a slot rest until an instant."""
        slot.rest_number = next(self._numbers)
        heapq.heappush(self._heap, (ripe_at, slot.rest_number, slot))

    def pop(self, now: float) -> PollSlot | None:
        """Return a slot whose instant has come, which rests no longer; None when no instant has come."""
        while self._heap and self._heap[0][0] <= now:
            _, number, slot = heapq.heappop(self._heap)
            if slot.rest_number == number:
                slot.rest_number = -1
                return slot
        return None

    def remove(self, slot: PollSlot) -> bool:
        """End the rest of a slot, and return whether it rested."""
        did_rest, slot.rest_number = slot.rest_number >= 0, -1
        return did_rest

    def drain(self) -> list[PollSlot]:
        """End the rest of all slots, and return them."""
        slots = [slot for _, number, slot in self._heap if slot.rest_number == number]
        self._heap.clear()
        for slot in slots:
            slot.rest_number = -1
        return slots
