"""The records of batches: one call that requests many runs of an app, its rows.

A batch is stored as a run of its own with rows, so joining, delivery, reminders and limits work as for runs. These records
have what only a batch has. A row that was begun is a run like any other, which names its batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowport.domain.models import Run, RunState

STOPPED_BY_PERSON: Final = "The batch was cancelled, so the rest was not started and cost nothing."
"""Why rows of a cancelled batch were dropped; an equal call afterwards starts a new batch."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One requested run of a batch."""

    n: int
    """Its place in the batch, from 1."""
    table_row: int
    """The row of the caller's table, from 1; the variations of a row share it."""
    variation: int
    """Which of the row's variations, from 1."""
    arguments_json: str
    """Its own arguments, without the shared ones, complete, so that it can be prepared again."""
    display_json: str
    """All its arguments in readable form; see `Run.arguments_json`."""
    raw_digest: str
    canonical_digest: str


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch that is to be accepted."""

    run: Run
    """The batch as a run; it reserves the price of all rows that were not begun."""
    shared_json: str
    """The arguments that all rows share, complete."""
    price_each_credits: float | None
    """Of one row; None when unknown."""
    variations: int
    stop_after_failures: int
    """The number of failed rows after which no more are begun; 0 for no limit."""
    rows: tuple[BatchRow, ...]


@dataclass(frozen=True, slots=True)
class BatchArguments:
    """The arguments of all rows of a batch, complete."""

    shared_json: str
    own_json: Mapping[int, str]
    """Each row's own arguments, by its number; they override the shared ones."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The progress of a batch."""

    rows: int
    price_each_credits: float | None
    """None when unknown."""
    variations: int
    stop_after_failures: int
    """0 for never."""
    waiting: int
    """Not begun yet."""
    dropped: int
    """Never sent, and will not be, whether begun or not."""
    live: int
    """Begun and not over."""
    succeeded: int
    partial: int
    failed: int
    unknown: int
    cancelled: int
    """Sent, and cancelled at the provider."""
    forgotten: int
    """Their runs were erased."""
    spent_credits: float
    first_starting_at: float | None
    """When the first recorded row was sent; None if none was."""
    stop_reason: str
    """Why rows were dropped, as a sentence; empty if none were."""
    csv_path: str
    """The path of the saved table; empty if it was not saved."""
    csv_problem: str
    unpriced: int = 0
    """Sent, over, and of unknown cost."""
    unsent: int = 0
    """How many of the live rows were certainly not sent."""

    @property
    def over(self) -> int:
        """How many rows are over."""
        return self.rows - self.waiting - self.dropped - self.live

    @property
    def under_way(self) -> int:
        """How many rows were sent, or are being sent, and are not over."""
        return self.live - self.unsent

    @property
    def unstarted(self) -> int:
        """How many rows are still to be sent: not begun, or waiting for a request."""
        return self.waiting + self.unsent

    @property
    def failures(self) -> int:
        """How many rows were sent and made nothing, as far as known."""
        return self.failed + self.unknown

    @property
    def is_over(self) -> bool:
        """Whether no row changes any more on its own."""
        return not self.waiting and not self.live

    def get_end(self) -> RunState:
        """Return the final state of a batch that is over."""
        if self.succeeded == self.rows:
            return RunState.SUCCEEDED
        if self.succeeded or self.partial or self.forgotten:
            return RunState.PARTIAL
        return RunState.FAILED if self.failed or self.unknown else RunState.CANCELLED


@dataclass(frozen=True, slots=True)
class RowStatus:
    """A row with its run."""

    row: BatchRow
    run: Run | None
    """None if it was not begun, or its run was erased."""
    is_begun: bool
    is_dropped: bool

    @property
    def is_cancelled_unsent(self) -> bool:
        """Whether it was begun and cancelled before anything was sent, which is equivalent to not beginning."""
        return self.run is not None and self.run.state is RunState.CANCELLED and self.run.starting_at is None
