"""Bringing a catalogue up to date, against a Magnific that changes, breaks and lies."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowport.budget import Priority
from flowport.catalog.cache import load_catalogue
from flowport.catalog.discovery import MAX_REREAD, STALE_AFTER_SECONDS, Catalog
from flowport.catalog.records import Listing
from flowport.errors import AppNotFound, AppUnsupported, Breakage, Operation, ProviderRejected
from flowport.model import RunState, Source
from flowport.naming import RESERVED_NAMES
from flowport.providers.interface import ApiRequest
from flowport.providers.magnific import Magnific
from tests.app_builders import JSON_VALUES, WILD_TEXT
from tests.catalog.samples import DOWN, LIST_OWN, LIST_PUBLISHED, PROMPT, Store, build_apps, build_flow
from tests.fake_clock import FakeClock
from tests.ledger.samples import build_run
from tests.scripted import ACCOUNT, FaultyLedger, Reply, ScriptedAccount, build_answer, build_breakage, wait_until

GARBAGE = build_answer(b"<html>")


@dataclass
class Bench:
    """A catalogue with what it works on."""

    catalog: Catalog
    store: Store
    account: ScriptedAccount
    ledger: FaultyLedger
    clock: FakeClock

    def count(self) -> tuple[int, int]:
        """Return how many lists and how many definitions were read."""
        return self.account.count(Operation.LIST_APPS), self.account.count(Operation.DESCRIBE_APP)

    def list_names(self) -> list[str]:
        """Return the names of the published tools."""
        return [tool["name"] for tool in self.catalog.tools]

    def get_left_out(self) -> dict[str, str]:
        """Return why apps are left out, by id."""
        return {item.app.id: item.left_out for item in self.catalog.current.listings if item.left_out}


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[FaultyLedger]:
    """Open a ledger in a real file and close it after the test."""
    opened = FaultyLedger(tmp_path / "ledger.sqlite3")
    yield opened
    await opened.close()


def build_bench(ledger: FaultyLedger, folder: Path, store: Store, *, limit: int = 0, **options: Any) -> Bench:
    """Return a catalogue that knows nothing yet; a second one on the same folder is a later start."""
    clock = options.pop("clock", None) or FakeClock()
    account = ScriptedAccount(store, clock, limit=limit, is_sandbox=options.pop("is_sandbox", False))
    catalog = Catalog(account, ledger, clock, folder / "catalogue" / "one.json", **options)
    return Bench(catalog, store, account, ledger, clock)


async def test_the_first_refresh_reads_the_lists_and_what_the_tool_list_needs(
    ledger: FaultyLedger, tmp_path: Path
) -> None:
    """Sixty-nine apps were seen at one account; forty-two requests fit into the fifty of a minute."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(69)), limit=50)
    assert await bench.catalog.refresh()

    assert bench.count() == (2, 40)
    assert bench.list_names() == [f"app_a{n}" for n in range(40)]
    assert bench.clock.monotonic() == 0
    assert set(bench.account.priorities) == {Priority.DISCOVER}
    assert len(bench.catalog.current.listings) == 69


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


async def test_the_rest_is_read_by_degrees_and_leaves_half_of_the_budget(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Runs and looks must never wait behind apps that nobody asked for."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(69)), limit=50)
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


async def test_a_published_tool_is_whole(ledger: FaultyLedger, tmp_path: Path) -> None:
    """What a client sees of one app, to the letter."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("aB3", "Café au Lait")))
    await bench.catalog.refresh()
    assert bench.catalog.tools == (
        {
            "name": "cafe_au_lait",
            "title": "Café au Lait",
            "description": bench.catalog.tools[0]["description"],
            "inputSchema": {
                "type": "object",
                "properties": {"prompt": {"type": "string"}},
                "required": ["prompt"],
                "additionalProperties": False,
            },
            "annotations": {"destructiveHint": False},
        },
    )
    assert bench.catalog.tools[0]["description"].startswith("5 credits")


async def test_a_tool_tells_how_long_its_app_took_before(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A model plans its waiting by it; two runs are too few to speak of a habit."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a"), build_flow("b")))
    for n, (app_id, seconds) in enumerate([("a", 20.0), ("a", 30.0), ("a", 70.0), ("b", 20.0), ("b", 20.0)]):
        run = build_run(f"run_{n}", RunState.SUCCEEDED, account_id=ACCOUNT.id, app_id=app_id)
        await ledger.accept(replace(run, started_at=100.0, finished_at=100.0 + seconds))
    await bench.catalog.refresh()

    told = [tool["description"].partition(". ")[0] for tool in bench.catalog.tools]
    assert told == ["5 credits, usually about 30 s", "5 credits, usually 10 s to 5 min"]


async def test_the_sandboxs_tools_say_so(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A mistyped key must not be mistaken for the real thing."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("aB3", "Upscale")), is_sandbox=True)
    await bench.catalog.refresh()
    assert [(tool["name"], tool["title"]) for tool in bench.catalog.tools] == [("sandbox_upscale", "Sandbox: Upscale")]


@pytest.mark.parametrize("path", [LIST_OWN, LIST_PUBLISHED])
async def test_a_list_that_fails_keeps_its_apps_and_tells_the_problem(
    ledger: FaultyLedger, tmp_path: Path, path: str
) -> None:
    """A provider may have trouble with one list alone; nobody's tools may vanish for it."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1"), own=(build_flow("mine"),)))
    await bench.catalog.refresh()
    before = bench.catalog.tools
    bench.store.faults[path] = DOWN

    assert not await bench.catalog.refresh()
    assert bench.catalog.tools == before
    assert bench.catalog.problem.startswith("Magnific could not list its apps: it answered HTTP 500.")
    assert bench.count() == (4, 2)

    del bench.store.faults[path]
    await bench.catalog.refresh()
    assert (bench.catalog.problem, bench.catalog.tools) == ("", before)


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
    ledger: FaultyLedger, tmp_path: Path, fault: Any, words: str
) -> None:
    """A provider that is down, or a key that was withdrawn, must not empty the list."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")))
    await bench.catalog.refresh()
    before = bench.catalog.current
    bench.store.faults.update({LIST_OWN: fault, LIST_PUBLISHED: fault})

    assert not await bench.catalog.refresh()
    assert words in bench.catalog.problem
    assert bench.catalog.current is before
    assert load_catalogue(tmp_path / "catalogue/one.json") == before


async def test_the_list_does_not_wait_for_a_ledger_that_tells_no_use(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The order is then the provider's; a list without tools would be no help to anybody."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1"), build_flow("a2")), max_tools=1)
    ledger.failing.add("get_used_apps")
    assert await bench.catalog.refresh()
    assert len(bench.catalog.tools) == 1


@pytest.mark.parametrize("operation", ["assign_tool_names", "assign_property_names"])
async def test_a_ledger_that_fails_leaves_the_last_catalogue(
    ledger: FaultyLedger, tmp_path: Path, operation: str
) -> None:
    """A name that was not written down could go to another app later."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1"), build_flow("a2")), max_tools=1)
    ledger.failing.add(operation)
    assert not await bench.catalog.refresh()
    assert (bench.catalog.problem, bench.catalog.tools) == (
        "Flowport's record of runs cannot be used: the disk is full. Make room.",
        (),
    )
    ledger.failing.clear()
    assert await bench.catalog.refresh()
    assert bench.list_names() == ["app_a1"]


@pytest.mark.parametrize("fault", [build_answer(None, 404), GARBAGE, DOWN], ids=["404", "garbage", "500"])
async def test_a_definition_that_cannot_be_read_leaves_the_others(
    ledger: FaultyLedger, tmp_path: Path, fault: Any
) -> None:
    """It is tried again at the next refresh, and then its tool is there."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(3)))
    bench.store.faults["/v1/ai/flows/a1"] = fault
    assert not await bench.catalog.refresh()
    assert bench.list_names() == ["app_a0", "app_a2"]
    assert bench.catalog.problem != ""

    bench.store.faults.clear()
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
    ledger: FaultyLedger, tmp_path: Path, inputs: Any, reason: str
) -> None:
    """One strange app never breaks the list, and find_apps can say what is wrong with it."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(3)))
    bench.store.inputs["a1"] = inputs
    assert await bench.catalog.refresh()

    assert (bench.list_names(), bench.get_left_out()) == (["app_a0", "app_a2"], {"a1": reason})
    assert bench.catalog.problem == ""
    with pytest.raises(AppUnsupported, match=re.escape(f"The app app_a1 is left out because {reason}.")):
        await bench.catalog.fetch_listing("a1")


async def test_a_left_out_app_returns_when_it_is_mended(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Builders mend their flows."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")))
    bench.store.inputs["a1"] = None
    await bench.catalog.refresh()
    bench.store.inputs.clear()
    await bench.catalog.refresh()
    assert (bench.list_names(), bench.get_left_out()) == (["app_a1"], {})


async def test_a_list_item_without_an_id_is_counted_and_costs_no_other(ledger: FaultyLedger, tmp_path: Path) -> None:
    """It cannot even be named, so it can only be told of."""
    bench = build_bench(ledger, tmp_path, Store({"name": "No id"}, build_flow("a1"), {"sqid": "  "}))
    await bench.catalog.refresh()
    assert (bench.list_names(), len(bench.catalog.current.left_out)) == (["app_a1"], 2)


async def test_an_app_in_both_lists_is_own_and_there_once(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A flow that somebody published stands in both."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1"), build_flow("a2"), own=(build_flow("a2"),)))
    await bench.catalog.refresh()
    assert [(item.app.id, item.app.is_own) for item in bench.catalog.current.listings] == [("a2", True), ("a1", False)]


@pytest.mark.parametrize(
    ("changes", "key", "words"), [({"name": "New"}, "title", "New"), ({"price": 9}, "description", "9 credits")]
)
async def test_a_change_in_the_list_makes_the_tool_anew_without_reading_again(
    *, ledger: FaultyLedger, tmp_path: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    """The price that is told must be the one that is charged; the name of the tool stays."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1", "Old")))
    await bench.catalog.refresh()
    bench.store.published = [build_flow("a1", **{"name": "Old", **changes})]
    await bench.catalog.refresh()
    assert bench.catalog.tools[0][key].startswith(words)
    assert (bench.list_names(), bench.count()) == (["old"], (4, 1))


async def test_no_tool_is_missing_while_it_is_made_anew(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A client may ask for the list just then, and several ask only once."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1", price=5), build_flow("a2")))
    await bench.catalog.refresh()
    bench.store.published = [build_flow("a1", price=9), build_flow("a2")]
    ledger.held["assign_property_names"] = anyio.Event()
    ledger.called.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.refresh)
        await wait_until(lambda: "assign_property_names" in ledger.called)
        assert bench.list_names() == ["app_a1", "app_a2"]
        ledger.held["assign_property_names"].set()
    assert bench.catalog.tools[0]["description"].startswith("9 credits")


async def test_an_own_app_that_is_published_has_the_published_price(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The list of own apps tells no price; a person's caps must hold on the present one, not on that of yesterday."""
    own = build_flow("a1", price=None)
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1", price=5), own=(own, build_flow("a2", price=None))))
    await bench.catalog.refresh()
    bench.store.published = [build_flow("a1", price=9)]
    await bench.catalog.refresh()
    found = [(item.app.id, item.app.is_own, item.app.price_credits) for item in bench.catalog.current.listings]
    assert found == [("a1", True, 9.0), ("a2", True, None)]


async def test_what_only_the_definition_tells_outlives_the_next_list(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Live lists were seen that hold ids and names alone: the price must not become unknown after ten minutes."""
    bench = build_bench(ledger, tmp_path, Store({"sqid": "a1"}))
    bench.store.details["a1"] = build_flow("a1", "Upscale", price=7)
    await bench.catalog.refresh()
    before = bench.catalog.tools
    await bench.catalog.refresh()

    assert before[0]["description"].startswith("7 credits")
    assert bench.catalog.tools == before
    listing = bench.catalog.get_listing("a1")
    assert (listing.app.name, listing.app.price_credits) == ("Upscale", 7.0)
    assert bench.count() == (4, 1)


async def test_a_removed_app_disappears_and_its_name_passes_to_nobody(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A model or a script that remembers the name must never run another app by it."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1", "Sketch")))
    await bench.catalog.refresh()
    bench.store.published = [build_flow("a2", "Sketch")]
    await bench.catalog.refresh()
    (name,) = bench.list_names()
    assert re.fullmatch(r"sketch_[0-9a-f]{8}", name)
    with pytest.raises(AppNotFound):
        bench.catalog.get_listing("a1")

    bench.store.published.append(build_flow("a1", "Sketch"))
    await bench.catalog.refresh()
    assert bench.list_names() == [name, "sketch"]


async def test_names_and_arguments_outlast_restarts_and_relabelling(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Prompts and scripts are written against them."""
    store = Store(build_flow("a1", "Sketch"), build_flow("a2", "Sketch"))
    first = build_bench(ledger, tmp_path, store)
    await first.catalog.refresh()
    store.published = [build_flow("a2", "Painting"), build_flow("a1", "Drawing")]
    store.inputs = {app_id: [{**PROMPT, "api_key": "words", "label": "Words"}] for app_id in ("a1", "a2")}
    later = build_bench(ledger, tmp_path / "other", store)
    await later.catalog.refresh()

    assert later.list_names() == list(reversed(first.list_names()))
    assert [list(tool["inputSchema"]["properties"]) for tool in later.catalog.tools] == [["prompt"], ["prompt"]]


async def test_the_next_start_lists_the_same_tools_with_the_provider_down(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Several clients only ever use the first list."""
    store = Store(*build_apps(3), own=(build_flow("mine"),))
    first = build_bench(ledger, tmp_path, store)
    assert not await first.catalog.load()
    await first.catalog.refresh()
    store.is_down = True

    later = build_bench(ledger, tmp_path, store)
    assert await later.catalog.load()
    assert (later.catalog.current, later.catalog.tools) == (first.catalog.current, first.catalog.tools)
    assert not await later.catalog.refresh()
    assert later.catalog.tools == first.catalog.tools


async def test_what_is_in_the_cache_is_not_read_again(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A restart costs the two lists."""
    store = Store(*build_apps(3))
    await build_bench(ledger, tmp_path, store).catalog.refresh()
    later = build_bench(ledger, tmp_path, store)
    await later.catalog.load()
    await later.catalog.refresh()
    assert later.count() == (2, 0)


async def test_a_catalogue_that_cannot_be_saved_serves_all_the_same(
    ledger: FaultyLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or read-only disk costs the next start its quick list, and nothing now."""
    build_blocked_folder(tmp_path)
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")))
    assert await bench.catalog.refresh()
    assert (bench.list_names(), bench.catalog.problem) == (["app_a1"], "")
    assert "the catalogue could not be saved: File exists" in caplog.text


def build_blocked_folder(folder: Path) -> None:
    """Put a file where the folder of the catalogue should be."""
    (folder / "catalogue").write_text("in the way")


async def test_old_definitions_are_read_again_a_few_at_a_time(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Inputs change without a trace in the list, but a day's age is no reason for a burst."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(12)))
    await bench.catalog.refresh()
    bench.store.inputs["a0"] = [PROMPT, {**PROMPT, "id": "in-2", "api_key": "style"}]
    bench.clock.advance(STALE_AFTER_SECONDS + 1)
    read: list[int] = []
    for _ in range(4):
        await bench.catalog.refresh()
        read.append(bench.count()[1])

    assert read == [12 + MAX_REREAD, 12 + 2 * MAX_REREAD, 24, 24]
    assert list(bench.catalog.tools[0]["inputSchema"]["properties"]) == ["prompt", "style"]


async def test_a_definition_that_cannot_be_read_again_stands(ledger: FaultyLedger, tmp_path: Path) -> None:
    """What was known yesterday is better than nothing."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")))
    await bench.catalog.refresh()
    before = bench.catalog.tools
    bench.clock.advance(STALE_AFTER_SECONDS + 1)
    bench.store.faults["/v1/ai/flows/a1"] = DOWN
    assert not await bench.catalog.refresh()
    assert bench.catalog.tools == before


async def test_the_list_holds_named_own_and_used_apps_first(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The room in the list is for what this person wants; the rest is reached through find_apps."""
    bench = build_bench(
        ledger,
        tmp_path,
        Store(*build_apps(9), own=(build_flow("mine"),)),
        globs=("app_a8", "a7"),
        max_tools=5,
    )
    now = bench.clock.now()
    for app_id, age_days in (("a5", 29), ("a6", 31)):
        run = build_run(f"run_{app_id}", RunState.SUCCEEDED, app_id=app_id, account_id=ACCOUNT.id)
        await ledger.accept(replace(run, accepted_at=now - age_days * 86400))
    await bench.catalog.refresh()
    assert bench.list_names() == ["app_a8", "app_a7", "app_mine", "app_a5", "app_a0"]
    assert bench.count() == (2, 5)


async def test_no_app_needs_to_be_listed(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Some people want the six standing tools alone, and run apps by name."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(3)), max_tools=0)
    await bench.catalog.refresh()
    assert (bench.catalog.tools, bench.count()) == ((), (2, 0))
    assert (await bench.catalog.fetch_listing("a1")).tool is not None
    assert bench.catalog.tools == ()


async def test_an_unlisted_app_is_read_when_it_is_asked_for_and_only_once(ledger: FaultyLedger, tmp_path: Path) -> None:
    """run_app reaches every app, at the urgency of a call that waits."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(3)), max_tools=1)
    await bench.catalog.refresh()
    listing = await bench.catalog.fetch_listing("App a2")
    assert (listing.app.id, listing.property_names) == ("a2", {"in-1": "prompt"})
    assert await bench.catalog.fetch_listing("a2") is listing
    assert bench.account.asked[-1] == ApiRequest(Operation.DESCRIBE_APP, "GET", "/v1/ai/flows/a2")
    assert (bench.count(), bench.account.priorities[-1]) == ((2, 2), Priority.START)
    assert bench.list_names() == ["app_a0"]


async def test_an_unlisted_app_is_read_once_for_all_that_ask_at_the_same_time(
    ledger: FaultyLedger, tmp_path: Path
) -> None:
    """The rows of a batch that was taken over do; the budget is for their starts."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(3)), max_tools=0)
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
    ledger: FaultyLedger, tmp_path: Path
) -> None:
    """The second call needs no request to say the same."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")), max_tools=0)
    bench.store.inputs["a1"] = None
    await bench.catalog.refresh()
    for _ in range(2):
        with pytest.raises(AppUnsupported):
            await bench.catalog.fetch_listing("a1")
    assert bench.count() == (2, 1)


async def test_an_unlisted_app_that_cannot_be_read_is_the_providers_error(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The app may have been deleted a minute ago."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")), max_tools=0)
    await bench.catalog.refresh()
    bench.store.faults["/v1/ai/flows/a1"] = build_answer({"message": "Not found"}, 404)
    with pytest.raises(ProviderRejected):
        await bench.catalog.fetch_listing("a1")


async def test_a_definition_read_during_a_refresh_is_not_lost(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A call and a refresh go side by side; neither may undo what the other learnt."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(2)), max_tools=0)
    await bench.catalog.refresh()
    ledger.held["assign_tool_names"] = anyio.Event()
    ledger.called.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.catalog.refresh)
        await wait_until(lambda: "assign_tool_names" in ledger.called)
        tasks.start_soon(bench.catalog.fetch_listing, "a1")
        await wait_until(lambda: bench.count()[1] == 1)
        await anyio.wait_all_tasks_blocked()
        ledger.held["assign_tool_names"].set()
    assert bench.catalog.get_listing("a1").tool is not None


async def test_a_catalogue_is_refreshed_every_ten_minutes(ledger: FaultyLedger, tmp_path: Path) -> None:
    """New apps show without a restart."""
    bench = build_bench(ledger, tmp_path, Store(build_flow("a1")))
    assert await keep_fresh(bench, lists=3) == [0, Magnific.refresh_seconds, 2 * Magnific.refresh_seconds]


async def test_a_failed_refresh_is_tried_again_soon_and_then_less_often(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A laptop that wakes up before its network should not show yesterday's list for ten minutes."""
    bench = build_bench(ledger, tmp_path, Store())
    bench.store.is_down = True
    assert await keep_fresh(bench, lists=9) == [0, 15, 45, 105, 225, 465, 945, 1545, 2145]


async def test_weeks_offline_do_not_end_the_refreshing(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Doubling more than a thousand times must not outgrow a number."""
    bench = build_bench(ledger, tmp_path, Store())
    bench.store.is_down = True
    assert len(await keep_fresh(bench, lists=1100)) == 1100


async def test_the_rest_waits_when_the_ledger_fails(
    ledger: FaultyLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next refresh tries again; the task must not die of it."""
    bench = build_bench(ledger, tmp_path, Store(*build_apps(2)), max_tools=0)
    ledger.failing.add("assign_property_names")
    assert len(await keep_fresh(bench, lists=3)) == 3
    assert "the rest of the catalogue is not read" in caplog.text


async def test_there_is_something_to_show_after_a_cache_or_an_attempt(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Before that, an empty list would say that the account has no apps."""
    store = Store(build_flow("a1"))
    first, later = [build_bench(ledger, tmp_path, store) for _ in range(2)]
    before = first.catalog.is_ready
    await first.catalog.refresh()
    await later.catalog.load()
    assert (before, first.catalog.is_ready, later.catalog.is_ready) == (False, True, True)


async def test_whoever_needs_the_first_list_waits_for_one_attempt_at_most(ledger: FaultyLedger, tmp_path: Path) -> None:
    """With the provider down the standing tools are better than a list that never comes."""
    bench = build_bench(ledger, tmp_path, Store())
    await bench.catalog.wait_until_attempted(0)
    bench.store.is_down = True
    await bench.catalog.refresh()
    with anyio.fail_after(5):
        await bench.catalog.wait_until_attempted(3600)


WILD_INPUTS = st.fixed_dictionaries(
    {"id": WILD_TEXT | st.sampled_from(["in-1", "in-2"])},
    optional={
        "api_key": WILD_TEXT | JSON_VALUES,
        "key": WILD_TEXT,
        "type": WILD_TEXT | st.sampled_from(["text", "number", "select", "creation", "list", "boolean"]),
        "label": WILD_TEXT | JSON_VALUES,
        "config": st.fixed_dictionaries({}, optional={"options": JSON_VALUES, "mediaType": WILD_TEXT}) | JSON_VALUES,
        "default": JSON_VALUES,
        "required": st.booleans() | JSON_VALUES,
    },
)
WILD_FLOWS = st.lists(
    st.fixed_dictionaries(
        {"sqid": WILD_TEXT | st.sampled_from(["a1", "a2", "a/../b", ".."])},
        optional={"name": WILD_TEXT | JSON_VALUES, "tool_metadata": st.none() | JSON_VALUES},
    ),
    max_size=4,
)
WILD_DEFINITIONS = st.lists(st.lists(WILD_INPUTS, max_size=4) | JSON_VALUES, max_size=4)


def iterate_schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that it holds."""
    yield schema
    for part in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from iterate_schemas(part)


def check_tool(tool: dict[str, Any]) -> None:
    """Hold a tool against the laws that clients count on."""
    schema = tool["inputSchema"]
    Draft202012Validator.check_schema(schema)
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", tool["name"])
    assert tool["name"] not in RESERVED_NAMES
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    for part in iterate_schemas(schema):
        assert not {"$ref", "anyOf", "oneOf", "allOf"} & set(part)
        assert part["type"] != "array" or "items" in part
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) for name in schema["properties"])
    assert set(schema.get("required", [])) <= set(schema["properties"])
    assert len(json.dumps(tool["description"]).encode()) < 2048


@given(own=WILD_FLOWS, published=WILD_FLOWS, definitions=WILD_DEFINITIONS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_strangers_build_the_published_tools_keep_the_laws(
    *, tmp_path_factory: pytest.TempPathFactory, own: Any, published: Any, definitions: Any
) -> None:
    """Some clients reject the whole list for one odd tool, so no flow on earth may make one."""
    folder = tmp_path_factory.mktemp("wild")
    ledger = FaultyLedger(folder / "ledger.sqlite3")
    store = Wild(own, published, definitions)
    bench = build_bench(ledger, folder, store)
    for _ in range(2):
        assert await bench.catalog.refresh(), bench.catalog.problem
    for tool in bench.catalog.tools:
        check_tool(dict(tool))
    later = build_bench(ledger, folder, store)
    assert await later.catalog.load()
    assert repr(later.catalog.tools) == repr(bench.catalog.tools)
    await ledger.close()


class Wild(Store):
    """A Magnific that describes its apps in any way at all."""

    def __init__(self, own: Any, published: Any, definitions: Any) -> None:
        super().__init__(*published, own=tuple(own))
        self.definitions = definitions

    def __call__(self, request: ApiRequest) -> Any:
        """Answer lists as they are and definitions with whatever comes next."""
        if request.operation is Operation.LIST_APPS:
            return super().__call__(request)
        app_id = unquote(request.path.removeprefix("/v1/ai/flows/"), errors="surrogatepass")
        n = sum(map(ord, app_id))
        inputs = self.definitions[n % len(self.definitions)] if self.definitions else []
        return build_answer({"data": {"sqid": app_id, "inputs": inputs}})


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
    ledger: FaultyLedger, tmp_path: Path, sources: tuple[str, str], ready: bool, ids: list[str]
) -> None:
    """The first list must be whole: one that cannot be, because less was read before, waits for the refresh."""
    first, second = map(Source, sources)
    store = Store(*build_apps(1), own=(build_flow("own"),))
    await build_bench(ledger, tmp_path, store, source=first).catalog.refresh()

    later = build_bench(ledger, tmp_path, store, source=second)
    assert (await later.catalog.load(), later.catalog.is_ready) == (ready, ready)
    assert [item.app.id for item in later.catalog.current.listings] == ids
    await later.catalog.refresh()
    whole = {"all": ["own", "a0"], "own": ["own"], "published": ["a0"]}[second]
    assert [item.app.id for item in later.catalog.current.listings] == whole
    assert later.account.count(Operation.DESCRIBE_APP) == len(set(whole) - set(ids))


async def test_the_path_family_is_remembered_with_the_catalogue(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A restart must not spend requests on finding out what was known."""
    store = Store(*build_apps(1))
    store.faults = {LIST_OWN: build_answer(status=404), LIST_PUBLISHED: build_answer(status=404)}
    first = build_bench(ledger, tmp_path, store)
    # The list double knows the newer paths; the older ones lead to the same apps.
    assert await first.catalog.refresh()
    assert (first.catalog.current.style, first.account.provider.style) == ("apps", "apps")

    later = build_bench(ledger, tmp_path, store)
    assert await later.catalog.load()
    assert await later.catalog.refresh()
    assert [request.path for request in later.account.asked] == ["/v1/ai/me/apps", "/v1/ai/apps"]


async def test_a_remembered_family_that_was_ruled_out_is_forgotten(ledger: FaultyLedger, tmp_path: Path) -> None:
    """MAGNIFIC_API_STYLE has the last word."""
    store = Store(*build_apps(1))
    store.faults = {LIST_OWN: build_answer(status=404), LIST_PUBLISHED: build_answer(status=404)}
    await build_bench(ledger, tmp_path, store).catalog.refresh()

    later = build_bench(ledger, tmp_path, store)
    later.account.provider = Magnific(styles=("flows",))
    assert await later.catalog.load()
    assert later.account.provider.style == "flows"
