"""The tables of the SQLite store, and how a file of another version is brought to ours or used as it is.

Changes are additive, because an older Flowport may be running on the same file: a migration adds tables, indexes and
columns, and a new column is nullable or has a default. `PRAGMA user_version` counts the migrations that a file has had
and is never written down. A file with more of them than we know is used as it is, unless its `min_reader` in `meta`
says that versions as old as ours would misread it.
"""

import sqlite3
from typing import Final

from flowport.domain.errors import StoreError

APPLICATION_ID: Final = 0x466C6F77
"""What `PRAGMA application_id` says of our files: "Flow" in ASCII."""

_FIRST_TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "INSERT INTO meta (key, value) VALUES ('min_reader', '1')",
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        provider TEXT NOT NULL,
        app_id TEXT NOT NULL,
        app_name TEXT NOT NULL,
        tool_name TEXT NOT NULL,
        arguments_json TEXT NOT NULL,
        raw_digest TEXT NOT NULL,
        canonical_digest TEXT NOT NULL,
        state TEXT NOT NULL,
        accepted_at REAL NOT NULL,
        process_id TEXT NOT NULL,
        price_credits REAL,
        reserved_credits REAL NOT NULL,
        spent_credits REAL NOT NULL,
        provider_run_id TEXT NOT NULL,
        starting_at REAL,
        started_at REAL,
        finished_at REAL,
        failure TEXT NOT NULL,
        start_answer TEXT NOT NULL,
        told_at REAL,
        seen_at REAL,
        is_followed INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE outputs (
        run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        n INTEGER NOT NULL,
        kind TEXT NOT NULL,
        url TEXT,
        provider_output_id TEXT NOT NULL,
        mime_type TEXT NOT NULL,
        size_bytes INTEGER,
        width INTEGER,
        height INTEGER,
        duration_seconds REAL,
        expires_at REAL,
        saved_path TEXT NOT NULL,
        save_problem TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (run_id, n)
    )
    """,
    # The lists of an owner's runs, newest first.
    "CREATE INDEX runs_by_owner ON runs (owner, accepted_at, id)",
    "CREATE INDEX runs_by_account_and_owner ON runs (account_id, owner, accepted_at, id)",
    "CREATE INDEX runs_by_owner_and_state ON runs (owner, state, accepted_at, id)",
    "CREATE INDEX runs_unseen ON runs (owner, accepted_at, id) WHERE seen_at IS NULL",
    # The runs to be followed.
    "CREATE INDEX runs_by_state ON runs (account_id, state)",
    # What ended since an instant, and how long it took.
    "CREATE INDEX runs_by_end ON runs (account_id, owner, finished_at)",
    "CREATE INDEX runs_by_app ON runs (account_id, app_id, finished_at)",
    "CREATE INDEX runs_by_use ON runs (account_id, accepted_at, app_id)",
    "CREATE INDEX outputs_by_url ON outputs (url) WHERE url IS NOT NULL",
    # No row of the next two is ever deleted: a name stays with its app, and with its input, for good.
    """
    CREATE TABLE tool_names (
        name TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        app_id TEXT NOT NULL,
        UNIQUE (scope, app_id)
    )
    """,
    """
    CREATE TABLE property_names (
        scope TEXT NOT NULL,
        app_id TEXT NOT NULL,
        input_id TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (scope, app_id, input_id),
        UNIQUE (scope, app_id, name)
    )
    """,
)

_ATTACHING: Final = (
    "ALTER TABLE runs ADD COLUMN running_at REAL",
    "ALTER TABLE runs ADD COLUMN seen_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN boot_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN accepted_boot_seconds REAL",
    "ALTER TABLE runs ADD COLUMN mentions INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN adoption_tried TEXT NOT NULL DEFAULT ''",
    # The calls that wait for a run's end just now, in whatever process; those of dead processes count for nothing.
    """
    CREATE TABLE waiting_calls (
        id TEXT PRIMARY KEY,
        run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        process_id TEXT NOT NULL,
        since REAL NOT NULL
    )
    """,
    "CREATE INDEX waiting_calls_by_run ON waiting_calls (run_id)",
    # The runs that an equal call may join or must hear of.
    """
    CREATE INDEX runs_by_raw_digest ON runs (account_id, owner, app_id, raw_digest)
        WHERE seen_at IS NULL OR state = 'unknown'
    """,
    """
    CREATE INDEX runs_by_canonical_digest ON runs (account_id, owner, app_id, canonical_digest)
        WHERE seen_at IS NULL OR state = 'unknown'
    """,
    # The outputs that are still to be saved.
    "CREATE INDEX outputs_unsaved ON outputs (run_id) WHERE saved_path = '' AND url IS NOT NULL",
)

_UPLOADS: Final = (
    "ALTER TABLE runs ADD COLUMN notes TEXT NOT NULL DEFAULT ''",
    # Files that lie at a provider; without a URL, the claim of the process that is bringing one there.
    """
    CREATE TABLE uploads (
        account_id TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        url TEXT NOT NULL DEFAULT '',
        expires_at REAL NOT NULL DEFAULT 0,
        provider_upload_id TEXT NOT NULL DEFAULT '',
        note TEXT NOT NULL DEFAULT '',
        claimed_by TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (account_id, sha256)
    )
    """,
    # The results that were seen last.
    "CREATE INDEX runs_by_seen ON runs (owner, seen_at) WHERE seen_at IS NOT NULL",
)

_SPENDING_LIMITS: Final = (
    # What ended lately on any account, by either clock. A run that has not ended costs them nothing.
    "CREATE INDEX runs_ended ON runs (owner, finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX runs_ended_in_boot ON runs (owner, boot_id, accepted_boot_seconds) WHERE finished_at IS NOT NULL",
)

_BATCHES: Final = (
    # A batch is a run with rows; a row of it that was begun is a run with a batch.
    "ALTER TABLE runs ADD COLUMN batch_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN row_count INTEGER NOT NULL DEFAULT 0",
    """
    CREATE TABLE batches (
        id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        shared_json TEXT NOT NULL,
        price_each_credits REAL,
        variations INTEGER NOT NULL,
        stop_after_failures INTEGER NOT NULL,
        stopped TEXT NOT NULL DEFAULT '',
        csv_path TEXT NOT NULL DEFAULT '',
        csv_problem TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE batch_rows (
        batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
        n INTEGER NOT NULL,
        given_n INTEGER NOT NULL,
        variation INTEGER NOT NULL,
        arguments_json TEXT NOT NULL,
        shown_json TEXT NOT NULL,
        raw_digest TEXT NOT NULL,
        canonical_digest TEXT NOT NULL,
        run_id TEXT NOT NULL DEFAULT '',
        is_dropped INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (batch_id, n)
    )
    """,
    "CREATE INDEX batch_rows_waiting ON batch_rows (batch_id, n) WHERE run_id = '' AND is_dropped = 0",
    "CREATE INDEX batch_rows_by_run ON batch_rows (run_id) WHERE run_id <> ''",
    # The lists, in which a batch is one.
    "CREATE INDEX runs_alone ON runs (owner, accepted_at, id) WHERE batch_id = ''",
    "CREATE INDEX runs_alone_unseen ON runs (owner, accepted_at, id) WHERE seen_at IS NULL AND batch_id = ''",
)

_DELIVERY: Final = (
    "ALTER TABLE runs ADD COLUMN is_delivery_cancelled INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN delivered_boot_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN delivered_boot_seconds REAL",
    # Until now a run was marked before its answer was written. What a call still waits for may not have been.
    "UPDATE runs SET seen_at = NULL, seen_by = '' WHERE id IN (SELECT run_id FROM waiting_calls)",
    # A delivery whose request was cancelled afterwards can be joined for a while.
    "DROP INDEX runs_by_raw_digest",
    "DROP INDEX runs_by_canonical_digest",
    """
    CREATE INDEX runs_by_raw_digest ON runs (account_id, owner, app_id, raw_digest)
        WHERE seen_at IS NULL OR is_delivery_cancelled = 1 OR state = 'unknown'
    """,
    """
    CREATE INDEX runs_by_canonical_digest ON runs (account_id, owner, app_id, canonical_digest)
        WHERE seen_at IS NULL OR is_delivery_cancelled = 1 OR state = 'unknown'
    """,
)

_COST: Final = ("ALTER TABLE runs ADD COLUMN is_cost_told INTEGER NOT NULL DEFAULT 0",)

MIGRATIONS: Final = (_FIRST_TABLES, _ATTACHING, _UPLOADS, _SPENDING_LIMITS, _BATCHES, _DELIVERY, _COST)
"""The statements that bring a file from version i to version i + 1, at place i. What has been released never changes."""

SCHEMA_VERSION: Final = len(MIGRATIONS)


def prepare_schema(connection: sqlite3.Connection) -> None:
    """Bring an empty or older file to our version and check that a newer one may be used; quick when nothing is due.

    Raises:
        StoreError: The file is another program's, or was made by a Flowport too new for this one.
        sqlite3.Error: The file cannot be read or written, or is damaged.
    """
    if _get_number(connection, "PRAGMA user_version") < SCHEMA_VERSION:
        _migrate(connection)
    _check_origin(connection)
    _check_min_reader(connection)


def check_readable(connection: sqlite3.Connection) -> None:
    """Check, changing nothing, that a file is a store whose runs this version can read.

    Raises:
        StoreError: It is not, or too old or too new.
        sqlite3.Error: The file cannot be read, or is damaged.
    """
    _check_origin(connection)
    _check_min_reader(connection)
    if _get_number(connection, "PRAGMA user_version") < SCHEMA_VERSION:
        raise StoreError(
            "it was written by an older Flowport and cannot be brought up to date",
            "Make the file and its folder writable.",
        )
    connection.execute("SELECT count(*) FROM (SELECT id FROM runs LIMIT 1)").fetchone()


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _check_origin(connection)
        # Read again: another process may have migrated while this one waited for its turn.
        version = _get_number(connection, "PRAGMA user_version")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(version, SCHEMA_VERSION)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_origin(connection: sqlite3.Connection) -> None:
    is_empty = _get_number(connection, "SELECT count(*) FROM sqlite_schema") == 0
    if not is_empty and _get_number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise StoreError("its file is another program's database", "Choose another FLOWPORT_HOME.")


def _check_min_reader(connection: sqlite3.Connection) -> None:
    min_reader = _get_number(connection, "SELECT coalesce(max(value + 0), 0) FROM meta WHERE key = 'min_reader'")
    if min_reader > SCHEMA_VERSION:
        raise StoreError("it was written by a newer Flowport", "Update this Flowport to the same version.")


def _get_number(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0])
