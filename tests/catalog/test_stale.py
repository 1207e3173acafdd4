"""Definitions that a provider's refusal makes stale: which are read again, how many, and which processes get them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.catalog.refresher import FIRST_WATCH_SECONDS, MAX_REREAD, REREAD_SECONDS, WATCH_SECONDS
from flowport.catalog.snapshots import STALE_AFTER_SECONDS
from flowport.domain.errors import Operation
from flowport.domain.models import Source
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.magnific.api import Magnific
from tests.catalog.benches import Bench, build_bench
from tests.catalog.samples import DOWN, PROMPT, Store, build_apps, build_flow
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore, wait_until

COLOUR = {**PROMPT, "id": "in-2", "api_key": "colour", "label": "Colour"}


@asynccontextmanager
async def reading(bench: Bench) -> AsyncIterator[None]:
    """Let a catalogue read what is stale."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.refresh_stale)
        yield
        tasks.cancel_scope.cancel()


def mark_stale(bench: Bench, *app_ids: str) -> None:
    """Mark the definitions that the catalogue has now as stale."""
    for app_id in app_ids:
        bench.catalog.mark_stale(bench.catalog.get_listing(app_id).app)


async def save_after_mark(bench: Bench, app_id: str) -> None:
    """Mark a definition as stale, and wait until the file has what was read."""
    stamp = bench.catalog._file_stamp
    async with reading(bench):
        mark_stale(bench, app_id)
        await wait_until(lambda: bench.catalog._file_stamp != stamp)


def list_arguments(bench: Bench) -> list[list[str]]:
    """Return the arguments of each tool."""
    return [list(tool["inputSchema"]["properties"]) for tool in bench.tools]


async def test_no_more_than_five_are_read_again_in_the_time_of_a_refresh(store: FaultyStore, tmp_path: Path) -> None:
    """A model that sends wrong inputs all day must not use up the budget."""
    bench = build_bench(store, tmp_path, Store(*build_apps(7)), clock=FakeClock(is_automatic=False))
    await bench.catalog.refresh()
    async with reading(bench):
        mark_stale(bench, *(f"a{n}" for n in range(7)))
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        assert bench.count()[1] == 7 + MAX_REREAD
        bench.clock.advance(REREAD_SECONDS)
        await wait_until(lambda: bench.count()[1] == 7 + 7)

    assert bench.account.priorities[-7:] == [Priority.DISCOVER] * 7


async def test_a_definition_is_read_once_for_many_marks(store: FaultyStore, tmp_path: Path) -> None:
    """Twenty calls side by side go by the same definition, and are refused one after the other."""
    bench = build_bench(store, tmp_path, Store(*build_apps(2)))
    await bench.catalog.refresh()
    old = bench.catalog.get_listing("a0").app
    bench.clock.advance(1)
    async with reading(bench):
        mark_stale(bench, "a0", "a0")
        await wait_until(lambda: bench.catalog.get_listing("a0").app.read_at != old.read_at)
        bench.catalog.mark_stale(old)
        mark_stale(bench, "a1")
        await wait_until(lambda: bench.account.asked[-1].path.endswith("a1"))

    assert bench.account.count(Operation.DESCRIBE_APP) == 4


async def test_a_stale_definition_that_waits_is_dropped_when_a_refresh_has_read_the_app(
    store: FaultyStore, tmp_path: Path
) -> None:
    """The sixth one waits for minutes, and a refresh may read the definition meanwhile."""
    bench = build_bench(store, tmp_path, Store(*build_apps(6)))
    await bench.catalog.refresh()
    old = bench.catalog.get_listing("a5").app
    async with reading(bench):
        mark_stale(bench, *(f"a{n}" for n in range(5)))
        await wait_until(lambda: bench.account.count(Operation.DESCRIBE_APP) == 11)
        bench.clock._is_automatic = False
        bench.catalog.mark_stale(old)
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        bench.clock.advance(1)
        bench.cache_store.published = []
        await bench.catalog.refresh()
        bench.clock.advance(REREAD_SECONDS)
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
        await bench.clock.settle()

    assert bench.account.count(Operation.DESCRIBE_APP) == 11


@pytest.mark.parametrize(("inputs", "changes"), [([PROMPT], 0), ([PROMPT, COLOUR], 1)], ids=["same", "other"])
async def test_clients_are_notified_of_a_definition_only_when_the_tool_has_changed(
    *, store: FaultyStore, tmp_path: Path, inputs: Any, changes: int
) -> None:
    """Most refusals are about a value, and each word costs every client a reading of the list."""
    changed: list[None] = []
    bench = build_bench(store, tmp_path, Store(*build_apps(1)), on_change=lambda: changed.append(None))
    await bench.catalog.refresh()
    changed.clear()
    bench.cache_store.inputs["a0"] = inputs
    bench.clock.advance(1)
    old = bench.catalog.get_listing("a0").app.read_at
    async with reading(bench):
        mark_stale(bench, "a0")
        await wait_until(lambda: bench.catalog.get_listing("a0").app.read_at != old)

    assert (len(changed), list_arguments(bench)) == (changes, [[item["api_key"] for item in inputs]])


async def test_what_cannot_be_read_or_kept_leaves_the_tool_and_is_reported(store: FaultyStore, tmp_path: Path) -> None:
    """One refusal is one try; the reading of stale definitions goes on."""
    bench = build_bench(store, tmp_path, Store(*build_apps(2)))
    await bench.catalog.refresh()
    before = bench.tools
    bench.cache_store.faults["/v1/ai/flows/a0"] = DOWN
    async with reading(bench):
        mark_stale(bench, "a0")
        await wait_until(lambda: bench.catalog.problem != "")
        bench.cache_store.faults.clear()
        store.failing.add("assign_property_names")
        store.called.clear()
        mark_stale(bench, "a0")
        await wait_until(lambda: "assign_property_names" in store.called)
        store.failing.clear()
        bench.cache_store.inputs["a1"] = [PROMPT, COLOUR]
        mark_stale(bench, "a1")
        await wait_until(lambda: bench.tools != before)

    assert bench.tools[0] == before[0]
    assert list_arguments(bench)[1] == ["prompt", "colour"]


async def test_an_app_that_can_no_longer_be_a_tool_stays_left_out_for_every_process(
    store: FaultyStore, tmp_path: Path
) -> None:
    """What one process found must not be undone by the older reading of another."""
    bench = build_bench(store, tmp_path, Store(*build_apps(2)))
    await bench.catalog.refresh()
    other = build_bench(store, tmp_path, bench.cache_store, has_turn=lambda: False)
    await other.catalog.load()
    other.clock.advance(1)
    other.cache_store.inputs["a0"] = None
    await save_after_mark(other, "a0")
    assert other.list_names() == ["app_a1"]
    await bench.catalog.load()
    assert (bench.list_names(), bench.get_left_out()) == (["app_a1"], {"a0": "its definition names no inputs"})

    bench.cache_store.inputs.clear()
    await bench.catalog.refresh()
    assert bench.list_names() == ["app_a0", "app_a1"]


async def test_the_process_that_refreshes_takes_up_what_another_has_read_again(
    store: FaultyStore, tmp_path: Path
) -> None:
    """Its own clients must be notified before the next refresh, and its next file must still have it."""
    clock = FakeClock(is_automatic=False)
    bench = build_bench(store, tmp_path, Store(*build_apps(2)), clock=clock)
    other = build_bench(store, tmp_path, bench.cache_store, clock=clock, has_turn=lambda: False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.keep_fresh)
        tasks.start_soon(other.catalog.keep_fresh)
        await wait_until(lambda: clock.count_sleepers() == 2)
        clock.advance(FIRST_WATCH_SECONDS)
        await wait_until(lambda: len(other.list_names()) == 2)
        bench.cache_store.inputs["a0"] = [PROMPT, COLOUR]
        await save_after_mark(other, "a0")
        await wait_until(lambda: clock.count_sleepers() == 2)
        clock.advance(WATCH_SECONDS)
        await wait_until(lambda: list_arguments(bench)[0] == ["prompt", "colour"])
        assert bench.account.count(Operation.LIST_APPS) == 2
        await wait_until(lambda: clock.count_sleepers() == 2)
        clock.advance(Magnific.refresh_seconds)
        await wait_until(lambda: bench.account.count(Operation.LIST_APPS) == 4)
        await wait_until(lambda: clock.count_sleepers() == 2)
        tasks.cancel_scope.cancel()

    assert list_arguments(bench) == list_arguments(other) == [["prompt", "colour"], ["prompt"]]
    assert bench.account.count(Operation.DESCRIBE_APP) == 2


async def test_a_narrower_process_leaves_the_wider_list_in_the_file(store: FaultyStore, tmp_path: Path) -> None:
    """It reads a definition again and must not take the apps from everybody else."""
    cache_store = Store(*build_apps(2), own=(build_flow("own"),))
    wide = build_bench(store, tmp_path, cache_store)
    await wide.catalog.refresh()
    narrow = build_bench(store, tmp_path, cache_store, source=Source.OWN, has_turn=lambda: False)
    await narrow.catalog.load()
    narrow.clock.advance(1)
    cache_store.inputs["own"] = [PROMPT, COLOUR]
    await save_after_mark(narrow, "own")
    assert list_arguments(narrow) == [["prompt", "colour"]]
    await wide.catalog.load()

    assert list_arguments(wide) == [["prompt", "colour"], ["prompt"], ["prompt"]]


async def test_a_catalogue_that_cannot_be_taken_up_now_is_taken_up_later(store: FaultyStore, tmp_path: Path) -> None:
    """A busy disk must not end the refreshing."""
    cache_store, clock = Store(*build_apps(2)), FakeClock(is_automatic=False)
    await build_bench(store, tmp_path, cache_store).catalog.refresh()
    other = build_bench(store, tmp_path, cache_store, clock=clock, max_tools=1, has_turn=lambda: False)
    store.failing.add("get_used_apps")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other.catalog.keep_fresh)
        await wait_until(lambda: clock.count_sleepers() == 1)
        clock.advance(FIRST_WATCH_SECONDS)
        await wait_until(lambda: "get_used_apps" in store.called and clock.count_sleepers() == 1)
        store.failing.clear()
        clock.advance(WATCH_SECONDS)
        await wait_until(lambda: other.list_names() == ["app_a0"])
        tasks.cancel_scope.cancel()


async def test_the_oldest_definitions_are_read_first(store: FaultyStore, tmp_path: Path) -> None:
    """Apps that can never be tools would else take every place of every refresh."""
    bench = build_bench(store, tmp_path, Store(*build_apps(12)))
    await bench.catalog.refresh()
    for n in range(5):
        bench.cache_store.inputs[f"a{n}"] = None
    bench.clock.advance(STALE_AFTER_SECONDS + 1)
    bench.account.asked.clear()
    for _ in range(2):
        bench.clock.advance(1)
        await bench.catalog.refresh()

    read = [
        request.path.rpartition("/")[2]
        for request in bench.account.asked
        if request.operation is Operation.DESCRIBE_APP
    ]
    assert sorted(read[:10]) == [f"a{n}" for n in range(10)]


async def test_stale_definitions_are_read_in_the_order_in_which_they_were_marked(
    store: FaultyStore, tmp_path: Path
) -> None:
    """The first refused call waits the shortest time."""
    bench = build_bench(store, tmp_path, Store(*build_apps(2)))
    await bench.catalog.refresh()
    mark_stale(bench, "a1", "a0", "a1")
    async with reading(bench):
        await wait_until(lambda: bench.count()[1] == 4)
    assert [asked.path[-2:] for asked in bench.account.asked[-2:]] == ["a1", "a0"]
