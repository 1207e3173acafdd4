"""What can come of the wish to cancel a run."""

from enum import Enum


class CancelOutcome(Enum):
    """What came of the wish to cancel a run."""

    CANCELLED = "cancelled"
    """Nothing had been sent to the provider; nothing is charged."""
    CANNOT = "cannot"
    """The provider cannot cancel; the run goes on."""
    UNFOLLOWED = "unfollowed"
    """The provider cannot cancel; we no longer look at the run."""
    ALREADY_OVER = "already over"
