"""A store of each kind for the tests of this folder."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from flowport.store.interface import Store

from .factories import FACTORIES


@pytest.fixture(params=sorted(FACTORIES))
def store_kind(request: pytest.FixtureRequest) -> str:
    """Name each kind of store in turn."""
    return str(request.param)


@pytest.fixture
async def open_store(store_kind: str, tmp_path: Path) -> AsyncIterator[Callable[[], Store]]:
    """Open the test's record, as often as it wants, and close what was opened."""
    opened: list[Store] = []

    def open_one() -> Store:
        """Open it once more."""
        opened.append(FACTORIES[store_kind](tmp_path))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    """Open the test's record."""
    return open_store()
