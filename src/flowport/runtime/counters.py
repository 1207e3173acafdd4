"""Count what happens in a process, for those who watch over it. Labels come from closed sets, so the counts stay few."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class Counted(StrEnum):
    """What is counted, each with the meaning of its label."""

    PROVIDER_REQUESTS = "provider_requests"
    """Requests to providers, by provider and class of status, such as `2xx`."""
    STARTS = "starts"
    """Start requests, by their outcome."""
    POLLS = "polls"
    """Reads of runs, by their outcome."""
    WEBHOOKS = "webhooks"
    """Webhook requests: received, accepted, or why refused."""
    REFUSED = "refused"
    """Requests that were not served, by the limit that refused them."""


class Counters:
    """The counts of one process."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Counted, str]] = Counter()

    def add(self, what: Counted, label: str = "", count: int = 1) -> None:
        """Count something; the label must come from a closed set."""
        self._counts[what, label] += count

    def get(self, what: Counted) -> Mapping[str, int]:
        """Return the counts by label."""
        return {label: count for (one, label), count in self._counts.items() if one is what}
