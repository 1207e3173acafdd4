"""A store for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scripted import FaultyStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    """Open a store in a real file and close it after the test."""
    opened = FaultyStore(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()
