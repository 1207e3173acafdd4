"""The store in one SQLite file, shared by every Flowport process of a home.

Its operations are in the modules of its base classes; when they run is in `thread`, how the file is opened in `connection`.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime, Run
from flowport.domain.run_events import Reported, RunEvent, StartRequested
from flowport.domain.spending import Spending, SpendingCheck
from flowport.store.records import (
    AcceptOutcome,
    AttachRules,
    BeingUploaded,
    Claimed,
    ClaimOutcome,
    RecordOutcome,
    Reminder,
    Taken,
    ToUpload,
    Upload,
    UploadClaim,
    UploadOutcome,
)
from flowport.store.sqlite.accept import accept_call, find_reminder
from flowport.store.sqlite.batches import BatchOperations
from flowport.store.sqlite.connection import BUSY_SECONDS, open_connection, open_reading_connection
from flowport.store.sqlite.maintenance import RecordMaintenance
from flowport.store.sqlite.operations import (
    begins_run,
    find_run,
    is_waited_for,
    reads,
    record_event,
    remove_waiting,
    writes,
)
from flowport.store.sqlite.people import ReceivedFileOperations, TokenOperations
from flowport.store.sqlite.queries import RunQueries
from flowport.store.sqlite.spending import sum_spending
from flowport.store.sqlite.thread import StoreWorker, Worker

ASIDE_SECONDS: Final = 1.0
"""How long a write beside an answer that is ready waits for other processes."""

_FORGOTTEN_SECONDS: Final = 7 * 24 * 3600.0
"""An upload that expired this long before a new one expires is deleted."""
_UPLOAD_COLUMNS: Final = tuple(field.name for field in fields(Upload))


class SqliteStore(BatchOperations, TokenOperations, RunQueries, RecordMaintenance, ReceivedFileOperations):
    """A `Store` in a SQLite file; `store.interface` describes each method."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    @begins_run
    def accept(
        self,
        connection: sqlite3.Connection,
        run: Run,
        rules: AttachRules | None = None,
        terms: SpendingCheck | None = None,
        *,
        whole_arguments: str | None = None,  # noqa: ARG002 - there is no queue
    ) -> AcceptOutcome:
        return accept_call(connection, run, rules, terms)

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
        if isinstance(event, StartRequested) and (loss := self.worker.find_loss()) is not None:
            raise loss
        # A report is recorded beside an answer that is ready to be written.
        patience = ASIDE_SECONDS if isinstance(event, Reported) else None
        write = partial(record_event, run_id=run_id, event=event, lease=lease, ended_call_id=ended_call_id)
        return await self.worker.write(partial(write, unless_waited_for=unless_waited_for), patience_seconds=patience)

    @writes
    def claim(self, connection: sqlite3.Connection, run_id: str, worker: str, *, lease: int) -> ClaimOutcome:
        cursor = connection.execute(
            "UPDATE runs SET process_id = ?, lease = lease + 1, is_followed = 1 WHERE id = ? AND lease = ?",
            (worker, run_id, lease),
        )
        run = find_run(connection, run_id) if cursor.rowcount else None
        return Taken() if run is None else Claimed(run)

    @writes
    def leave(self, connection: sqlite3.Connection, *call_ids: str) -> None:
        remove_waiting(connection, *call_ids)

    @reads
    def get_calling_processes(self, connection: sqlite3.Connection) -> frozenset[str]:
        return frozenset(row[0] for row in connection.execute("SELECT DISTINCT process_id FROM waiting_calls"))

    @writes
    def forget_calls_of(self, connection: sqlite3.Connection, process_ids: Sequence[str]) -> None:
        connection.executemany("DELETE FROM waiting_calls WHERE process_id = ?", ((one,) for one in process_ids))

    @reads
    def is_waited_for(self, connection: sqlite3.Connection, run_id: str) -> bool:
        return is_waited_for(connection, run_id)

    async def take_reminder(self, *, owner: str, excluded: Collection[str] = ()) -> Reminder | None:
        """Return what is to be mentioned beside an answer, and count it."""
        find = partial(find_reminder, owner=owner, excluded=excluded)
        # Usually nothing is found, and a read waits for no other process.
        if await self.worker.read(find) is None:
            return None
        return await self.worker.write(partial(find, is_counted=True), patience_seconds=ASIDE_SECONDS)

    async def check_writable(self) -> None:
        """Write the page that holds the version of the file as it is."""
        await self.worker.write(_rewrite_version, patience_seconds=ASIDE_SECONDS)

    @reads
    def get_spending(
        self,
        connection: sqlite3.Connection,
        *,
        account_id: str,
        owner: str | None,
        since: float,
        boot_since: BootTime | None = None,
    ) -> Spending:
        return sum_spending(connection, account_id, owner, since, boot_since)

    @reads
    def get_tool_names(self, connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
        rows = connection.execute("SELECT name, scope, app_id FROM tool_names")
        return {row["name"]: (row["scope"], row["app_id"]) for row in rows}

    @writes
    def assign_tool_names(self, connection: sqlite3.Connection, scope: str, names: Mapping[str, str]) -> dict[str, str]:
        connection.executemany(
            "INSERT INTO tool_names (name, scope, app_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(name, scope, app_id) for app_id, name in names.items()],
        )
        rows = connection.execute("SELECT app_id, name FROM tool_names WHERE scope = ?", (scope,))
        return {row["app_id"]: row["name"] for row in rows if row["app_id"] in names}

    @reads
    def get_property_names(
        self, connection: sqlite3.Connection, scope: str, app_ids: Collection[str]
    ) -> dict[str, dict[str, str]]:
        return {app_id: _select_property_names(connection, scope, app_id) for app_id in app_ids}

    @writes
    def assign_property_names(
        self, connection: sqlite3.Connection, scope: str, names: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        connection.executemany(
            "INSERT INTO property_names (scope, app_id, input_id, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(scope, app_id, input_id, name) for app_id, own in names.items() for input_id, name in own.items()],
        )
        return {app_id: _select_property_names(connection, scope, app_id) for app_id in names}

    @writes
    def claim_upload(self, connection: sqlite3.Connection, claim: UploadClaim) -> UploadOutcome:
        row = connection.execute(
            "SELECT * FROM uploads WHERE account_id = ? AND sha256 = ?", (claim.account_id, claim.sha256)
        ).fetchone()
        if row is not None and row["url"] and row["expires_at"] >= claim.usable_until:
            return Upload(**{column: row[column] for column in _UPLOAD_COLUMNS})
        if row is not None and not row["url"] and row["claimed_by"] not in {claim.process_id, claim.dead_process_id}:
            return BeingUploaded(row["claimed_by"])
        connection.execute(
            "INSERT OR REPLACE INTO uploads (account_id, sha256, claimed_by) VALUES (?, ?, ?)",
            (claim.account_id, claim.sha256, claim.process_id),
        )
        return ToUpload()

    @writes
    def note_upload(self, connection: sqlite3.Connection, upload: Upload) -> None:
        places = ", ".join(f":{column}" for column in _UPLOAD_COLUMNS)
        connection.execute(
            f"INSERT OR REPLACE INTO uploads ({', '.join(_UPLOAD_COLUMNS)}) VALUES ({places})",  # noqa: S608 - our own words
            {column: getattr(upload, column) for column in _UPLOAD_COLUMNS},
        )
        connection.execute(
            "DELETE FROM uploads WHERE url <> '' AND expires_at < ?", (upload.expires_at - _FORGOTTEN_SECONDS,)
        )

    @writes
    def forget_upload(
        self, connection: sqlite3.Connection, *, account_id: str, sha256: str, process_id: str = ""
    ) -> None:
        connection.execute(
            "DELETE FROM uploads WHERE account_id = ? AND sha256 = ? AND ? IN ('', claimed_by)",
            (account_id, sha256, process_id),
        )


def _select_property_names(connection: sqlite3.Connection, scope: str, app_id: str) -> dict[str, str]:
    rows = connection.execute(
        "SELECT input_id, name FROM property_names WHERE scope = ? AND app_id = ?", (scope, app_id)
    )
    return {row["input_id"]: row["name"] for row in rows}


def open_sqlite_store(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> SqliteStore:
    """Open the store at a path, creating the file (0600) and its folder (0700) where they are missing.

    Takes a few milliseconds when the file exists. Blocks the thread while another process creates or renames it.

    Args:
        busy_seconds: How long this and every later transaction waits for another process before it gives up.

    Raises:
        StoreError: The file cannot be read or written, is damaged, is not a store, or is too new.
    """
    return SqliteStore(open_worker(path, busy_seconds=busy_seconds))


def open_worker(path: Path, *, busy_seconds: float, wait_seconds: float | None = None) -> StoreWorker:
    """Open the two connections of a store; see `open_sqlite_store`.

    Args:
        busy_seconds: How long each operation waits for another process.
        wait_seconds: How long the opening does; None for as long.
    """
    connection = open_connection(path, busy_seconds=busy_seconds if wait_seconds is None else wait_seconds)
    try:
        reader = open_reading_connection(path, busy_seconds=busy_seconds)
        return StoreWorker(connection, reader, busy_seconds=busy_seconds)
    except StoreError:
        connection.close()
        raise


def _rewrite_version(connection: sqlite3.Connection) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.execute(f"PRAGMA user_version = {version}")
