"""A store, a list of live runs and a clock for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.runs.live import LiveRuns
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore


@pytest.fixture
def clock() -> FakeClock:
    """Give a test a clock that never makes a task wait."""
    return FakeClock()


@pytest.fixture
def live_runs() -> LiveRuns:
    """Give a test an empty list of live runs."""
    return LiveRuns()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    """Open a store in a real file and close it after the test."""
    opened = FaultyStore(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()
