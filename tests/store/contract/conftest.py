"""A store of each kind for the tests of this folder."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from flowport.store.interface import Store
from tests.support.postgres import dump_database

from .factories import FACTORIES, URL_FILE


@pytest.fixture(params=sorted(FACTORIES))
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name each kind of store in turn, and make what the test's folder needs for it."""
    if request.param == "postgres":
        (tmp_path / URL_FILE).write_text(request.getfixturevalue("emptied_database_url"), encoding="utf-8")
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


@pytest.fixture
def read_record(store_kind: str, tmp_path: Path) -> Callable[[], bytes]:
    """Return what reads the whole of the test's closed record, as a copy or a backup has it."""

    def read() -> bytes:
        """Read its files, or the rows of all tables of its database."""
        if store_kind == "postgres":
            return dump_database((tmp_path / URL_FILE).read_text(encoding="utf-8"))
        return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    return read
