"""What can happen to a run, and what each event makes of its record. Pure: the store reads, applies and writes.

Only delivery is an event so far; the other changes of a run are still written by `store.changes`.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from flowport.domain.models import Run


@dataclass(frozen=True, slots=True)
class Delivered:
    """An answer that holds the outputs of the run was written to a client."""

    at: float
    to: str = ""
    """The client, as it calls itself, cleaned; empty when it has no name."""
    boot_id: str = ""
    boot_seconds: float | None = None
    """The same instant by the boot clock, and which start of the machine it counts from; where there is such a clock."""


@dataclass(frozen=True, slots=True)
class DeliveryCancelled:
    """The client cancelled the request after its answer was written. The delivery stands."""

    delivered_at: float
    """Which delivery is meant; a later one is not affected."""


RunEvent: TypeAlias = Delivered | DeliveryCancelled


def apply(run: Run, event: RunEvent) -> Run:
    """Return the run after an event. Applying the same event twice changes nothing."""
    match event:
        case Delivered(at, to, boot_id, boot_seconds):
            return replace(
                run,
                delivered_at=at,
                delivered_to=to,
                delivered_boot_id=boot_id,
                delivered_boot_seconds=boot_seconds,
                is_delivery_cancelled=run.is_delivery_cancelled and run.delivered_at == at,
            )
        case DeliveryCancelled(delivered_at):
            return replace(run, is_delivery_cancelled=True) if run.delivered_at == delivered_at else run
        case _:
            assert_never(event)
