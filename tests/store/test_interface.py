"""The interface, held against its implementation."""

import inspect

import pytest

from flowport.store.interface import Ledger
from flowport.store.sqlite.store import SqliteLedger

METHODS = [name for name in vars(Ledger) if not name.startswith("_")]


async def test_the_sqlite_ledger_is_a_ledger(ledger: SqliteLedger) -> None:
    """The assignment is what the type checker holds to the protocol; the rest of Flowport sees nothing else."""
    as_ledger: Ledger = ledger
    assert as_ledger is ledger


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_what_the_interface_says(name: str) -> None:
    """Callers write against the interface, so names, order and defaults of arguments must be the same."""
    assert inspect.signature(getattr(SqliteLedger, name)) == inspect.signature(getattr(Ledger, name))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_the_interface_states_its_contract(name: str) -> None:
    """The docstrings are the only place where the promises stand."""
    assert inspect.getdoc(getattr(Ledger, name))
