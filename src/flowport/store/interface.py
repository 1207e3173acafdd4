"""The contract of a store.

The promises "never pay twice" and "never lose a result" depend on it: when a method returns, its effect is on disk and
visible to every other process. The rules for all methods:

- A call that changes something has synced it to disk when it returns. A call that raises has changed nothing.
- Cancelling an await only discards the answer. A requested change is completed.
- `record` and `claim` compare and set: of two callers that request the same change, in one process or two, one learns that
  the change was made, and the other that it was not, with the present run.
- Every call raises `StoreError` if the store cannot be read or written, or is closed.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from flowport.domain.access_tokens import AccessToken
from flowport.domain.models import BootTime, Run
from flowport.domain.run_events import Finished, RunEvent
from flowport.domain.spending import Spending, SpendingCheck
from flowport.store.received_files import ReceivedFileStore
from flowport.store.records import (
    AcceptOutcome,
    AttachRules,
    BatchArguments,
    BatchProgress,
    BatchRow,
    ClaimOutcome,
    Erasure,
    History,
    NewBatch,
    RecordOutcome,
    Reminder,
    RowStatus,
    Upload,
    UploadClaim,
    UploadOutcome,
)
from flowport.store.run_queries import RunQueries


class RunStore(Protocol):
    """Accepting, changing and claiming runs, the calls that wait for them, and the runs to mention."""

    async def accept(
        self,
        run: Run,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        whole_arguments: str | None = None,
    ) -> AcceptOutcome:
        """Record a new run with its reservation, or return the earlier run that the call joins, in one transaction.

        Spending limits hold over all processes: each call sees the reservations of all earlier ones. A call that joins
        needs no credits, and no limit applies to it.

        Equal runs of dead processes are settled first: a run that was not sent is cancelled unless its caller was given
        its id, and one that was being sent becomes unknown. The caller checks liveness before and passes it in the rules;
        the outcome `LivenessNeeded` names processes that still have to be checked.

        Args:
            rules: None joins no run.
            terms: None records the run at any price.
            whole_arguments: The arguments as JSON, from which a worker prepares the call again: the run is queued, which adds
                its job. None where the process of the caller starts it. A store without a queue ignores it.

        Raises:
            StoreError: It could not be recorded, or its id exists; nothing may be sent for it.
        """

    async def record(
        self,
        run_id: str,
        event: RunEvent,
        lease: int | None = None,
        *,
        ended_call_id: str = "",
        unless_waited_for: bool = False,
    ) -> RecordOutcome:
        """Apply an event to a run and write the change, with its reservation, in one transaction.

        The outcome is `Stale` if another process has claimed the run since, see `run_events.is_covered`.

        Of all callers that record `StartRequested`, in any number of processes, one gets `Recorded`: only that one may send
        the start request. A delivery of a batch also delivers its rows.

        Args:
            lease: The lease of the process that follows the run; None for what every process may record, such as a delivery.
            ended_call_id: A call that no longer waits, whether or not the event is applied.
            unless_waited_for: Change nothing while another call waits for the run.
        """

    async def claim(self, run_id: str, worker: str, *, lease: int) -> ClaimOutcome:
        """Transfer a run in any state to `worker`, with a new lease, unless `lease` is no longer the present one.

        Only the caller that gets `Claimed` may act for the run. It is polled again even if it was not before. What the
        earlier holder still records is `Stale`.
        """

    async def leave(self, *call_ids: str) -> None:
        """Record that these calls no longer wait."""

    async def get_calling_processes(self) -> frozenset[str]:
        """Return the processes with calls that are recorded as waiting."""

    async def forget_calls_of(self, process_ids: Sequence[str]) -> None:
        """Record that the calls of these dead processes no longer wait."""

    async def is_waited_for(self, run_id: str) -> bool:
        """Return whether a call still waits for a run."""

    async def take_reminder(self, *, owner: str, excluded: Collection[str] = ()) -> Reminder | None:
        """Return the runs to mention in an answer, and count the mention; None if there are none.

        A run is mentioned if it is over and undelivered, no call waits for it, and it was mentioned less than `MAX_REMINDERS`
        times.

        Args:
            excluded: Runs that are about to be delivered.
        """


class BatchStore(Protocol):
    """Batches: calls that request many runs."""

    async def accept_batch(
        self,
        batch: NewBatch,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        is_queued: bool = False,
    ) -> AcceptOutcome:
        """Record a batch with its rows and their total price, or return the earlier batch that the call joins.

        A queued batch has a job, as each of its rows will when it begins. It is `accept` for a batch: one transaction, the same rules. An unknown run that is equal to a row makes the whole
        batch uncertain (`Uncertain`). Rows join no run.

        Raises:
            StoreError: It could not be recorded; nothing may be sent for it.
        """

    async def get_waiting_rows(self, batch_id: str, *, limit: int) -> tuple[BatchRow, ...]:
        """Return the first rows that were not begun, without their arguments."""

    async def accept_rows(
        self, batch_id: str, runs: Sequence[tuple[int, Run]], lease: int | None = None
    ) -> tuple[Run, ...]:
        """Record the runs of rows, by the rows' numbers, and return the recorded ones: each row begins once.

        The reservation of a row moves from the batch to its run in the same transaction, so no limit is checked again.

        Args:
            lease: The lease of the process that carries the batch out; no row begins if another one has claimed it since.
        """

    async def drop_rows(
        self, batch_id: str, *, reason: str, at: float, call_id: str | None = None, holder: Run | None = None
    ) -> int:
        """Stop a batch: drop its rows that were not sent, release their reservations, and return their number.

        Rows that were not begun never will be; begun rows that were not sent are cancelled. All in one transaction.

        Args:
            reason: Why, as a sentence, for the batch and for each run.
            at: The end of those runs.
            call_id: A call that no longer waits; rows are then dropped only if no other call waits for the batch.
            holder: The batch, or one of its rows, as the process holds it that stops the batch: nothing is dropped if
                another one has claimed it since. None for what every process may do, such as a cancellation.
        """

    async def finish_batch(
        self, batch_id: str, end: Finished, lease: int | None = None, *, csv_path: str, csv_problem: str
    ) -> RecordOutcome:
        """Record the end of a batch and the path of its table; its cost is counted with its rows."""

    async def get_batch_progress(self, batch_id: str) -> BatchProgress:
        """Return the progress of a batch.

        Raises:
            RunNotFound: It was erased.
        """

    async def get_rows(self, batch_id: str, *, start: int = 1, limit: int = 1_000_000) -> tuple[RowStatus, ...]:
        """Return the rows from number `start` on, in their order, without their arguments."""

    async def get_live_rows(self, batch_id: str) -> tuple[Run, ...]:
        """Return the runs of a batch's rows that are not over."""

    async def get_batch_arguments(self, batch_id: str) -> BatchArguments:
        """Return the arguments of a batch's rows.

        Raises:
            RunNotFound: It was erased.
        """

    async def get_whole_arguments(self, run_id: str) -> tuple[str, ...] | None:
        """Return the whole arguments of a run, as JSON objects that together are all of them.

        Those of a row are the shared ones and its own, those of a queued run what it was accepted with. None for other runs,
        and for a queued run that was started.
        """


class UploadStore(Protocol):
    """Files that were uploaded to providers."""

    async def claim_upload(self, claim: UploadClaim) -> UploadOutcome:
        """Return the existing upload, or whether the caller is to make it. A process may repeat its own claim."""

    async def note_upload(self, upload: Upload) -> None:
        """Record a finished upload, which replaces its claim."""

    async def forget_upload(self, *, account_id: str, sha256: str, process_id: str = "") -> None:
        """Remove a claim, or an upload that the provider no longer accepts.

        Args:
            process_id: Remove the claim of this process alone.
        """


class NameStore(Protocol):
    """The names of tools and of their arguments, which are assigned once.

    A caller reads what is assigned, builds the missing names, and has them assigned. Where another process was first, it
    repeats that.
    """

    async def get_tool_names(self) -> dict[str, tuple[str, str]]:
        """Return the scope and the app id of each name that was ever assigned, those of apps that disappeared too."""

    async def assign_tool_names(self, scope: str, names: Mapping[str, str]) -> dict[str, str]:
        """Assign names to apps that have none, and return the name of each of these apps that has one, by app id.

        A name is assigned once and never passes to another app of any scope. A name that is taken is not assigned.

        Args:
            names: By app id. If two apps have the same name, the first gets it.
        """

    async def get_property_names(self, scope: str, app_ids: Collection[str]) -> dict[str, dict[str, str]]:
        """Return the names of each app's inputs, removed ones too, by app id and input id."""

    async def assign_property_names(
        self, scope: str, names: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        """Assign names to inputs that have none, and return all names of these apps' inputs, by app id and input id.

        A name is kept permanently. A name that another input of the same app has is not assigned.

        Args:
            names: By app id and input id.
        """


class SpendingStore(Protocol):
    """The costs of runs."""

    async def get_spending(
        self, *, account_id: str, owner: str | None, since: float, boot_since: BootTime | None = None
    ) -> Spending:
        """Return the costs of an owner's runs since an instant, on all accounts of this account's provider.

        The sandbox's account is counted separately.

        Args:
            owner: None for the runs of all owners on this one account.
            boot_since: The same instant by the boot clock; it decides for runs that were accepted in the same boot.
        """


class TokenStore(Protocol):
    """The tokens of a server for several people. What another process changes is seen by the next call."""

    async def add_token(self, token: AccessToken) -> bool:
        """Store a token, unless one of the same name is not revoked; return whether it was stored."""

    async def get_token(self, sha256: str) -> AccessToken | None:
        """Return the token of this hash, an expired or revoked one too; None if no token has it."""

    async def get_tokens(self) -> tuple[AccessToken, ...]:
        """Return all tokens, revoked ones too; oldest first."""

    async def revoke_token(self, token_id: str, *, at: float) -> AccessToken | None:
        """Revoke a token and return it; one that was revoked before keeps its instant. None if no token has this id."""


class RecordKeeping(Protocol):
    """Maintenance and closing of the store."""

    async def check(self) -> None:
        """Check the whole store for damage, while other calls go on.

        Raises:
            StoreError: It is damaged. From then on `accept` refuses; everything else works as far as possible.
        """

    async def check_writable(self) -> None:
        """Write to the file, and change nothing in it; wait a second at most for other processes."""

    async def prune(self, *, before: float, boot_before: BootTime | None = None) -> Erasure:
        """Delete the runs of all owners that ended and were delivered before an instant, and return what was deleted.

        Those of the same boot must also have been accepted before `boot_before`: a clock that was set forward deletes
        nothing.

        Runs that are not over or not delivered stay, however old, and so do names and saved files. The work is done in
        slices, between which other calls are served.
        """

    async def erase_run(self, run_id: str, *, owner: str) -> Erasure:
        """Remove one run that is over, delivered or not, so that no trace of it remains in the store.

        Raises:
            RunNotFound: The owner has no such run.
            RunNotOver: It is not over.
        """

    async def erase_owner(self, owner: str, *, before: float | None = None) -> Erasure:
        """Remove all of an owner's runs that are over, delivered or not, so that no trace of them remains in the file.

        Args:
            before: Only runs that ended before this instant; None for all.
        """

    async def get_history(self, *, owner: str) -> History:
        """Return the numbers of an owner's runs and outputs."""

    async def get_disk_use(self) -> int:
        """Return the bytes of the store's files, for all owners and including the journal."""

    async def close(self) -> None:
        """Finish the requested operations and close the store; every later call except this one raises `StoreError`."""


class Store(
    RunStore,
    BatchStore,
    UploadStore,
    NameStore,
    SpendingStore,
    TokenStore,
    ReceivedFileStore,
    RunQueries,
    RecordKeeping,
    Protocol,
):
    """The record of every run, shared by all Flowport processes of one home."""


class Workers(Protocol):
    """This process among those of its home: the port that answers which processes are alive.

    It is registered for as long as the object is open. On one machine OS file locks answer, see `process_lock`. Liveness is
    asked before a transaction, never inside one.
    """

    process_id: str
    """Of this process; no other process has or had the same."""

    def is_alive(self, process_id: str) -> bool:
        """Return whether a process is alive. If that cannot be found out, it counts as alive, so nothing of it is touched."""

    def has_died(self, process_id: str) -> bool:
        """Return whether a process of this home ended without releasing; processes of other homes are not known."""

    def release(self) -> None:
        """Unregister this process; a second call does nothing."""
