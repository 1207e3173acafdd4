"""Open the store of a home, or of a team, beside a running Flowport, for commands that need nothing else."""

import importlib
from pathlib import Path
from typing import Final

from flowport.domain.errors import StoreError
from flowport.store.cluster import SharedTexts
from flowport.store.interface import Store
from flowport.store.maintenance import DatabaseHealth, StoreHealth
from flowport.store.sqlite.connection import STORE_NAME, has_store
from flowport.store.sqlite.inspection import inspect_file
from flowport.store.sqlite.rate_windows import RATE_WINDOWS_NAME, RateWindowFile
from flowport.store.sqlite.store import open_sqlite_store

COMMAND_CONNECTIONS: Final = 2
"""Of one command to the database of a team, whose replicas need theirs."""


_TEAM_LIBRARIES: Final = ("psycopg", "psycopg_pool", "procrastinate")
"""What the extra `team` installs for the database of a team."""


def find_store(home: Path, database_url: str = "") -> Store | None:
    """Return the store of a home, or of a team; None, and nothing is created, where there is no store.

    Raises:
        StoreError: The libraries for a team's database are missing.
    """
    if database_url:
        return _open_team_store(database_url)
    path = home / STORE_NAME
    return open_sqlite_store(path) if has_store(path) else None


def open_home_store(home: Path, database_url: str = "") -> Store:
    """Return the store of a home, which is created where it is missing, or that of a team.

    Raises:
        StoreError: It cannot be opened or created.
    """
    if database_url:
        return _open_team_store(database_url)
    return open_sqlite_store(home / STORE_NAME)


def _open_team_store(database_url: str) -> Store:
    """Return the store in a database; it is connected by the first operation."""
    try:
        # Only a team pays for the driver.
        from flowport.store.postgres.database import Database  # noqa: PLC0415
        from flowport.store.postgres.migrate import migrate  # noqa: PLC0415
        from flowport.store.postgres.store import PostgresStore  # noqa: PLC0415
    except ImportError as exc:
        if not lacks_team_libraries():
            raise
        raise _build_missing_error() from exc
    return PostgresStore(Database(database_url, max_connections=COMMAND_CONNECTIONS, prepare=migrate))


def find_older_records(home: Path) -> tuple[Path, ...]:
    """Return the files of older layouts that were set aside; they hold what their runs were given."""
    return tuple(sorted(home.glob("*.older-*")))


def inspect_store(home: Path) -> StoreHealth:
    """Return the state of a home's store. Nothing is raised, changed, created or locked."""
    return inspect_file(home / STORE_NAME)


def inspect_team_store(database_url: str, home_id: str = "") -> DatabaseHealth:
    """Return the state of a team's database. Nothing is raised, changed, created or locked."""
    try:
        from flowport.store.postgres.inspection import inspect_database  # noqa: PLC0415 - only a team pays for the driver
    except ImportError:
        if not lacks_team_libraries():
            raise
        return DatabaseHealth(problem=_build_missing_error())
    return inspect_database(database_url, home_id)


def open_rate_windows(home: Path, database_url: str = "") -> SharedTexts:
    """Return the record of requests that all programs of a home or a team share; nothing is opened before the first."""
    if database_url and not lacks_team_libraries():
        from flowport.store.postgres.rate_windows import RateWindowTable  # noqa: PLC0415 - likewise

        return RateWindowTable(database_url)
    return RateWindowFile(home / RATE_WINDOWS_NAME)


def lacks_team_libraries() -> bool:
    """Return whether one of the libraries for a team's database is missing or cannot be loaded.

    Any other import that fails is a fault of this installation or of Flowport, which the extra would not correct.
    """
    try:
        for name in _TEAM_LIBRARIES:
            importlib.import_module(name)
    except ImportError:
        return True
    return False


def _build_missing_error() -> StoreError:
    return StoreError(
        "the libraries for PostgreSQL are not installed", "Install Flowport with its extra: pip install '.[team]'."
    )
