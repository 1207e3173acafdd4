"""A ledger for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scripted import FaultyLedger


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[FaultyLedger]:
    """Open a ledger in a real file and close it after the test."""
    opened = FaultyLedger(tmp_path / "ledger.sqlite3")
    yield opened
    await opened.close()
