"""What a refresh makes of the lists and definitions that it reads, and how the tools change with them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.call_errors import AppNotFound
from flowport.domain.models import RunState
from flowport.network.ratelimit.limiter import Priority
from tests.catalog.benches import build_bench
from tests.catalog.samples import Store, build_apps, build_flow
from tests.store.samples import build_run
from tests.support.scripted import ACCOUNT, FaultyStore, wait_until


async def test_the_first_refresh_reads_the_lists_and_what_the_tool_list_needs(
    store: FaultyStore, tmp_path: Path
) -> None:
    """Sixty-nine apps were seen at one account; forty-two requests fit into the fifty of a minute."""
    bench = build_bench(store, tmp_path, Store(*build_apps(69)), limit=50)
    assert await bench.catalog.refresh()

    assert bench.count() == (2, 40)
    assert bench.list_names() == [f"app_a{n}" for n in range(40)]
    assert bench.clock.monotonic() == 0
    assert set(bench.account.priorities) == {Priority.DISCOVER}
    assert len(bench.catalog.current.listings) == 69


async def test_a_published_tool_is_whole(store: FaultyStore, tmp_path: Path) -> None:
    """What a client sees of one app, to the letter."""
    bench = build_bench(store, tmp_path, Store(build_flow("aB3", "Café au Lait")))
    await bench.catalog.refresh()
    assert bench.tools == (
        {
            "name": "cafe_au_lait",
            "title": "Café au Lait",
            "description": bench.tools[0]["description"],
            "inputSchema": {
                "type": "object",
                "properties": {"prompt": {"type": "string"}},
                "required": ["prompt"],
            },
            "annotations": {"destructiveHint": False},
        },
    )
    assert bench.tools[0]["description"].startswith("5 credits")


async def test_a_tool_states_how_long_its_app_took_before(store: FaultyStore, tmp_path: Path) -> None:
    """A model plans its waiting by it; two runs are too few to speak of a habit."""
    bench = build_bench(store, tmp_path, Store(build_flow("a"), build_flow("b")))
    for n, (app_id, seconds) in enumerate([("a", 20.0), ("a", 30.0), ("a", 70.0), ("b", 20.0), ("b", 20.0)]):
        run = build_run(f"run_{n}", RunState.SUCCEEDED, account_id=ACCOUNT.id, app_id=app_id)
        await store.accept(replace(run, started_at=100.0, finished_at=100.0 + seconds))
    await bench.catalog.refresh()

    openings = [tool["description"].partition(". ")[0] for tool in bench.tools]
    assert openings == ["5 credits, usually about 30 s", "5 credits, usually 10 s to 5 min"]


async def test_the_sandboxs_tools_say_so(store: FaultyStore, tmp_path: Path) -> None:
    """A mistyped key must not be mistaken for the real thing."""
    bench = build_bench(store, tmp_path, Store(build_flow("aB3", "Upscale")), is_sandbox=True)
    await bench.catalog.refresh()
    assert [(tool["name"], tool["title"]) for tool in bench.tools] == [("sandbox_upscale", "Sandbox: Upscale")]


async def test_an_app_in_both_lists_is_own_and_there_once(store: FaultyStore, tmp_path: Path) -> None:
    """A published own flow is in both lists."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1"), build_flow("a2"), own=(build_flow("a2"),)))
    await bench.catalog.refresh()
    assert [(item.app.id, item.app.is_own) for item in bench.catalog.current.listings] == [("a2", True), ("a1", False)]


@pytest.mark.parametrize(
    ("changes", "key", "words"), [({"name": "New"}, "title", "New"), ({"price": 9}, "description", "9 credits")]
)
async def test_a_change_in_the_list_builds_the_tool_again_without_reading_again(
    *, store: FaultyStore, tmp_path: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    """The stated price must be the one that is charged; the name of the tool stays."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1", "Old")))
    await bench.catalog.refresh()
    bench.cache_store.published = [build_flow("a1", **{"name": "Old", **changes})]
    await bench.catalog.refresh()
    assert bench.tools[0][key].startswith(words)
    assert (bench.list_names(), bench.count()) == (["old"], (4, 1))


async def test_no_tool_is_missing_while_it_is_built_again(store: FaultyStore, tmp_path: Path) -> None:
    """A client may ask for the list just then, and several ask only once."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1", price=5), build_flow("a2")))
    await bench.catalog.refresh()
    bench.cache_store.published = [build_flow("a1", price=9), build_flow("a2")]
    store.held["assign_property_names"] = anyio.Event()
    store.called.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.refresh)
        await wait_until(lambda: "assign_property_names" in store.called)
        assert bench.list_names() == ["app_a1", "app_a2"]
        store.held["assign_property_names"].set()
    assert bench.tools[0]["description"].startswith("9 credits")


async def test_an_own_app_that_is_published_has_the_published_price(store: FaultyStore, tmp_path: Path) -> None:
    """The list of own apps has no price; a person's caps must hold on the present one, not on that of yesterday."""
    own = build_flow("a1", price=None)
    bench = build_bench(store, tmp_path, Store(build_flow("a1", price=5), own=(own, build_flow("a2", price=None))))
    await bench.catalog.refresh()
    bench.cache_store.published = [build_flow("a1", price=9)]
    await bench.catalog.refresh()
    found = [(item.app.id, item.app.is_own, item.app.price_credits) for item in bench.catalog.current.listings]
    assert found == [("a1", True, 9.0), ("a2", True, None)]


async def test_what_only_the_definition_has_outlives_the_next_list(store: FaultyStore, tmp_path: Path) -> None:
    """Live lists were seen that hold ids and names alone: the price must not become unknown after ten minutes."""
    bench = build_bench(store, tmp_path, Store({"sqid": "a1"}))
    bench.cache_store.details["a1"] = build_flow("a1", "Upscale", price=7)
    await bench.catalog.refresh()
    before = bench.tools
    await bench.catalog.refresh()

    assert before[0]["description"].startswith("7 credits")
    assert bench.tools == before
    listing = bench.catalog.get_listing("a1")
    assert (listing.app.name, listing.app.price_credits) == ("Upscale", 7.0)
    assert bench.count() == (4, 1)


async def test_a_removed_app_disappears_and_its_name_passes_to_no_other(store: FaultyStore, tmp_path: Path) -> None:
    """A model or a script that remembers the name must never run another app by it."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1", "Sketch")))
    await bench.catalog.refresh()
    bench.cache_store.published = [build_flow("a2", "Sketch")]
    await bench.catalog.refresh()
    (name,) = bench.list_names()
    assert re.fullmatch(r"sketch_[0-9a-f]{8}", name)
    with pytest.raises(AppNotFound):
        bench.catalog.get_listing("a1")

    bench.cache_store.published.append(build_flow("a1", "Sketch"))
    await bench.catalog.refresh()
    assert bench.list_names() == [name, "sketch"]
