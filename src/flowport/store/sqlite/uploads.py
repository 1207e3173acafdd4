"""The uploads of the SQLite store. Each function is one operation inside the worker's transaction."""

import sqlite3
from dataclasses import fields
from typing import Final

from flowport.store.records import BeingUploaded, ToUpload, Upload, UploadClaim, UploadOutcome

_FORGOTTEN_SECONDS: Final = 7 * 24 * 3600.0
"""An upload that expired so long before a new one will is of no use."""

_COLUMNS: Final = tuple(field.name for field in fields(Upload))


def claim_upload(connection: sqlite3.Connection, claim: UploadClaim) -> UploadOutcome:
    """Return a usable upload or claim its place, unless another process that lives has claimed it."""
    row = connection.execute(
        "SELECT * FROM uploads WHERE account_id = ? AND sha256 = ?", (claim.account_id, claim.sha256)
    ).fetchone()
    if row is not None and row["url"] and row["expires_at"] >= claim.usable_until:
        return Upload(**{column: row[column] for column in _COLUMNS})
    if row is not None and not row["url"] and row["claimed_by"] not in {claim.process_id, claim.dead_process_id}:
        return BeingUploaded(row["claimed_by"])
    connection.execute(
        "INSERT OR REPLACE INTO uploads (account_id, sha256, claimed_by) VALUES (?, ?, ?)",
        (claim.account_id, claim.sha256, claim.process_id),
    )
    return ToUpload()


def note_upload(connection: sqlite3.Connection, upload: Upload) -> None:
    """Put a finished upload in the place of its claim, and clear away those that have long expired."""
    places = ", ".join(f":{column}" for column in _COLUMNS)
    connection.execute(
        f"INSERT OR REPLACE INTO uploads ({', '.join(_COLUMNS)}) VALUES ({places})",  # noqa: S608 - our own words
        {column: getattr(upload, column) for column in _COLUMNS},
    )
    connection.execute(
        "DELETE FROM uploads WHERE url <> '' AND expires_at < ?", (upload.expires_at - _FORGOTTEN_SECONDS,)
    )


def forget_upload(connection: sqlite3.Connection, *, account_id: str, sha256: str) -> None:
    """Remove a claim or an upload."""
    connection.execute("DELETE FROM uploads WHERE account_id = ? AND sha256 = ?", (account_id, sha256))
