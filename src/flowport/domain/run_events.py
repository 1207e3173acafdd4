"""What can happen to a run, and what each event makes of its record. Pure: the store reads, applies and writes.

Only delivery is an event so far; the other changes of a run are still written by `ledger.changes`.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from flowport.model import Run


@dataclass(frozen=True, slots=True)
class Delivered:
    """An answer that holds the outputs of the run was written to a client."""

    at: float
    to: str = ""
    """The client, as it calls itself, cleaned; empty when it has no name."""


@dataclass(frozen=True, slots=True)
class DeliveryCancelled:
    """The client cancelled the request after its answer was written. The delivery stands."""

    delivered_at: float
    """Which delivery is meant; a later one is not affected."""


RunEvent: TypeAlias = Delivered | DeliveryCancelled


def apply(run: Run, event: RunEvent) -> Run:
    """Return the run after an event. Applying the same event twice changes nothing."""
    match event:
        case Delivered(at, to):
            is_repeated = run.delivered_at == at
            is_cancelled = run.is_delivery_cancelled and is_repeated
            return replace(run, delivered_at=at, delivered_to=to, is_delivery_cancelled=is_cancelled)
        case DeliveryCancelled(delivered_at):
            return replace(run, is_delivery_cancelled=True) if run.delivered_at == delivered_at else run
        case _:
            assert_never(event)
