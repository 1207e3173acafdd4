"""The store in a PostgreSQL database, shared by every replica and worker of a team.

Its operations are in the modules of its base classes; how they are performed is in `database`, the tables in `migrations`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from flowport.domain.models import BootTime, Run
from flowport.domain.run_events import RunEvent
from flowport.domain.spending import Spending, SpendingCheck
from flowport.store.cluster import NewsKind
from flowport.store.postgres.accept import accept_call, count_mention, has_reminder
from flowport.store.postgres.batches import BatchOperations
from flowport.store.postgres.database import Database
from flowport.store.postgres.held import HeldRuns
from flowport.store.postgres.maintenance import RecordMaintenance
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.operations import (
    SELECTED,
    find_changed_run,
    is_waited_for,
    lock_texts,
    looks_up,
    parse_row,
    post_change,
    record_event,
    remove_waiting,
    writes,
)
from flowport.store.postgres.people import ReceivedFileOperations, TokenOperations
from flowport.store.postgres.queries import RunQueries
from flowport.store.postgres.spending import sum_spending
from flowport.store.postgres.transaction import Transaction, clean_text
from flowport.store.records import (
    AcceptOutcome,
    AttachRules,
    BeingUploaded,
    Claimed,
    ClaimOutcome,
    Recorded,
    RecordOutcome,
    Reminder,
    Stale,
    Taken,
    ToUpload,
    Upload,
    UploadClaim,
    UploadOutcome,
)

_FORGOTTEN_SECONDS: Final = 7 * 24 * 3600.0
"""An upload that expired this long before a new one expires is deleted."""
_UPLOAD_COLUMNS: Final = tuple(field.name for field in fields(Upload))
_UPLOAD_LIST: Final = ", ".join(_UPLOAD_COLUMNS)
# A claim locks the row of the upload, whether it takes it or not.
_CLAIM_UPLOAD: Final = """
INSERT INTO uploads (account_id, sha256, claimed_by) VALUES (%(account_id)s, %(sha256)s, %(process_id)s)
ON CONFLICT (account_id, sha256) DO UPDATE
    SET url = '', expires_at = 0, provider_upload_id = '', note = '', claimed_by = excluded.claimed_by
    WHERE CASE WHEN uploads.url <> '' THEN uploads.expires_at < %(usable_until)s
        ELSE uploads.claimed_by IN (%(process_id)s, %(dead_process_id)s) END
RETURNING 1
"""
_NOTE_UPLOAD: Final = (
    f"INSERT INTO uploads ({_UPLOAD_LIST}) VALUES ({', '.join(f'%({column})s' for column in _UPLOAD_COLUMNS)}) "  # noqa: S608 - our own words
    "ON CONFLICT (account_id, sha256) DO UPDATE SET claimed_by = '', "
    + ", ".join(f"{column} = excluded.{column}" for column in _UPLOAD_COLUMNS[2:])
)
_CLAIM_RUN: Final = (
    "UPDATE runs SET process_id = %s, lease = lease + 1, is_followed = true, changed_number = nextval('changes') "  # noqa: S608 - our own words
    f"WHERE id = %s AND lease = %s RETURNING {SELECTED}"
)


class PostgresStore(BatchOperations, RunQueries, RecordMaintenance, TokenOperations, ReceivedFileOperations):
    """A `Store` in a PostgreSQL database; `store.interface` describes each method."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._held = HeldRuns(database)
        self.stale_writes = 0
        """Writes that were refused, because another process had claimed the run."""

    async def accept(
        self,
        run: Run,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        whole_arguments: str | None = None,
    ) -> AcceptOutcome:
        """Record a new run, or return the earlier run that the call joins."""

        async def accept(transaction: Transaction) -> AcceptOutcome:
            is_queued = whole_arguments is not None
            return await accept_call(
                transaction, run, rules, terms, is_queued=is_queued, whole_arguments=whole_arguments
            )

        return await self.database.write(accept, is_in_line=True)

    async def record(
        self,
        run_id: str,
        event: RunEvent,
        lease: int | None = None,
        *,
        ended_call_id: str = "",
        unless_waited_for: bool = False,
    ) -> RecordOutcome:
        """Apply an event to a run."""
        key = self.database.draw_key()
        is_alone = not ended_call_id and not unless_waited_for
        if is_alone and (run := await self._held.record(run_id, event, lease, key=key)) is not None:
            return Recorded(run)

        async def record(transaction: Transaction) -> RecordOutcome:
            outcome = await record_event(
                transaction, run_id, event, lease, ended_call_id=ended_call_id, unless_waited_for=unless_waited_for
            )
            found = await find_changed_run(transaction, run_id, key) if isinstance(outcome, Stale) else None
            return Recorded(found) if found is not None and found.lease == lease else outcome

        outcome = await self.database.write(record)
        if isinstance(outcome, Stale) and lease is not None and outcome.run is not None:
            self.stale_writes += outcome.run.lease != lease
        return outcome

    async def claim(self, run_id: str, worker: str, *, lease: int) -> ClaimOutcome:
        """Transfer a run to a process, unless another one has claimed it since."""
        key = self.database.draw_key()
        if (claimed := await self._held.claim(run_id, worker, lease=lease, key=key)) is not None:
            return Claimed(claimed)

        async def claim(transaction: Transaction) -> ClaimOutcome:
            transaction.send("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (run_id,))
            cursor = await transaction.execute(_CLAIM_RUN, (worker, run_id, lease))
            row = await cursor.fetchone()
            if row is None:
                run = await find_changed_run(transaction, run_id, key)
                is_ours = run is not None and (run.process_id, run.lease) == (worker, lease + 1)
                return Claimed(run) if run is not None and is_ours else Taken()
            run = parse_row(row)
            post_change(transaction, run, NewsKind.CHANGED)
            return Claimed(run)

        return await self.database.write(claim)

    async def get_whole_arguments(self, run_id: str) -> tuple[str, ...] | None:
        """Return what a run is made of, in parts of which a later one counts; None where nothing is kept."""
        if (arguments := self._held.take_arguments(run_id)) is not None:
            return (arguments,)
        return await super().get_whole_arguments(run_id)

    @writes
    async def leave(self, transaction: Transaction, *call_ids: str) -> None:
        remove_waiting(transaction, *call_ids)

    @looks_up
    async def get_calling_processes(self, transaction: Transaction) -> frozenset[str]:
        cursor = await transaction.execute("SELECT DISTINCT process_id FROM waiting_calls")
        return frozenset([row[0] for row in await cursor.fetchall()])

    @writes
    async def forget_calls_of(self, transaction: Transaction, process_ids: Sequence[str]) -> None:
        transaction.send("DELETE FROM waiting_calls WHERE process_id = ANY(%s)", (list(process_ids),))

    @looks_up
    async def is_waited_for(self, transaction: Transaction, run_id: str) -> bool:
        return await is_waited_for(transaction, run_id)

    async def take_reminder(self, *, owner: str, excluded: Collection[str] = ()) -> Reminder | None:
        """Return the runs to mention in an answer, and count the mention."""

        async def find(transaction: Transaction) -> bool:
            return await has_reminder(transaction, owner, excluded)

        async def count(transaction: Transaction) -> Reminder | None:
            return await count_mention(transaction, owner, excluded)

        # Usually nothing is found.
        return await self.database.write(count) if await self.database.look_up(find) else None

    @looks_up
    async def get_spending(
        self,
        transaction: Transaction,
        *,
        account_id: str,
        owner: str | None,
        since: float,
        boot_since: BootTime | None = None,
    ) -> Spending:
        return await sum_spending(transaction, account_id, owner, since, boot_since)

    @looks_up
    async def get_tool_names(self, transaction: Transaction) -> dict[str, tuple[str, str]]:
        cursor = await transaction.execute("SELECT name, scope, app_id FROM tool_names")
        return {name: (scope, app_id) for name, scope, app_id in await cursor.fetchall()}

    @writes
    async def assign_tool_names(self, transaction: Transaction, scope: str, names: Mapping[str, str]) -> dict[str, str]:
        lock_texts(transaction, "names")
        transaction.send(
            "INSERT INTO tool_names (name, scope, app_id) SELECT given.name, %s, given.app_id "
            "FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS given (app_id, name, place) ORDER BY given.place "
            "ON CONFLICT DO NOTHING",
            (scope, list(names), list(names.values())),
        )
        cursor = await transaction.execute(
            "SELECT app_id, name FROM tool_names WHERE scope = %s AND app_id = ANY(%s)", (scope, list(names))
        )
        given = {clean_text(app_id): app_id for app_id in names}
        return {given[app_id]: name for app_id, name in await cursor.fetchall()}

    @looks_up
    async def get_property_names(
        self, transaction: Transaction, scope: str, app_ids: Collection[str]
    ) -> dict[str, dict[str, str]]:
        return await _select_property_names(transaction, scope, app_ids)

    @writes
    async def assign_property_names(
        self, transaction: Transaction, scope: str, names: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        given = [(app_id, input_id, name) for app_id, own in names.items() for input_id, name in own.items()]
        lock_texts(transaction, "names")
        transaction.send(
            "INSERT INTO property_names (scope, app_id, input_id, name) "
            "SELECT %s, given.app_id, given.input_id, given.name FROM unnest(%s::text[], %s::text[], %s::text[]) "
            "WITH ORDINALITY AS given (app_id, input_id, name, place) ORDER BY given.place ON CONFLICT DO NOTHING",
            (scope, *([one[place] for one in given] for place in range(3))),
        )
        found = await _select_property_names(transaction, scope, names)
        kept = {clean_text(input_id): input_id for _, input_id, _ in given}
        return {
            app_id: {kept.get(input_id, input_id): name for input_id, name in own.items()}
            for app_id, own in found.items()
        }

    @writes
    async def claim_upload(self, transaction: Transaction, claim: UploadClaim) -> UploadOutcome:
        values = {field.name: getattr(claim, field.name) for field in fields(claim)}
        cursor = await transaction.execute(_CLAIM_UPLOAD, values)
        if await cursor.fetchone() is not None:
            return ToUpload()
        cursor = await transaction.execute(
            f"SELECT claimed_by, {_UPLOAD_LIST} FROM uploads WHERE account_id = %s AND sha256 = %s",  # noqa: S608 - our own words
            (claim.account_id, claim.sha256),
        )
        # It is there: its row is locked.
        [(claimed_by, *found)] = await cursor.fetchall()
        upload = Upload(*found)
        return upload if upload.url else BeingUploaded(claimed_by)

    @writes
    async def note_upload(self, transaction: Transaction, upload: Upload) -> None:
        values: dict[str, Any] = {column: getattr(upload, column) for column in _UPLOAD_COLUMNS}
        transaction.send(_NOTE_UPLOAD, values)
        transaction.send(
            "DELETE FROM uploads WHERE url <> '' AND expires_at < %s", (upload.expires_at - _FORGOTTEN_SECONDS,)
        )

    @writes
    async def forget_upload(
        self, transaction: Transaction, *, account_id: str, sha256: str, process_id: str = ""
    ) -> None:
        transaction.send(
            "DELETE FROM uploads WHERE account_id = %s AND sha256 = %s AND %s::text IN ('', claimed_by)",
            (account_id, sha256, process_id),
        )


async def _select_property_names(
    transaction: Transaction, scope: str, app_ids: Collection[str]
) -> dict[str, dict[str, str]]:
    cursor = await transaction.execute(
        "SELECT app_id, input_id, name FROM property_names WHERE scope = %s AND app_id = ANY(%s)",
        (scope, list(app_ids)),
    )
    found: dict[str, dict[str, str]] = {app_id: {} for app_id in app_ids}
    kept = {clean_text(app_id): found[app_id] for app_id in app_ids}
    for app_id, input_id, name in await cursor.fetchall():
        kept[app_id][input_id] = name
    return found


def open_postgres_store(url: str) -> PostgresStore:
    """Return the store in a database; it is connected, and its tables are brought up to date, by the first operation."""
    return PostgresStore(Database(url, prepare=migrate))
