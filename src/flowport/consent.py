"""What a person said when asked."""

from enum import Enum


class Consent(Enum):
    """What the person said."""

    GIVEN = "given"
    REFUSED = "refused"
    """Or did not say anything in time."""
    CANNOT_ASK = "cannot ask"
    """The client has no way to ask."""
