"""Opening, closing, and two processes at once."""

import asyncio
from collections.abc import Callable

import pytest

from flowport.domain.errors import StoreError
from flowport.domain.run_events import StartRequested
from flowport.store.interface import Store
from tests.store.samples import ACCOUNT, OWNER, build_run


async def test_runs_outlive_the_store(open_store: Callable[[], Store]) -> None:
    """A restart loses nothing."""
    first = open_store()
    await first.accept(build_run("run_1"))
    await first.close()
    second = open_store()
    assert await second.get_run("run_1", account_id=None, owner=OWNER) == build_run("run_1")


async def test_closing_twice_is_closing(store: Store) -> None:
    """Two paths of a shutdown may both do it."""
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="it was closed"):
        await store.get_live_runs(account_id=ACCOUNT)


async def test_of_two_that_start_a_run_one_may(store: Store, open_store: Callable[[], Store]) -> None:
    """The second start request would be the second payment."""
    other = open_store()
    await store.accept(build_run("run_1"))
    answers = await asyncio.gather(
        *(each.record("run_1", StartRequested(1.0)) for each in (store, other, store, other))
    )
    assert sorted(type(one).__name__ for one in answers) == ["Recorded", "Stale", "Stale", "Stale"]


async def test_a_sound_store_passes_its_check_and_goes_on(store: Store) -> None:
    """Every process checks once a day, while calls are accepted."""
    await store.accept(build_run("run_1"))
    await store.check()
    await store.accept(build_run("run_2"))
    assert await store.get_disk_use() > 0
