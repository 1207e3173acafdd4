"""A real PostgreSQL for tests: the server programs of this system, in a folder of its own, reached by a socket."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from local_postgres import MISSING, UNSYNCED, PostgresServer, find_programs, run_postgres

__all__ = ["MISSING", "PostgresServer", "find_programs", "open_postgres"]


@contextmanager
def open_postgres(*, is_synced: bool = False) -> Iterator[PostgresServer]:
    """Start a server of its own, and end it on the way out; the test is skipped where there is no PostgreSQL.

    Args:
        is_synced: Whether commits wait for the disk; what only tests behaviour need not.
    """
    if find_programs() is None:
        pytest.skip(MISSING)
    with (
        tempfile.TemporaryDirectory(prefix="flowport-pg-", ignore_cleanup_errors=True) as folder,
        run_postgres(Path(folder), settings=() if is_synced else UNSYNCED) as server,
    ):
        yield server
