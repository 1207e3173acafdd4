"""What a provider can show of a start whose reply was lost."""

from dataclasses import dataclass

from flowport.domain.models import Output


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run of an app, as the provider lists it."""

    provider_run_id: str
    begun_at: float
    has_same_inputs: bool | None
    """Whether its inputs are those that were asked about; None when they are not shown."""


@dataclass(frozen=True, slots=True)
class RecentOutput:
    """A file that was made with a key, by whichever program."""

    output: Output
    made_at: float | None
    """None when the provider does not say."""
