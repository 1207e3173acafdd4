"""The crash matrix: every point at which the process is killed, with every fault that may come along."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowport.runtime.failpoints import Failpoint

AFTER_ANSWER = "after_answer"
"""The client has read the answer. Only it can know, so it is the client that kills there."""
POINTS = (*Failpoint, AFTER_ANSWER)
ANSWERED = frozenset({Failpoint.AFTER_WRITTEN, AFTER_ANSWER})
"""The points at which the client has its answer."""

DAY_SECONDS = 86_400.0


class Trouble(StrEnum):
    """What goes wrong besides."""

    NONE = "no fault"
    DROPPED = "reply dropped"
    RESET = "connection reset"
    NETWORK_GONE = "network gone"
    """From the death on, and for the first while of the next life."""
    DISK_FULL = "disk full"
    """From the point on; the process is killed once it has tried to go on."""
    CLOCK_FORWARD = "clock a day ahead"
    """From the next life on."""
    CLOCK_BACK = "clock a day behind"


@dataclass(frozen=True, slots=True)
class Cell:
    """One death."""

    point: str
    trouble: Trouble
    provider: str = "magnific"
    """Whose app is run. The other provider is there all the same."""

    def __str__(self) -> str:
        return f"{self.provider}-{self.point}-{self.trouble}".replace(" ", "_")

    @property
    def switch(self) -> dict[str, Any] | None:
        """How the sandbox makes the trouble, by its fault switch; None when the sandbox does nothing amiss."""
        kinds = {Trouble.DROPPED: "drop", Trouble.RESET: "reset"}
        if self.trouble not in kinds:
            return None
        if self.point == Failpoint.WHILE_DOWNLOADING and self.trouble is Trouble.DROPPED:
            # A file whose connection ends without a byte would never get as far as the point.
            return {"operation": "file", "fault": "truncate"}
        is_started = self.point in {Failpoint.WHILE_FOLLOWING, Failpoint.WHILE_DOWNLOADING}
        is_told = self.point in {Failpoint.BEFORE_ANSWER, *ANSWERED} and self.trouble is Trouble.RESET
        return {"operation": "status" if is_started or is_told else "run", "fault": kinds[self.trouble]}

    @property
    def photo_size(self) -> tuple[int, int]:
        """How large a picture is sent, and comes back."""
        # What comes of half a file is written only when it is more than a fetch gathers first.
        is_cut = self.point == Failpoint.WHILE_DOWNLOADING and self.trouble is Trouble.DROPPED
        return (1600, 1200) if is_cut else (640, 480)

    @property
    def is_unknown(self) -> bool | None:
        """Whether nobody can know the run's fate afterwards, so that it must be called unknown, and must not otherwise."""
        if self.trouble in {Trouble.DROPPED, Trouble.RESET, Trouble.DISK_FULL}:
            return None
        return self.point in _BETWEEN


_BETWEEN = frozenset(
    {
        Failpoint.AFTER_STARTING,
        Failpoint.AFTER_REQUEST_LEFT,
        Failpoint.AFTER_PROVIDER_ACCEPTED,
        Failpoint.AFTER_REPLY,
    }
)
"""The points between what the store knows before a start request and what it knows after it."""

CELLS = tuple(Cell(point, trouble) for point in POINTS for trouble in Trouble)
MAGICA_CELLS = tuple(
    Cell(point, Trouble.NONE, "magica")
    for point in POINTS
    # A file goes up through its MCP server, in one piece.
    if point != Failpoint.DURING_UPLOAD
)
