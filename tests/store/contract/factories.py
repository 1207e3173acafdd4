"""How the tests of the contract open a store. Opened twice, a factory gives two processes' views of one record."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from flowport.store.interface import Store
from flowport.store.postgres.store import open_postgres_store
from flowport.store.sqlite.store import open_sqlite_store

Factory: TypeAlias = Callable[[Path], Store]
"""Opens the record that belongs to a folder, and creates it if it does not exist."""


def open_sqlite(folder: Path) -> Store:
    """Open a SQLite file in the folder."""
    return open_sqlite_store(folder / "home" / "store.sqlite3")


URL_FILE: Final = "database.txt"
"""Holds the address of the PostgreSQL database that belongs to a folder."""


def open_postgres(folder: Path) -> Store:
    """Open the PostgreSQL database whose address is in the folder."""
    return open_postgres_store((folder / URL_FILE).read_text(encoding="utf-8"))


FACTORIES: Final[dict[str, Factory]] = {"sqlite": open_sqlite, "postgres": open_postgres}
