"""The tables of the SQLite store. There is one layout: a file of an older one is set aside by `connection`.

The indexes are chosen so that SQLite, which keeps no statistics here, finds each query's rows by one of them: an index
for a few runs among many is partial, and its columns are compared for equality. `tests/store/test_query_plans.py` holds it.
"""

import sqlite3
from typing import Final

from flowport.domain.errors import StoreError

APPLICATION_ID: Final = 0x466C6F77
"""What `PRAGMA application_id` says of our files: "Flow" in ASCII."""

LAYOUT: Final = 12
"""What `PRAGMA user_version` says of a file with these tables; every change of them raises it."""

TABLES: Final = (
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
        lease INTEGER NOT NULL,
        price_credits REAL,
        reserved_credits REAL NOT NULL,
        spent_credits REAL NOT NULL,
        is_cost_reported INTEGER NOT NULL,
        provider_run_id TEXT NOT NULL,
        starting_at REAL,
        started_at REAL,
        running_at REAL,
        finished_at REAL,
        failure TEXT NOT NULL,
        start_response TEXT NOT NULL,
        reported_at REAL,
        delivered_at REAL,
        delivered_to TEXT NOT NULL,
        delivered_boot_id TEXT NOT NULL,
        delivered_boot_seconds REAL,
        is_delivery_cancelled INTEGER NOT NULL,
        is_followed INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        accepted_boot_seconds REAL,
        reminder_count INTEGER NOT NULL,
        adoption_tried_by TEXT NOT NULL,
        notes TEXT NOT NULL,
        batch_id TEXT NOT NULL,
        row_count INTEGER NOT NULL,
        start_request TEXT NOT NULL,
        unknown_at REAL,
        witness TEXT NOT NULL,
        witnessed_at REAL
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
    # No row of the next two is ever deleted: a name stays with its app, and with its input.
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
    # The calls that wait for a run's end just now, in any process; those of dead processes do not count.
    """
    CREATE TABLE waiting_calls (
        id TEXT PRIMARY KEY,
        run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        process_id TEXT NOT NULL
    )
    """,
    # Files that lie at a provider; without a URL, the claim of the process that uploads one.
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
    # Sentences that the next answer is to hold; each is deleted when it was given.
    "CREATE TABLE notices (text TEXT NOT NULL)",
    # A batch is a run with rows; a row of it that was begun is a run with a batch.
    """
    CREATE TABLE batches (
        id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        shared_json TEXT NOT NULL,
        price_each_credits REAL,
        variations INTEGER NOT NULL,
        stop_after_failures INTEGER NOT NULL,
        stop_reason TEXT NOT NULL DEFAULT '',
        csv_path TEXT NOT NULL DEFAULT '',
        csv_problem TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE batch_rows (
        batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
        n INTEGER NOT NULL,
        table_row INTEGER NOT NULL,
        variation INTEGER NOT NULL,
        arguments_json TEXT NOT NULL,
        display_json TEXT NOT NULL,
        raw_digest TEXT NOT NULL,
        canonical_digest TEXT NOT NULL,
        run_id TEXT NOT NULL DEFAULT '',
        is_dropped INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (batch_id, n)
    )
    """,
    # The tokens of a server for several people; of each only the hash.
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        account_ids TEXT,
        spending_limits TEXT,
        created_at REAL NOT NULL,
        expires_at REAL,
        revoked_at REAL
    )
    """,
    "CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL",
    # Files that people upload to a server; without an instant of receipt, tickets that may be used once.
    """
    CREATE TABLE received_files (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        requested_at REAL NOT NULL,
        expires_at REAL NOT NULL,
        purpose TEXT NOT NULL,
        received_at REAL,
        file_name TEXT NOT NULL,
        mime_type TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    )
    """,
    "CREATE INDEX received_files_by_owner ON received_files (owner)",
    # What the saved results of each owner occupy, kept up by the next three: a sum over them is too slow for each call.
    "CREATE TABLE file_use (owner TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL)",
    """
    CREATE TRIGGER outputs_added AFTER INSERT ON outputs WHEN NEW.saved_path <> ''
    BEGIN
        INSERT INTO file_use SELECT owner, ifnull(NEW.size_bytes, 0) FROM runs WHERE id = NEW.run_id
            ON CONFLICT (owner) DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes;
    END
    """,
    """
    CREATE TRIGGER outputs_saved AFTER UPDATE OF saved_path, size_bytes ON outputs
        WHEN NEW.saved_path IS NOT OLD.saved_path OR NEW.size_bytes IS NOT OLD.size_bytes
    BEGIN
        INSERT INTO file_use SELECT owner, iif(NEW.saved_path <> '', ifnull(NEW.size_bytes, 0), 0)
                - iif(OLD.saved_path <> '', ifnull(OLD.size_bytes, 0), 0) FROM runs WHERE id = NEW.run_id
            ON CONFLICT (owner) DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes;
    END
    """,
    """
    CREATE TRIGGER runs_erased BEFORE DELETE ON runs
    BEGIN
        UPDATE file_use SET size_bytes = size_bytes
            - (SELECT ifnull(sum(size_bytes), 0) FROM outputs WHERE run_id = OLD.id AND saved_path <> '')
            WHERE owner = OLD.owner;
    END
    """,
    # The lists of an owner's runs, newest first, in which a batch is one.
    "CREATE INDEX runs_by_owner ON runs (owner, accepted_at, id) WHERE batch_id = ''",
    "CREATE INDEX runs_by_owner_and_state ON runs (owner, state, accepted_at, id)",
    "CREATE INDEX runs_undelivered_by_owner ON runs (owner, accepted_at, id) WHERE delivered_at IS NULL AND batch_id = ''",
    "CREATE INDEX runs_by_delivery ON runs (owner, delivered_at) WHERE delivered_at IS NOT NULL",
    # What is left to do.
    "CREATE INDEX runs_live ON runs (account_id, accepted_at, id) WHERE finished_at IS NULL",
    "CREATE INDEX runs_live_by_owner ON runs (owner, accepted_at, id) WHERE finished_at IS NULL",
    "CREATE INDEX outputs_unsaved ON outputs (saved_path) WHERE saved_path = '' AND url IS NOT NULL",
    "CREATE INDEX batch_rows_waiting ON batch_rows (batch_id, n) WHERE run_id = '' AND is_dropped = 0",
    # What an app's latest runs were like, and which apps were used lately.
    "CREATE INDEX runs_by_app ON runs (account_id, app_id, finished_at)",
    "CREATE INDEX runs_by_use ON runs (account_id, accepted_at, app_id)",
    # The starts to be settled, and the run that a provider's id belongs to.
    "CREATE INDEX runs_unknown ON runs (account_id, unknown_at) WHERE state = 'unknown'",
    "CREATE INDEX runs_by_provider_run ON runs (account_id, provider_run_id) WHERE provider_run_id <> ''",
    # What ended lately on any account, by either clock.
    "CREATE INDEX runs_ended ON runs (owner, finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX runs_ended_in_boot ON runs (owner, boot_id, accepted_boot_seconds) WHERE finished_at IS NOT NULL",
    # Of an account that many people use it is 100,000 in a month: the indexes hold all that is summed up.
    """
    CREATE INDEX runs_ended_of_account ON runs (account_id, finished_at, boot_id, accepted_boot_seconds, spent_credits)
        WHERE finished_at IS NOT NULL
    """,
    """
    CREATE INDEX runs_ended_of_account_in_boot
        ON runs (account_id, boot_id, accepted_boot_seconds, finished_at, accepted_at, spent_credits)
        WHERE finished_at IS NOT NULL
    """,
    # The runs that an equal call may join or must know of.
    """
    CREATE INDEX runs_by_raw_digest ON runs (account_id, owner, app_id, raw_digest)
        WHERE delivered_at IS NULL OR is_delivery_cancelled = 1 OR state = 'unknown'
    """,
    """
    CREATE INDEX runs_by_canonical_digest ON runs (account_id, owner, app_id, canonical_digest)
        WHERE delivered_at IS NULL OR is_delivery_cancelled = 1 OR state = 'unknown'
    """,
    "CREATE INDEX runs_undelivered ON runs (account_id) WHERE delivered_at IS NULL",
    "CREATE INDEX waiting_calls_by_run ON waiting_calls (run_id)",
    "CREATE INDEX batch_rows_by_run ON batch_rows (run_id) WHERE run_id <> ''",
    "CREATE INDEX outputs_by_url ON outputs (url) WHERE url IS NOT NULL",
)
"""The statements that make an empty file one of ours."""


def is_store(connection: sqlite3.Connection) -> bool:
    """Return whether a file is marked as a store, of any layout."""
    return _get_number(connection, "PRAGMA application_id") == APPLICATION_ID


def get_layout(connection: sqlite3.Connection) -> int:
    """Return the layout of a file; 0 when it is empty.

    Raises:
        StoreError: The file is another program's, or was made by a newer Flowport.
        sqlite3.Error: The file cannot be read, or is damaged.
    """
    if not _get_number(connection, "SELECT count(*) FROM sqlite_schema"):
        return 0
    if not is_store(connection):
        raise StoreError("its file is another program's database", "Choose another FLOWPORT_HOME.")
    layout = _get_number(connection, "PRAGMA user_version")
    if layout > LAYOUT:
        raise StoreError("it was written by a newer Flowport", "Update this Flowport to the same version.")
    return layout


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty file one of ours, in the caller's transaction."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {LAYOUT}")


def check_readable(connection: sqlite3.Connection) -> None:
    """Check, changing nothing, that a file is a store whose runs this version can read.

    Raises:
        StoreError: It is not.
        sqlite3.Error: The file cannot be read, or is damaged.
    """
    if get_layout(connection) < LAYOUT:
        raise StoreError(
            "it was written by an older Flowport", "Make its folder writable, so that it can be set aside."
        )
    connection.execute("SELECT count(*) FROM (SELECT id FROM runs LIMIT 1)").fetchone()


def _get_number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
