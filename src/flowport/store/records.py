"""The records that pass between a store and its callers.

A batch is stored as a run of its own with rows, so joining, delivery, reminders and limits work as for runs. Its records have
what only a batch has. A row that was begun is a run like any other, which names its batch.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowport.domain.models import OutputKind, Run, RunState
from flowport.domain.spending import LimitExceeded


@dataclass(frozen=True, slots=True)
class RunSearch:
    """Which runs a list shows; each condition that is given must hold."""

    words: tuple[str, ...] = ()
    """Each is in the app's name, the tool's name, the id or the arguments; upper and lower case are equal."""
    app: str = ""
    """A part of the app's or the tool's name."""
    is_live: bool = False
    """Whether only runs that are not over are shown."""
    since: float | None = None
    until: float | None = None
    """The instants between which a run was accepted, the second excluded."""


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A call of a client that waits for a run's end."""

    id: str
    process_id: str
    """The process that the call came to; once it has ended, the call waits no longer."""


@dataclass(frozen=True, slots=True)
class KnownProcesses:
    """What was found out about other processes before a transaction. An id is used once, so the dead stay dead."""

    alive: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()

    def __contains__(self, process_id: str) -> bool:
        """Whether something is known of a process."""
        return process_id in self.alive or process_id in self.dead

    def look_up(self, process_ids: Iterable[str], is_alive: Callable[[str], bool]) -> "KnownProcesses":
        """Return this with what is true of more processes now."""
        alive, dead = set(self.alive), set(self.dead)
        for process_id in process_ids:
            (alive if is_alive(process_id) else dead).add(process_id)
        return KnownProcesses(frozenset(alive), frozenset(dead))


CANCELLED_DELIVERY_SECONDS: Final = 60.0
"""For how long a call joins a delivered run whose request was cancelled afterwards: the client may not have used it."""


@dataclass(frozen=True, slots=True)
class AttachRules:
    """When a call joins an earlier run rather than starting one."""

    call: WaitingCall
    """The call that asks; it waits for whatever comes of it."""
    window_seconds: float
    """How long ago the earlier run may have been accepted; 0 for never."""
    at: float
    """Now, by the wall clock."""
    boot_id: str = ""
    boot_seconds: float = 0.0
    """Now, by the boot clock; it decides where the earlier run has an instant of the same boot."""
    connected_call_ids: frozenset[str] = frozenset()
    """The calls of this process whose clients are connected and wait for their answers."""
    beside_call_ids: frozenset[str] = frozenset()
    """Those of them that came over the same connection in the last few seconds: next to them an equal call is meant to be
    another run."""
    processes: KnownProcesses = KnownProcesses()
    """Which other processes live, as far as that was asked before."""
    is_new_wanted: bool = False
    """The caller asked for a run of its own: nothing is joined."""
    is_uncertainty_accepted: bool = False
    """The caller knows of the unknown run and wants another all the same."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run was recorded."""

    run: Run


@dataclass(frozen=True, slots=True)
class Joined:
    """An earlier run is what the call asks for; nothing was recorded but that it waits."""

    run: Run


@dataclass(frozen=True, slots=True)
class Uncertain:
    """An earlier equal run may have been started; nothing was recorded."""

    run: Run


@dataclass(frozen=True, slots=True)
class LivenessNeeded:
    """Whether these processes live decides what becomes of the call; nothing was changed. Ask, and accept again."""

    process_ids: frozenset[str]


AcceptOutcome: TypeAlias = Accepted | Joined | Uncertain | LivenessNeeded | LimitExceeded


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event changed the run."""

    run: Run
    """As it is on record now."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The event changed nothing: it is not possible from the run's state, was recorded before, or its lease has ended."""

    run: Run | None
    """As it is on record; None when it is not."""


RecordOutcome: TypeAlias = Recorded | Stale


@dataclass(frozen=True, slots=True)
class Claimed:
    """The run is the caller's to act for."""

    run: Run
    """As it is on record now; it may have come further since it was read."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Another process follows the run by now."""


ClaimOutcome: TypeAlias = Claimed | Taken


@dataclass(frozen=True, slots=True)
class Reminder:
    """Ended runs that were not delivered and that no call waits for, and what the store itself has to report."""

    count: int
    runs: tuple[Run, ...]
    """The newest of them."""
    notice: str = ""
    """Sentences about the record, reported once; empty when there are none."""


MAX_REMINDERS: Final = 3
"""How many answers say of a run that it is over and undelivered."""


@dataclass(frozen=True, slots=True)
class AppHistory:
    """What the latest runs of an app on one account made, and how long they took."""

    durations: tuple[float, ...] = ()
    """Seconds at the provider of those that succeeded, newest first."""
    kinds: frozenset[OutputKind] = frozenset()
    """What they made; empty when none of them made anything."""


@dataclass(frozen=True, slots=True)
class History:
    """How much the store holds of one owner."""

    runs: int
    live: int
    """Of these, how many are not over."""
    unseen: int
    """How many are over and not seen."""
    unknown: int
    """How many may have been started and charged; their outcome is unknown."""
    oldest_at: float | None
    """When the oldest was accepted; None if there are no runs."""
    saved_outputs: int
    saved_bytes: int
    """The size of the saved outputs when they were saved; they may have been removed since."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased."""

    runs: int
    saved_paths: tuple[str, ...]
    """Where outputs of the erased runs were saved; the files are left alone."""


MIN_DURATIONS: Final = 3
"""How many earlier runs it takes before we say how long a run usually is."""


def get_usual_seconds(durations: Sequence[float]) -> float | None:
    """Return the median duration in seconds; None for fewer than `MIN_DURATIONS` runs."""
    return statistics.median(durations) if len(durations) >= MIN_DURATIONS else None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that lies at a provider."""

    account_id: str
    sha256: str
    """Of the file as it was given, before any conversion."""
    url: str
    """Where the provider finds it; good until `expires_at`."""
    expires_at: float
    provider_upload_id: str
    note: str = ""
    """How it differs from what was given, as the end of a sentence; empty when it does not."""


@dataclass(frozen=True, slots=True)
class UploadClaim:
    """A request to upload a file, unless it was uploaded already."""

    account_id: str
    sha256: str
    process_id: str
    usable_until: float
    """How long an earlier upload must last to be of use."""
    dead_process_id: str = ""
    """A process whose claim counts no longer, because it has ended."""


@dataclass(frozen=True, slots=True)
class ToUpload:
    """The caller is to upload the file, and then to call `note_upload` or `forget_upload`."""


@dataclass(frozen=True, slots=True)
class BeingUploaded:
    """Another process has claimed the file; unless that has ended, wait and ask again."""

    process_id: str


UploadOutcome: TypeAlias = Upload | ToUpload | BeingUploaded


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
