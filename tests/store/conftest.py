"""A ledger in a real file, for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.store.sqlite.store import SqliteLedger, open_sqlite_ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a test's ledger lies; its folder does not exist yet."""
    return tmp_path / "home" / "ledger.sqlite3"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqliteLedger]:
    """Open a new ledger and close it after the test."""
    opened = open_sqlite_ledger(path)
    yield opened
    await opened.close()
