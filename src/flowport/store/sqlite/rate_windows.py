"""The file through which processes share their request budgets: texts under keys, changed in transactions.

It is not the store's file, because it has another worth: a window that a power cut loses is over a minute later, so
nothing waits for the disk, and a process that finds the file damaged deletes it. It may be deleted at any time.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime
from flowport.store.sqlite.connection import build_file_error, prepare_file
from flowport.store.sqlite.errors import build_store_error, is_damage
from flowport.store.sqlite.operations import FileIdentity

logger = logging.getLogger(__name__)

RATE_WINDOWS_NAME: Final = "rate-limits.sqlite3"
"""The file's name in FLOWPORT_HOME."""

BUSY_SECONDS: Final = 1.0
"""How long a change waits for another process; its own takes less than a thousandth of that."""

# Another form of the texts takes another table: programs of different versions do not share.
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS rate_windows (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
_SELECT: Final = "SELECT text FROM rate_windows WHERE key = ?"
_REPLACE: Final = "INSERT OR REPLACE INTO rate_windows (key, text) VALUES (?, ?)"

T = TypeVar("T")
Work: TypeAlias = Callable[[str, BootTime | None], tuple[str, T]]
"""What changes a text. Every program of a home is on one machine, so its boot clock serves."""


class RateWindowFile:
    """One connection, and the thread that alone uses it; both begin with the first change."""

    parts: Final = 2
    """Into how many parts the limit is divided while the file cannot be used; seldom more than two programs run."""
    retry_seconds: Final = 30.0
    """How long a program does not use a file that failed: a full disk stays full for a while."""

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Prepare; nothing is opened."""
        self._path = path
        self._busy_seconds = busy_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowport-rate-limits")
        self._connection: sqlite3.Connection | None = None
        self._identity = FileIdentity("")

    async def change(self, key: str, work: Work[T]) -> T:
        """Replace a text, empty at first, by what the work makes of it, and return what else it returned.

        Raises:
            StoreError: The file cannot be used; nothing was changed.
        """
        return await asyncio.wrap_future(self._thread.submit(self._change, key, work))

    def post(self, key: str, work: Work[None]) -> None:
        """Do the same in the background; a file that cannot be used is only logged."""
        self._thread.submit(self._change, key, work).add_done_callback(_log_failure)

    async def close(self) -> None:
        """Perform what was asked for and close the file."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    def _change(self, key: str, work: Work[T]) -> T:
        try:
            try:
                return self._change_once(key, work)
            except sqlite3.DatabaseError as exc:
                if not is_damage(exc):
                    raise
                logger.warning("the file of request windows is damaged, so a new one begins: %s", exc)
                self._throw_away()
                return self._change_once(key, work)
        except sqlite3.Error as exc:
            raise build_store_error(exc) from exc
        except OSError as exc:
            raise build_file_error(exc) from exc

    def _change_once(self, key: str, work: Work[T]) -> T:
        connection = self._get_connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(_SELECT, (key,)).fetchone()
            before = str(row[0]) if row else ""
            after, result = work(before, None)
            if after != before:
                connection.execute(_REPLACE, (key, after))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return result

    def _get_connection(self) -> sqlite3.Connection:
        """Return the connection to the file that is at the path now: it may have been deleted or thrown away."""
        if self._connection is not None and self._identity.find_loss() is None:
            return self._connection
        self._close()
        prepare_file(self._path)
        self._connection = sqlite3.connect(self._path.absolute(), timeout=self._busy_seconds, isolation_level=None)
        # A process that is killed in a transaction leaves it to be undone by the next; only a power cut may do damage.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = TRUNCATE")
        self._connection.execute(_SCHEMA)
        self._identity = FileIdentity.read(self._connection)
        return self._connection

    def _throw_away(self) -> None:
        self._close()
        # The journal first: it would be played back into the next file.
        for path in (self._path.with_name(f"{self._path.name}-journal"), self._path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _log_failure(done: Future[None]) -> None:
    error = done.exception()
    if isinstance(error, StoreError):
        logger.info("what a provider said of its limits could not be shared: %s", error.problem)
    elif error is not None:
        logger.error("what a provider said of its limits was not understood", exc_info=error)
