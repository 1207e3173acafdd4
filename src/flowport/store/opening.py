"""Open the files of a home beside a running Flowport, for commands that need nothing else."""

from pathlib import Path

from flowport.store.interface import Store
from flowport.store.maintenance import StoreHealth
from flowport.store.sqlite.connection import STORE_NAME, has_store
from flowport.store.sqlite.inspection import inspect_file
from flowport.store.sqlite.rate_windows import RATE_WINDOWS_NAME, RateWindowFile
from flowport.store.sqlite.store import open_sqlite_store


def find_store(home: Path) -> Store | None:
    """Return the store of a home; None, and nothing is created, where there is no store."""
    path = home / STORE_NAME
    return open_sqlite_store(path) if has_store(path) else None


def open_home_store(home: Path) -> Store:
    """Return the store of a home, which is created where it is missing.

    Raises:
        StoreError: It cannot be opened or created.
    """
    return open_sqlite_store(home / STORE_NAME)


def find_older_records(home: Path) -> tuple[Path, ...]:
    """Return the files of older layouts that were set aside; they hold what their runs were given."""
    return tuple(sorted(home.glob("*.older-*")))


def inspect_store(home: Path) -> StoreHealth:
    """Return the state of a home's store. Nothing is raised, changed, created or locked."""
    return inspect_file(home / STORE_NAME)


def open_rate_windows(home: Path) -> RateWindowFile:
    """Return the record of requests that all programs of a home share; nothing is opened before the first request."""
    return RateWindowFile(home / RATE_WINDOWS_NAME)
