"""Look at the store's file without changing it, beside a running Flowport or without one."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final

from flowport.domain.errors import StoreError
from flowport.domain.models import LOCAL_OWNER
from flowport.store.maintenance import StoreHealth
from flowport.store.sqlite.connection import FORMER_NAME, build_file_error, refuse_lone_journal
from flowport.store.sqlite.errors import build_damage_error, build_store_error
from flowport.store.sqlite.maintenance import read_history
from flowport.store.sqlite.schema import LAYOUT, get_layout

BUSY_SECONDS: Final = 2.0
"""How long a reader waits for a process that has the file to itself."""


def inspect_file(path: Path) -> StoreHealth:
    """Return the state of a store's file. Nothing is raised, created or locked."""
    try:
        refuse_lone_journal(path)
        former = path.with_name(FORMER_NAME)
        path = former if former.exists() and not path.exists() else path
        if not path.exists():
            return StoreHealth()
        # A file without a journal is not in use: read as immutable, it needs no files beside it.
        if not _has_journal(path):
            health = _open(path, "immutable=1")
            if not _has_journal(path):
                return health
        # Another process uses it, perhaps since a moment ago, and what was read then may be half a change.
        return _open(path, "mode=ro")
    except StoreError as exc:
        return StoreHealth(problem=exc)
    except OSError as exc:
        return StoreHealth(problem=build_file_error(exc))


def _has_journal(path: Path) -> bool:
    return os.path.lexists(path.with_name(f"{path.name}-wal"))


def _open(path: Path, option: str) -> StoreHealth:
    address = f"{path.absolute().as_uri()}?{option}"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            return _inspect(connection, path)
    except StoreError as exc:
        return StoreHealth(problem=exc)
    except sqlite3.Error as exc:
        return StoreHealth(problem=build_store_error(exc))


def _inspect(connection: sqlite3.Connection, path: Path) -> StoreHealth:
    layout = get_layout(connection)
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise build_damage_error()
    # The mode too: a user who may ignore it still gets files that others cannot write.
    is_writable = bool(path.stat().st_mode & stat.S_IWUSR) and all(
        os.access(one, os.W_OK) for one in (path, path.parent)
    )
    if layout != LAYOUT:
        return StoreHealth(layout, is_older=layout > 0, is_writable=is_writable)
    people = connection.execute("SELECT count(DISTINCT owner) FROM runs WHERE owner <> ?", (LOCAL_OWNER,)).fetchone()[0]
    return StoreHealth(
        layout,
        is_writable=is_writable,
        history=read_history(connection, LOCAL_OWNER),
        people=people,
        people_history=read_history(connection, LOCAL_OWNER, is_other=True),
    )
