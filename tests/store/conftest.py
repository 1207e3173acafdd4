"""A store in a real file, for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.store.sqlite.store import SqliteStore, open_sqlite_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a test's store lies; its folder does not exist yet."""
    return tmp_path / "home" / "store.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """Open a new store and close it after the test."""
    opened = open_sqlite_store(path)
    yield opened
    await opened.close()
