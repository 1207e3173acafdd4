"""The interface, held against its implementation."""

import inspect

import pytest

from flowport.store.interface import Store
from flowport.store.sqlite.store import SqliteStore

METHODS = [name for name in dir(Store) if not name.startswith("_")]


async def test_the_sqlite_store_is_a_store(store: SqliteStore) -> None:
    """The assignment is what the type checker holds to the protocol; the rest of Flowport sees nothing else."""
    as_store: Store = store
    assert as_store is store


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_the_interface_states_its_contract(name: str) -> None:
    """The docstrings are the only place where the promises stand."""
    assert inspect.getdoc(getattr(Store, name))
