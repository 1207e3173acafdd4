"""What a start knows from those before it: names, definitions, the path family, and what its source lets it show."""

from pathlib import Path

import pytest

from flowport.domain.errors import Operation
from flowport.domain.models import Source
from flowport.providers.magnific.api import Magnific
from tests.catalog.benches import build_bench
from tests.catalog.samples import LIST_OWN, LIST_PUBLISHED, PROMPT, Store, build_apps, build_flow
from tests.support.scripted import FaultyStore, build_answer


async def test_names_and_arguments_outlast_restarts_and_relabelling(store: FaultyStore, tmp_path: Path) -> None:
    """Prompts and scripts are written against them."""
    cache_store = Store(build_flow("a1", "Sketch"), build_flow("a2", "Sketch"))
    first = build_bench(store, tmp_path, cache_store)
    await first.catalog.refresh()
    cache_store.published = [build_flow("a2", "Painting"), build_flow("a1", "Drawing")]
    cache_store.inputs = {app_id: [{**PROMPT, "api_key": "words", "label": "Words"}] for app_id in ("a1", "a2")}
    later = build_bench(store, tmp_path / "other", cache_store)
    await later.catalog.refresh()

    assert later.list_names() == list(reversed(first.list_names()))
    assert [list(tool["inputSchema"]["properties"]) for tool in later.tools] == [["prompt"], ["prompt"]]


async def test_the_next_start_lists_the_same_tools_with_the_provider_down(store: FaultyStore, tmp_path: Path) -> None:
    """Several clients only ever use the first list."""
    cache_store = Store(*build_apps(3), own=(build_flow("mine"),))
    first = build_bench(store, tmp_path, cache_store)
    assert not await first.catalog.load()
    await first.catalog.refresh()
    cache_store.is_down = True

    later = build_bench(store, tmp_path, cache_store)
    assert await later.catalog.load()
    assert (later.catalog.current, later.tools) == (first.catalog.current, first.tools)
    assert not await later.catalog.refresh()
    assert later.tools == first.tools


async def test_what_is_in_the_cache_is_not_read_again(store: FaultyStore, tmp_path: Path) -> None:
    """A restart costs the two lists."""
    cache_store = Store(*build_apps(3))
    await build_bench(store, tmp_path, cache_store).catalog.refresh()
    later = build_bench(store, tmp_path, cache_store)
    await later.catalog.load()
    await later.catalog.refresh()
    assert later.count() == (2, 0)


async def test_a_catalogue_that_cannot_be_saved_serves_all_the_same(
    store: FaultyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or read-only disk costs the next start its quick list, and nothing now."""
    build_blocked_folder(tmp_path)
    bench = build_bench(store, tmp_path, Store(build_flow("a1")))
    assert await bench.catalog.refresh()
    assert (bench.list_names(), bench.catalog.problem) == (["app_a1"], "")
    assert "the catalogue could not be saved: File exists" in caplog.text


def build_blocked_folder(folder: Path) -> None:
    """Put a file where the folder of the catalogue should be."""
    (folder / "catalogue").write_text("in the way")


@pytest.mark.parametrize(
    ("sources", "ready", "ids"),
    [
        (("all", "all"), True, ["own", "a0"]),
        (("all", "own"), True, ["own"]),
        (("all", "published"), True, ["a0"]),
        (("own", "own"), True, ["own"]),
        (("own", "all"), False, ["own"]),
        (("own", "published"), False, []),
    ],
)
async def test_a_later_start_with_another_source_lists_what_it_may(
    store: FaultyStore, tmp_path: Path, sources: tuple[str, str], ready: bool, ids: list[str]
) -> None:
    """The first list must be whole: one that cannot be, because less was read before, waits for the refresh."""
    first, second = map(Source, sources)
    cache_store = Store(*build_apps(1), own=(build_flow("own"),))
    await build_bench(store, tmp_path, cache_store, source=first).catalog.refresh()

    later = build_bench(store, tmp_path, cache_store, source=second)
    assert (await later.catalog.load(), later.catalog.is_ready) == (ready, ready)
    assert [item.app.id for item in later.catalog.current.listings] == ids
    await later.catalog.refresh()
    whole = {"all": ["own", "a0"], "own": ["own"], "published": ["a0"]}[second]
    assert [item.app.id for item in later.catalog.current.listings] == whole
    assert later.account.count(Operation.DESCRIBE_APP) == len(set(whole) - set(ids))


async def test_the_path_family_is_remembered_with_the_catalogue(store: FaultyStore, tmp_path: Path) -> None:
    """A restart must not spend requests on finding out what was known."""
    cache_store = Store(*build_apps(1))
    cache_store.faults = {LIST_OWN: build_answer(status=404), LIST_PUBLISHED: build_answer(status=404)}
    first = build_bench(store, tmp_path, cache_store)
    # The list double knows the newer paths; the older ones lead to the same apps.
    assert await first.catalog.refresh()
    assert (first.catalog.current.style, first.account.provider.style) == ("apps", "apps")

    later = build_bench(store, tmp_path, cache_store)
    assert await later.catalog.load()
    assert await later.catalog.refresh()
    assert [request.path for request in later.account.asked] == ["/v1/ai/me/apps", "/v1/ai/apps"]


async def test_a_remembered_family_that_was_ruled_out_is_forgotten(store: FaultyStore, tmp_path: Path) -> None:
    """MAGNIFIC_API_STYLE has the last word."""
    cache_store = Store(*build_apps(1))
    cache_store.faults = {LIST_OWN: build_answer(status=404), LIST_PUBLISHED: build_answer(status=404)}
    await build_bench(store, tmp_path, cache_store).catalog.refresh()

    later = build_bench(store, tmp_path, cache_store)
    later.account.provider = Magnific(styles=("flows",))
    assert await later.catalog.load()
    assert later.account.provider.style == "flows"
