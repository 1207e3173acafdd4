"""Open the store of a home beside a running Flowport, for commands that need nothing else."""

from pathlib import Path

from flowport.store.interface import Store
from flowport.store.sqlite.connection import STORE_NAME, has_store
from flowport.store.sqlite.store import open_sqlite_store


def find_store(home: Path) -> Store | None:
    """Return the store of a home; None, and nothing is created, where there is no store."""
    path = home / STORE_NAME
    return open_sqlite_store(path) if has_store(path) else None
