"""The uploads of the SQLite store, and its other operations for what goes into runs."""

import sqlite3
from dataclasses import fields
from functools import partial
from typing import Final

from flowport.domain.models import Run
from flowport.store.records import BeingUploaded, ToUpload, Upload, UploadClaim, UploadOutcome
from flowport.store.sqlite.queries import RUN_LIST, build_runs
from flowport.store.sqlite.thread import Worker

_COLUMNS: Final = tuple(field.name for field in fields(Upload))


class SqliteUploads:
    """An `UploadStore`; see there for what each method promises."""

    _worker: Worker

    async def claim_upload(self, claim: UploadClaim) -> UploadOutcome:
        """Return the upload that is there, or say who is to make it."""
        return await self._worker.write(partial(claim_upload, claim=claim))

    async def note_upload(self, upload: Upload) -> None:
        """Record a finished upload."""
        await self._worker.write(partial(replace_upload, upload=upload))

    async def forget_upload(self, *, account_id: str, sha256: str) -> None:
        """Give up a claim or an upload."""
        await self._worker.write(partial(delete_upload, account_id=account_id, sha256=sha256))

    async def get_last_delivered(self, *, owner: str) -> Run | None:
        """Return the run whose outputs were delivered last."""
        return await self._worker.read(partial(select_last_delivered, owner=owner))


def claim_upload(connection: sqlite3.Connection, claim: UploadClaim) -> UploadOutcome:
    """Return a usable upload or claim its place, unless another process that lives has claimed it."""
    row = connection.execute(
        "SELECT * FROM uploads WHERE account_id = ? AND sha256 = ?", (claim.account_id, claim.sha256)
    ).fetchone()
    if row is not None and row["url"] and row["expires_at"] >= claim.usable_until:
        return Upload(**{column: row[column] for column in _COLUMNS})
    is_others = row is not None and not row["url"] and row["claimed_by"] != claim.process_id
    if is_others and claim.is_alive(row["claimed_by"]):
        return BeingUploaded()
    connection.execute(
        "INSERT OR REPLACE INTO uploads (account_id, sha256, claimed_by) VALUES (?, ?, ?)",
        (claim.account_id, claim.sha256, claim.process_id),
    )
    return ToUpload()


def replace_upload(connection: sqlite3.Connection, upload: Upload) -> None:
    """Put a finished upload in the place of its claim, and clear away those that have long expired."""
    places = ", ".join(f":{column}" for column in _COLUMNS)
    connection.execute(
        f"INSERT OR REPLACE INTO uploads ({', '.join(_COLUMNS)}) VALUES ({places})",  # noqa: S608 - our own words
        {column: getattr(upload, column) for column in _COLUMNS},
    )
    # A day before this one will: whatever is older is of no use to anybody.
    connection.execute(
        "DELETE FROM uploads WHERE url <> '' AND expires_at < ?", (upload.expires_at - _FORGOTTEN_SECONDS,)
    )


_FORGOTTEN_SECONDS: Final = 7 * 24 * 3600.0


def delete_upload(connection: sqlite3.Connection, *, account_id: str, sha256: str) -> None:
    """Remove a claim or an upload."""
    connection.execute("DELETE FROM uploads WHERE account_id = ? AND sha256 = ?", (account_id, sha256))


def select_last_delivered(connection: sqlite3.Connection, *, owner: str) -> Run | None:
    """Return the owner's run with outputs that was delivered last."""
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE runs.owner = :owner AND runs.seen_at IS NOT NULL "  # noqa: S608 - our own words
        "AND EXISTS (SELECT 1 FROM outputs WHERE outputs.run_id = runs.id) ORDER BY runs.seen_at DESC, runs.rowid DESC LIMIT 1",
        {"owner": owner},
    )
    return next(iter(build_runs(connection, rows)), None)
