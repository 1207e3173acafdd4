"""What replicas and workers of one team share besides the store: jobs, news of runs, who is alive, the request windows.

A home on one machine has none of it: its processes start, poll and save their own runs.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, Protocol, TypeVar

from flowport.domain.models import BootTime
from flowport.store.interface import Store, Workers

T = TypeVar("T")


class NewsKind(StrEnum):
    """What has happened."""

    CREATED = "created"
    """A run is new."""
    CHANGED = "changed"
    """The record of a run has changed."""
    ANNOUNCED = "announced"
    """A webhook says that a run may be over: its poll is due at once."""
    BEGUN = "begun"
    """A webhook says that a run goes on."""
    UNWANTED = "unwanted"
    """The caller of a run has left and wants it stopped, if that is still possible."""
    LISTED = "listed"
    """The catalogue of an account was saved."""
    AWAITED = "awaited"
    """A call waits for a run, for as long as a call usually does."""
    TROUBLED = "troubled"
    """The worker of a run has met a problem, or none any more: `text` is the sentence for those who wait."""
    MISSED = "missed"
    """News may have been missed while there was no connection: everything may have changed."""


@dataclass(frozen=True, slots=True)
class News:
    """One change, for every replica and worker. It is a hint: the store is the record."""

    kind: NewsKind
    run_id: str = ""
    owner: str = ""
    batch_id: str = ""
    """The batch of the run, if it is a row."""
    account_id: str = ""
    text: str = ""
    """A sentence for a person, where the kind has one."""
    is_own: bool = False
    """Whether this process has sent it."""
    goes_on: bool = False
    """Whether the run was certainly not over after this change, and is followed: those who wait for its end wait on."""


class NewsFeed(Protocol):
    """Reports to every process of the team what another one has changed."""

    is_connected: bool
    """Whether news arrive just now."""

    def subscribe(self, listener: Callable[[News], None]) -> None:
        """Call a listener with all news from now on, those of this process included."""

    async def post(self, news: News) -> None:
        """Send news that no write of the store sends.

        Raises:
            StoreError: The database cannot be reached.
        """

    async def keep_listening(self) -> NoReturn:
        """Receive news, over one connection that is made again when it is lost."""


class JobAgain(Exception):
    """The step of a run could not be finished here: another worker, or this one later, is to go on."""

    def __init__(self, after_seconds: float = 0.0) -> None:
        super().__init__(f"again after {after_seconds:g} s")
        self.after_seconds = after_seconds


@dataclass(frozen=True, slots=True)
class QueueState:
    """How the queue stands, for metrics and `/readyz`."""

    waiting: int
    """Jobs that no worker has taken and that are due."""
    running: int
    """Jobs that a living worker has taken."""
    stalled: int
    """Jobs whose worker is dead, which the reconciler has not given back yet."""
    workers: int
    """Workers that are alive."""
    oldest_seconds: float
    """How long the oldest due job has waited; 0 without one."""


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """What a process counts of its database, for metrics."""

    connections: int = 0
    """Of the pool."""
    idle_connections: int = 0
    max_connections: int = 0
    waiting: int = 0
    """Operations that wait for a connection."""
    stale_writes: int = 0
    """Writes that were refused, because another process has claimed the run since."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one look of the reconciler has found and put right."""

    stalled: int = 0
    """Jobs of dead workers, given to others."""
    missing: int = 0
    """Runs with something to do and without a job, which now have one."""
    needless: int = 0
    """Jobs of runs with nothing to do, which were removed."""


class JobQueue(Protocol):
    """The jobs: for each run that is not done, one job, which executes its steps.

    The store adds the job of a run in the transaction that gives the run something to do. One job of a run is executed at
    a time. A job is only a reminder: who executes it claims the run first, and the lease decides what counts.
    """

    latency_listeners: list[Callable[[float], None]]
    """Each is called with the seconds from when a job was due until this process executes it."""
    reconciled_listeners: list[Callable[["Reconciled"], None]]
    """Each is called with what a look of the reconciler of this process has found."""

    @property
    def is_taking_jobs(self) -> bool:
        """Whether this process takes jobs, and the database has its heartbeat."""

    async def work(self, execute: Callable[[str], Awaitable[None]], *, concurrency: int) -> NoReturn:
        """Execute the jobs of runs until this is cancelled, through restarts of the database.

        Args:
            execute: Carries out the steps of the run with this id; it raises `JobAgain` to have the job executed again.
            concurrency: The most runs side by side; batches, which wait for their rows, are not counted.
        """

    async def drain(self) -> None:
        """Take no more jobs, and return when those of this process have ended or were given back."""

    async def resume(self, run_id: str) -> None:
        """Poll a run again if it was not any more, and add a job if it has none.

        Raises:
            StoreError: The database cannot be reached.
        """

    async def keep_reconciling(self) -> NoReturn:
        """Compare the runs with the jobs every few seconds, in one process at a time, and put right what differs."""

    async def get_state(self) -> QueueState:
        """Return how the queue stands.

        Raises:
            StoreError: The database cannot be reached.
        """


class LivingWorkers(Workers, Protocol):
    """The liveness of processes on several machines, by their heartbeats."""

    is_divided: bool
    """Whether a living process uses other folders than this one."""

    async def beat(self) -> None:
        """Show once that this process lives; the first time registers it.

        Raises:
            StoreError: The database cannot be reached.
        """

    async def keep_beating(self) -> NoReturn:
        """Show that this process lives, and look which others do."""


class SharedTexts(Protocol):
    """Texts under keys that processes change in transactions; see `network.ratelimit.state.SharedFile`.

    What changes a text gets the instant by the clock of the texts, which machines share; None for that of this machine.
    """

    @property
    def parts(self) -> int:
        """How many processes share the texts, as far as is known; at least 2."""

    @property
    def retry_seconds(self) -> float:
        """How long a process does not use texts that failed."""

    async def change(self, key: str, work: Callable[[str, BootTime | None], tuple[str, T]]) -> T:
        """Replace a text, empty at first, by what the work makes of it, and return what else it returned.

        Raises:
            StoreError: The texts cannot be used; nothing was changed.
        """

    def post(self, key: str, work: Callable[[str, BootTime | None], tuple[str, None]]) -> None:
        """Do the same in the background."""

    async def close(self) -> None:
        """Perform what was asked for, and end."""


class UsedMarks(Protocol):
    """What may be used once by all replicas together, or counts no longer: sign-in links, sessions that were signed out."""

    async def use(self, mark: str, *, expires_at: float, now: float) -> bool:
        """Return whether this is the first use; marks that expired before now are forgotten.

        Raises:
            StoreError: The database cannot be reached.
        """

    async def is_used(self, mark: str) -> bool:
        """Return whether it was used.

        Raises:
            StoreError: The database cannot be reached.
        """


@dataclass(frozen=True, slots=True)
class Cluster:
    """A team's database, open."""

    store: Store
    workers: LivingWorkers
    news: NewsFeed
    jobs: JobQueue
    rate_windows: SharedTexts
    used_marks: UsedMarks
    get_figures: Callable[[], ClusterFigures] = ClusterFigures
    """Returns what this process counts of the database."""
