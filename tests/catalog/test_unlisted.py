"""Which apps are in the list, and how those that are not are reached all the same."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from flowport.catalog.listing import Listing
from flowport.domain.errors import AppUnsupported, Operation, ProviderRejected
from flowport.domain.models import RunState
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiRequest
from tests.catalog.benches import build_bench
from tests.catalog.samples import Store, build_apps, build_flow
from tests.store.samples import build_run
from tests.support.fake_clock import wait_until_blocked
from tests.support.scripted import ACCOUNT, FaultyStore, build_answer, wait_until


async def test_the_list_holds_named_own_and_used_apps_first(store: FaultyStore, tmp_path: Path) -> None:
    """The room in the list is for what this person wants; the rest is reached through find_apps."""
    bench = build_bench(
        store,
        tmp_path,
        Store(*build_apps(9), own=(build_flow("mine"),)),
        globs=("app_a8", "a7"),
        max_tools=5,
    )
    now = bench.clock.now()
    for app_id, age_days in (("a5", 29), ("a6", 31)):
        run = build_run(f"run_{app_id}", RunState.SUCCEEDED, app_id=app_id, account_id=ACCOUNT.id)
        await store.accept(replace(run, accepted_at=now - age_days * 86400))
    await bench.catalog.refresh()
    assert bench.list_names() == ["app_a8", "app_a7", "app_mine", "app_a5", "app_a0"]
    assert bench.count() == (2, 5)


async def test_no_app_needs_to_be_listed(store: FaultyStore, tmp_path: Path) -> None:
    """Some people want the six standing tools alone, and run apps by name."""
    bench = build_bench(store, tmp_path, Store(*build_apps(3)), max_tools=0)
    await bench.catalog.refresh()
    assert (bench.tools, bench.count()) == ((), (2, 0))
    assert (await bench.catalog.fetch_listing("a1")).tool is not None
    assert bench.tools == ()


async def test_an_unlisted_app_is_read_when_it_is_asked_for_and_only_once(store: FaultyStore, tmp_path: Path) -> None:
    """run_app reaches every app, at the urgency of a call that waits."""
    bench = build_bench(store, tmp_path, Store(*build_apps(3)), max_tools=1)
    await bench.catalog.refresh()
    listing = await bench.catalog.fetch_listing("App a2")
    assert (listing.app.id, listing.property_names) == ("a2", {"in-1": "prompt"})
    assert await bench.catalog.fetch_listing("a2") is listing
    assert bench.account.asked[-1] == ApiRequest(Operation.DESCRIBE_APP, "GET", "/v1/ai/flows/a2")
    assert (bench.count(), bench.account.priorities[-1]) == ((2, 2), Priority.START)
    assert bench.list_names() == ["app_a0"]


async def test_an_unlisted_app_is_read_once_for_all_that_ask_at_the_same_time(
    store: FaultyStore, tmp_path: Path
) -> None:
    """The rows of a batch that was taken over do; the budget is for their starts."""
    bench = build_bench(store, tmp_path, Store(*build_apps(3)), max_tools=0)
    await bench.catalog.refresh()
    found: list[Listing] = []

    async def ask(name: str) -> None:
        """Ask for an app."""
        found.append(await bench.catalog.fetch_listing(name))

    async with anyio.create_task_group() as tasks:
        for name in ("a2", "App a2", "a1"):
            tasks.start_soon(ask, name)
    assert sorted(listing.app.id for listing in found) == ["a1", "a2", "a2"]
    assert bench.count() == (2, 2)


async def test_an_unlisted_app_that_is_unsupported_is_refused_and_remembered(
    store: FaultyStore, tmp_path: Path
) -> None:
    """The second call needs no request to say the same."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")), max_tools=0)
    bench.cache_store.inputs["a1"] = None
    await bench.catalog.refresh()
    for _ in range(2):
        with pytest.raises(AppUnsupported):
            await bench.catalog.fetch_listing("a1")
    assert bench.count() == (2, 1)


async def test_an_unlisted_app_that_cannot_be_read_is_the_providers_error(store: FaultyStore, tmp_path: Path) -> None:
    """The app may have been deleted a minute ago."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")), max_tools=0)
    await bench.catalog.refresh()
    bench.cache_store.faults["/v1/ai/flows/a1"] = build_answer({"message": "Not found"}, 404)
    with pytest.raises(ProviderRejected):
        await bench.catalog.fetch_listing("a1")


async def test_a_definition_read_during_a_refresh_is_not_lost(store: FaultyStore, tmp_path: Path) -> None:
    """A call and a refresh go side by side; neither may undo what the other learnt."""
    bench = build_bench(store, tmp_path, Store(*build_apps(2)), max_tools=0)
    await bench.catalog.refresh()
    store.held["assign_tool_names"] = anyio.Event()
    store.called.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.refresh)
        await wait_until(lambda: "assign_tool_names" in store.called)
        tasks.start_soon(bench.catalog.fetch_listing, "a1")
        await wait_until(lambda: bench.count()[1] == 1)
        await wait_until_blocked()
        store.held["assign_tool_names"].set()
    assert bench.catalog.get_listing("a1").tool is not None
