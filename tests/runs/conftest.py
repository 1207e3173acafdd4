"""A ledger, a board and a clock for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.runs.live import Board
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyLedger


@pytest.fixture
def clock() -> FakeClock:
    """Give a test a clock that never lets anybody wait."""
    return FakeClock()


@pytest.fixture
def board() -> Board:
    """Give a test an empty board."""
    return Board()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[FaultyLedger]:
    """Open a ledger in a real file and close it after the test."""
    opened = FaultyLedger(tmp_path / "ledger.sqlite3")
    yield opened
    await opened.close()
