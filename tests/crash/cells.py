"""The crash matrix: every point at which the process is killed, combined with every fault."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowport.runtime.failpoints import Failpoint

AFTER_ANSWER = "after_answer"
"""The client has read the answer. Only the client knows when, so it kills the process there."""
POINTS = (*Failpoint, AFTER_ANSWER)
ANSWERED = frozenset({Failpoint.AFTER_WRITTEN, AFTER_ANSWER})
"""The points at which the client has its answer."""

DAY_SECONDS = 86_400.0


class Trouble(StrEnum):
    """The additional fault."""

    NONE = "no fault"
    DROPPED = "reply dropped"
    RESET = "connection reset"
    NETWORK_GONE = "network gone"
    """From the kill until shortly after the next start."""
    DISK_FULL = "disk full"
    """From the point on; the process is killed once it has tried to continue."""
    CLOCK_FORWARD = "clock a day ahead"
    """From the next start on."""
    CLOCK_BACK = "clock a day behind"


@dataclass(frozen=True, slots=True)
class Cell:
    """One kill."""

    point: str
    trouble: Trouble
    provider: str = "magnific"
    """The provider whose app is run. The other provider is configured as well."""

    def __str__(self) -> str:
        return f"{self.provider}-{self.point}-{self.trouble}".replace(" ", "_")

    @property
    def switch(self) -> dict[str, Any] | None:
        """The fault switch of the sandbox for this fault; None when the sandbox has no fault."""
        kinds = {Trouble.DROPPED: "drop", Trouble.RESET: "reset"}
        if self.trouble not in kinds:
            return None
        if self.point == Failpoint.WHILE_DOWNLOADING and self.trouble is Trouble.DROPPED:
            # A file whose connection ends without a byte would never get as far as the point.
            return {"operation": "file", "fault": "truncate"}
        is_started = self.point in {Failpoint.WHILE_FOLLOWING, Failpoint.WHILE_DOWNLOADING}
        is_answered = self.point in {Failpoint.BEFORE_ANSWER, *ANSWERED} and self.trouble is Trouble.RESET
        return {"operation": "status" if is_started or is_answered else "run", "fault": kinds[self.trouble]}

    @property
    def photo_size(self) -> tuple[int, int]:
        """The size of the picture that is sent and returned."""
        # A partial file is written only when it is larger than the download buffer.
        is_cut = self.point == Failpoint.WHILE_DOWNLOADING and self.trouble is Trouble.DROPPED
        return (1600, 1200) if is_cut else (640, 480)

    @property
    def is_unknown(self) -> bool | None:
        """Whether the run's state cannot be known afterwards, so that it must be unknown; otherwise it must not be."""
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
    # Magica uploads a file through its MCP server, in one piece.
    if point != Failpoint.DURING_UPLOAD
)
