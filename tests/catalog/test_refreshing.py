"""When a catalogue is read: at once, by degrees, again after a while, and sooner after a failure."""

from pathlib import Path

import anyio
import pytest

from flowport.catalog.snapshots import MAX_REREAD, STALE_AFTER_SECONDS
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiRequest
from flowport.providers.magnific.api import Magnific
from tests.catalog.benches import Bench, build_bench
from tests.catalog.samples import LIST_PUBLISHED, PROMPT, Store, build_apps, build_flow
from tests.support.scripted import FaultyStore, Reply


async def keep_fresh(bench: Bench, *, lists: int) -> list[float]:
    """Let the catalogue keep itself fresh until it reads the published list so often, and return when it read it."""
    times: list[float] = []
    async with anyio.create_task_group() as tasks:

        async def note() -> None:
            """Note when the list is read."""
            if bench.account.asked[-1].path == LIST_PUBLISHED:
                times.append(bench.clock.monotonic())
            if len(times) == lists:
                tasks.cancel_scope.cancel()

        bench.account.before_answer = note
        await bench.catalog.keep_fresh()
    return times


async def test_the_rest_is_read_by_degrees_and_leaves_half_of_the_budget(store: FaultyStore, tmp_path: Path) -> None:
    """Runs and looks must never wait behind apps that were not asked for."""
    bench = build_bench(store, tmp_path, Store(*build_apps(69)), limit=50)
    granted: list[float] = []
    answer = bench.account.answer

    def note(request: ApiRequest) -> Reply:
        """Note when each of the rest is read."""
        if bench.account.priorities[-1] is Priority.DISCOVER_LATER:
            granted.append(bench.clock.monotonic())
        return answer(request)

    bench.account.answer = note
    await keep_fresh(bench, lists=2)
    # The burst of forty-two leaves nothing for a minute; then twenty-five go, and the last four a minute later.
    assert [60 <= at < 61 for at in granted] == [True] * 25 + [False] * 4
    assert all(120 <= at < 122 for at in granted[25:])
    assert len(bench.catalog.current.listings) == sum(item.tool is not None for item in bench.catalog.current.listings)


async def test_old_definitions_are_read_again_a_few_at_a_time(store: FaultyStore, tmp_path: Path) -> None:
    """Inputs change without a trace in the list, but a day's age does not justify a burst."""
    bench = build_bench(store, tmp_path, Store(*build_apps(12)))
    await bench.catalog.refresh()
    bench.cache_store.inputs["a0"] = [PROMPT, {**PROMPT, "id": "in-2", "api_key": "style"}]
    bench.clock.advance(STALE_AFTER_SECONDS + 1)
    read: list[int] = []
    for _ in range(4):
        await bench.catalog.refresh()
        read.append(bench.count()[1])

    assert read == [12 + MAX_REREAD, 12 + 2 * MAX_REREAD, 24, 24]
    assert list(bench.tools[0]["inputSchema"]["properties"]) == ["prompt", "style"]


async def test_a_catalogue_is_refreshed_every_ten_minutes(store: FaultyStore, tmp_path: Path) -> None:
    """New apps show without a restart."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    assert await keep_fresh(bench, lists=3) == [0, Magnific.refresh_seconds, 2 * Magnific.refresh_seconds]


async def test_a_failed_refresh_is_tried_again_soon_and_then_less_often(store: FaultyStore, tmp_path: Path) -> None:
    """A laptop that wakes up before its network should not show yesterday's list for ten minutes."""
    bench = build_bench(store, tmp_path, Store())
    bench.cache_store.is_down = True
    assert await keep_fresh(bench, lists=9) == [0, 15, 45, 105, 225, 465, 945, 1545, 2145]


async def test_weeks_offline_do_not_end_the_refreshing(store: FaultyStore, tmp_path: Path) -> None:
    """Doubling more than a thousand times must not outgrow a number."""
    bench = build_bench(store, tmp_path, Store())
    bench.cache_store.is_down = True
    assert len(await keep_fresh(bench, lists=1100)) == 1100


async def test_the_rest_waits_when_the_store_fails(
    store: FaultyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next refresh tries again; the task must not die of it."""
    bench = build_bench(store, tmp_path, Store(*build_apps(2)), max_tools=0)
    store.failing.add("assign_property_names")
    assert len(await keep_fresh(bench, lists=3)) == 3
    assert "the rest of the catalogue is not read" in caplog.text


async def test_there_is_something_to_show_after_a_cache_or_an_attempt(store: FaultyStore, tmp_path: Path) -> None:
    """Before that, an empty list would say that the account has no apps."""
    cache_store = Store(build_flow("a1"))
    first, later = [build_bench(store, tmp_path, cache_store) for _ in range(2)]
    before = first.catalog.is_ready
    await first.catalog.refresh()
    await later.catalog.load()
    assert (before, first.catalog.is_ready, later.catalog.is_ready) == (False, True, True)


async def test_who_needs_the_first_list_waits_for_one_attempt_at_most(store: FaultyStore, tmp_path: Path) -> None:
    """With the provider down the standing tools are better than a list that never comes."""
    bench = build_bench(store, tmp_path, Store())
    await bench.catalog.wait_until_attempted(0)
    bench.cache_store.is_down = True
    await bench.catalog.refresh()
    with anyio.fail_after(60):
        await bench.catalog.wait_until_attempted(3600)
