"""What the store keeps of batches: one call that asks for many runs of an app, its rows.

A batch is on record as a run of its own, with rows, so that joining, seeing, telling, mentioning and the caps are the
same for both. What only a batch has is here. A row that was begun is a run like any other, which names its batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowport.domain.models import Run, RunState

STOPPED_BY_PERSON: Final = "The batch was cancelled, so the rest was not started and cost nothing."
"""Why rows were dropped that a person wanted no more; who asks for the same afterwards wants it anew."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One run that a batch asks for."""

    n: int
    """Its place in the batch, from 1."""
    given_n: int
    """The row of the caller's table, from 1; the variations of a row share it."""
    variation: int
    """Which of the row's variations, from 1."""
    arguments_json: str
    """What it is made of besides what all rows share, complete, so that it can be prepared again."""
    shown_json: str
    """All its arguments as a person would want to read them again; see `Run.arguments_json`."""
    raw_digest: str
    canonical_digest: str


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch that is to be accepted."""

    run: Run
    """The batch as the lists show it; it holds back the price of all rows that have not begun."""
    shared_json: str
    """The arguments that all rows share, complete."""
    price_each_credits: float | None
    """Of one row; None when unknown."""
    variations: int
    stop_after_failures: int
    """After how many failed rows no more are begun; 0 for never."""
    rows: tuple[BatchRow, ...]


@dataclass(frozen=True, slots=True)
class BatchArguments:
    """What all rows of a batch are made of, complete."""

    shared_json: str
    own_json: Mapping[int, str]
    """What each row has of its own, by its place; it is stronger than what they share."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is."""

    rows: int
    price_each_credits: float | None
    """None when unknown."""
    variations: int
    stop_after_failures: int
    """0 for never."""
    waiting: int
    """Not begun yet."""
    dropped: int
    """Never sent, and they will not be, whether they had begun or not."""
    live: int
    """Begun and not over."""
    succeeded: int
    partial: int
    failed: int
    unknown: int
    cancelled: int
    """Sent, and cancelled there."""
    forgotten: int
    """Their runs were erased."""
    spent_credits: float
    first_starting_at: float | None
    """When the first of those on record was sent; None when none was."""
    stopped: str
    """Why rows were dropped, as a sentence; empty when none were."""
    csv_path: str
    """Where the table was saved; empty when it was not."""
    csv_problem: str
    unpriced: int = 0
    """Sent, over, and of unknown cost."""
    unsent: int = 0
    """Of the live ones, of how many it is certain that nothing was sent."""

    @property
    def over(self) -> int:
        """How many rows have come to their end."""
        return self.rows - self.waiting - self.dropped - self.live

    @property
    def under_way(self) -> int:
        """How many rows were sent, or are just being, and are not over."""
        return self.live - self.unsent

    @property
    def unstarted(self) -> int:
        """How many rows are still to be sent: those that have not begun, and those that wait for their turn."""
        return self.waiting + self.unsent

    @property
    def failures(self) -> int:
        """How many of them were sent and made nothing, as far as anybody knows."""
        return self.failed + self.unknown

    @property
    def is_over(self) -> bool:
        """Whether no row is left that will change by itself."""
        return not self.waiting and not self.live

    def get_end(self) -> RunState:
        """Return how the batch ends, when all of it is over."""
        if self.succeeded == self.rows:
            return RunState.SUCCEEDED
        if self.succeeded or self.partial or self.forgotten:
            return RunState.PARTIAL
        return RunState.FAILED if self.failed or self.unknown else RunState.CANCELLED


@dataclass(frozen=True, slots=True)
class RowStatus:
    """A row with what has come of it."""

    row: BatchRow
    run: Run | None
    """None while it has not begun, and when its run was erased."""
    is_begun: bool
    is_dropped: bool

    @property
    def is_cancelled_unsent(self) -> bool:
        """Whether it had begun and was cancelled before anything was sent, which is no different from not beginning."""
        return self.run is not None and self.run.state is RunState.CANCELLED and self.run.starting_at is None
