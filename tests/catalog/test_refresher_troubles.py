"""What a refresh leaves standing when a list, a definition or the store fails, and which apps it leaves out."""

import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.catalog.snapshots import STALE_AFTER_SECONDS, load_catalogue
from flowport.domain.errors import AppUnsupported, Breakage, Operation
from flowport.store.sqlite.store import open_sqlite_store
from tests.catalog.benches import build_bench
from tests.catalog.samples import DOWN, LIST_OWN, LIST_PUBLISHED, PROMPT, Store, build_apps, build_flow
from tests.support.scripted import FaultyStore, build_answer, build_breakage, wait_until

GARBAGE = build_answer(b"<html>")


@pytest.mark.parametrize("path", [LIST_OWN, LIST_PUBLISHED])
async def test_a_list_that_fails_keeps_its_apps_and_reports_the_problem(
    store: FaultyStore, tmp_path: Path, path: str
) -> None:
    """A provider may have trouble with one list alone; no tool may vanish for it."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1"), own=(build_flow("mine"),)))
    await bench.catalog.refresh()
    before = bench.tools
    bench.cache_store.faults[path] = DOWN

    assert not await bench.catalog.refresh()
    assert bench.tools == before
    assert bench.catalog.problem.startswith("Magnific could not list its apps: it answered HTTP 500.")
    assert bench.count() == (4, 2)

    del bench.cache_store.faults[path]
    await bench.catalog.refresh()
    assert (bench.catalog.problem, bench.tools) == ("", before)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (DOWN, "HTTP 500"),
        (GARBAGE, "not the JSON that it promises"),
        (build_answer({"data": {}}), "is not a list"),
        (build_answer({"message": "Invalid API key"}, 401), "does not accept the API key"),
        (build_breakage(Breakage.NO_CONNECTION, Operation.LIST_APPS), "no connection could be made"),
        (build_answer(None, 302), "redirect"),
    ],
)
async def test_whatever_fails_the_last_catalogue_stands(
    store: FaultyStore, tmp_path: Path, fault: Any, words: str
) -> None:
    """A provider that is down, or a key that was withdrawn, must not empty the list."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    await bench.catalog.refresh()
    before = bench.catalog.current
    bench.cache_store.faults.update({LIST_OWN: fault, LIST_PUBLISHED: fault})

    assert not await bench.catalog.refresh()
    assert words in bench.catalog.problem
    assert bench.catalog.current is before
    assert load_catalogue(tmp_path / "catalogue/one.json") == before


async def test_a_mistake_of_ours_is_reported_and_the_next_refresh_is_tried(store: FaultyStore, tmp_path: Path) -> None:
    """Without it the list would be "not reported yet" until the process ends."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    bench.cache_store.faults[LIST_PUBLISHED] = RuntimeError("a bug")
    assert not await bench.catalog.refresh()
    assert bench.catalog.problem.startswith("Flowport made a mistake while it read the apps of Magnific")
    bench.cache_store.faults.clear()
    assert await bench.catalog.refresh()
    assert (bench.list_names(), bench.catalog.problem) == (["app_a1"], "")


async def test_the_list_does_not_wait_for_a_store_that_returns_no_use(store: FaultyStore, tmp_path: Path) -> None:
    """The order is then the provider's; a list without tools would not help."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1"), build_flow("a2")), max_tools=1)
    store.failing.add("get_used_apps")
    assert await bench.catalog.refresh()
    assert len(bench.tools) == 1


@pytest.mark.parametrize("operation", ["assign_tool_names", "assign_property_names"])
async def test_a_store_that_fails_leaves_the_last_catalogue(store: FaultyStore, tmp_path: Path, operation: str) -> None:
    """A name that was not written down could go to another app later."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1"), build_flow("a2")), max_tools=1)
    store.failing.add(operation)
    assert not await bench.catalog.refresh()
    assert (bench.catalog.problem, bench.tools) == (
        "Flowport's record of runs cannot be used: the disk is full. Make room.",
        (),
    )
    store.failing.clear()
    assert await bench.catalog.refresh()
    assert bench.list_names() == ["app_a1"]


@pytest.mark.parametrize("fault", [build_answer(None, 404), GARBAGE, DOWN], ids=["404", "garbage", "500"])
async def test_a_definition_that_cannot_be_read_leaves_the_others(
    store: FaultyStore, tmp_path: Path, fault: Any
) -> None:
    """It is tried again at the next refresh, and then its tool is there."""
    bench = build_bench(store, tmp_path, Store(*build_apps(3)))
    bench.cache_store.faults["/v1/ai/flows/a1"] = fault
    assert not await bench.catalog.refresh()
    assert bench.list_names() == ["app_a0", "app_a2"]
    assert bench.catalog.problem != ""

    bench.cache_store.faults.clear()
    await bench.catalog.refresh()
    assert (bench.list_names(), bench.catalog.problem) == (["app_a0", "app_a1", "app_a2"], "")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (None, "its definition names no inputs"),
        ([{"type": "text"}], "one of its inputs cannot be read"),
        ([PROMPT, PROMPT], "two of its inputs have the same id"),
        ([{**PROMPT, "id": f"in-{n}", "api_key": f"k{n}"} for n in range(65)], "it has 65 inputs and 64 are the most"),
    ],
)
async def test_an_app_that_cannot_be_a_tool_is_left_out_with_its_reason(
    store: FaultyStore, tmp_path: Path, inputs: Any, reason: str
) -> None:
    """One strange app never breaks the list, and find_apps can say what is wrong with it."""
    bench = build_bench(store, tmp_path, Store(*build_apps(3)))
    bench.cache_store.inputs["a1"] = inputs
    assert await bench.catalog.refresh()

    assert (bench.list_names(), bench.get_left_out()) == (["app_a0", "app_a2"], {"a1": reason})
    assert bench.catalog.problem == ""
    with pytest.raises(AppUnsupported, match=re.escape(f"The app app_a1 is left out because {reason}.")):
        await bench.catalog.fetch_listing("a1")


async def test_a_left_out_app_returns_when_it_is_repaired(store: FaultyStore, tmp_path: Path) -> None:
    """Builders repair their flows."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    bench.cache_store.inputs["a1"] = None
    await bench.catalog.refresh()
    bench.cache_store.inputs.clear()
    await bench.catalog.refresh()
    assert (bench.list_names(), bench.get_left_out()) == (["app_a1"], {})


async def test_a_list_item_without_an_id_is_counted_and_costs_no_other(store: FaultyStore, tmp_path: Path) -> None:
    """It cannot even be named, so it can only be counted."""
    bench = build_bench(store, tmp_path, Store({"name": "No id"}, build_flow("a1"), {"sqid": "  "}))
    await bench.catalog.refresh()
    assert (bench.list_names(), len(bench.catalog.current.left_out)) == (["app_a1"], 2)


async def test_a_definition_that_cannot_be_read_again_stands(store: FaultyStore, tmp_path: Path) -> None:
    """What was known yesterday is better than nothing."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    await bench.catalog.refresh()
    before = bench.tools
    bench.clock.advance(STALE_AFTER_SECONDS + 1)
    bench.cache_store.faults["/v1/ai/flows/a1"] = DOWN
    assert not await bench.catalog.refresh()
    assert bench.tools == before


async def test_a_name_that_another_process_takes_meanwhile_is_built_again(store: FaultyStore, tmp_path: Path) -> None:
    """Two clients start together; each reads the names before the other has assigned its own."""
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    for operation in ("assign_tool_names", "assign_property_names"):
        store.held[operation] = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.refresh)
        await wait_until(lambda: "assign_tool_names" in store.called)
        other = open_sqlite_store(tmp_path / "store.sqlite3")
        await other.assign_tool_names("magica:elsewhere", {"x": "app_a1"})
        store.held["assign_tool_names"].set()
        await wait_until(lambda: "assign_property_names" in store.called)
        scope = bench.catalog._account.account.scope
        await other.assign_property_names(scope, {"a1": {"gone": "prompt"}})
        await other.close()
        store.held["assign_property_names"].set()
    (tool,) = bench.tools
    assert tool["name"] == "magnific_app_a1"
    assert list(tool["inputSchema"]["properties"]) == ["prompt_2"]
