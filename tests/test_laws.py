"""Check the laws of tools over thousands of random and hostile app definitions, and print how many were tried."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowport.catalog.name_book import name_apps
from flowport.catalog.names import build_property_names
from flowport.catalog.refresher import Catalog
from flowport.catalog.schema import build_tool
from flowport.domain.errors import AppUnsupported, FlowportError, Operation, ProviderBroken
from flowport.domain.models import App
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.providers.magnific.api import Magnific
from flowport.providers.parsing import parse_json
from flowport.store.sqlite.store import open_sqlite_store
from tests.support.definitions import INVENTORIES, Definition, encode
from tests.support.fake_clock import FakeClock
from tests.support.laws import Tool, build_arguments, find_breaches, is_clean, reaches_the_provider
from tests.support.scripted import ScriptedAccount, build_answer

# What hypothesis would print of a hostile inventory is long.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

LEAST_TRIED = 5000
"""The least number of definitions in one run of the tests."""

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Shrinking a failing list would take minutes; the printed blob reproduces it."""

SCOPE = "magnific:api.example"
PROVIDER = Magnific()


@dataclass
class Tally:
    """Counts of the definitions that were tried, and of their results."""

    tried: int = 0
    listed: int = 0
    left_out: int = 0
    calls: int = 0
    broken: int = 0

    def leave_out(self, refusal: FlowportError) -> None:
        """Count an app that cannot be a tool; its reason must be clean text."""
        self.left_out += 1
        assert is_clean(str(refusal)), repr(refusal)

    def note(self, what: str, breaches: Sequence[str]) -> None:
        """Count a tool that breaks a law, and fail."""
        self.broken += bool(breaches)
        assert not breaches, f"{what} breaks: {', '.join(breaches)}"


@dataclass(frozen=True)
class Named:
    """The apps of a list that can be described, with their names."""

    apps: Mapping[str, App]
    tool_names: Mapping[str, str]
    property_names: Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Count over the whole module, and print the figures past pytest's capture."""
    counted = Tally()
    yield counted
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(  # noqa: T201 - the figure is part of the report
            f"\nlaws: {counted.tried} random definitions tried, {counted.listed} listed as tools and "
            f"{counted.calls} calls of them made, {counted.left_out} left out with a reason, "
            f"{counted.broken} tools that break a law"
        )


@dataclass(frozen=True)
class Assigned:
    """The names that were ever assigned, as a store keeps them."""

    tool_names: dict[str, tuple[str, str]] = field(default_factory=dict)
    property_names: dict[str, dict[str, str]] = field(default_factory=dict)


def read_inventory(inventory: Sequence[Definition], tally: Tally) -> dict[str, App]:
    """Return the parsed apps by id; every refusal must have a reason."""
    listed = PROVIDER.parse_list(build_answer(encode([one.summary for one in inventory])), is_own=False)
    tally.left_out += len(listed.left_out)
    details: dict[str, bytes] = {}
    for one in inventory:
        details.setdefault(_get_id(one), encode(one.detail))
    apps: dict[str, App] = {}
    for app in {app.id: app for app in reversed(listed.apps)}.values():
        try:
            apps[app.id] = PROVIDER.parse_app(build_answer(details[app.id]), app, read_at=0.0)
        except (AppUnsupported, ProviderBroken) as refusal:
            tally.leave_out(refusal)
    return apps


def name_all(assigned: Assigned, apps: Mapping[str, App]) -> Named:
    """Assign names to apps and inputs as the catalogue does."""
    tool_names = name_apps(apps.values(), assigned.tool_names, scope=SCOPE)
    assigned.tool_names.update({name: (SCOPE, app_id) for app_id, name in tool_names.items()})
    property_names: dict[str, dict[str, str]] = {}
    for app in apps.values():
        kept = assigned.property_names.setdefault(app.id, {})
        property_names[app.id] = build_property_names(app.inputs or (), kept)
        kept.update(property_names[app.id])
    return Named(apps, tool_names, property_names)


def build_tools(named: Named, tally: Tally, *, is_sandbox: bool) -> dict[str, Tool]:
    """Return the tool of each app that can have one, by app id."""
    tools: dict[str, Tool] = {}
    for app in named.apps.values():
        try:
            tools[app.id] = build_tool(
                app,
                tool_name=named.tool_names[app.id],
                property_names=named.property_names[app.id],
                provider_title="Magnific",
                title_prefix="Sandbox: " if is_sandbox else "",
            )
        except AppUnsupported as refusal:
            tally.leave_out(refusal)
    return tools


def find_unstable(assigned: Assigned, named: Named) -> list[str]:
    """Return the changes of a list that change an assigned name. The added apps have the names of the old ones."""
    apps = named.apps
    renamed = {key: replace(app, name="Another", inputs=_rename_inputs(app)) for key, app in apps.items()}
    namesakes = {f"new {key}": replace(app, id=f"new {key}") for key, app in apps.items()}
    inventories = {
        "reorder": dict(reversed(list(apps.items()))),
        "deletion": dict(list(apps.items())[1::2]),
        "rename": renamed,
        "namesakes": {**namesakes, **apps},
    }
    found = {what: name_all(assigned, changed) for what, changed in inventories.items()}
    unstable = [what for what, after in found.items() if not _keeps(named, after)]
    every = found["namesakes"].tool_names
    return unstable + ["one name for two apps"] * (len(set(every.values())) != len(every))


def _rename_inputs(app: App) -> Any:
    return tuple(replace(item, label="Another", name="another") for item in reversed(app.inputs or ()))


def _keeps(before: Named, after: Named) -> bool:
    return all(
        after.tool_names[key] == name and dict(after.property_names[key]) == dict(before.property_names[key])
        for key, name in before.tool_names.items()
        if key in after.tool_names
    )


@given(inventory=INVENTORIES, seed=st.integers(0, 2**32), is_sandbox=st.booleans())
@settings(
    max_examples=LEAST_TRIED // 4,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
def check_inventory(tally: Tally, inventory: Sequence[Definition], seed: int, *, is_sandbox: bool) -> None:
    """Check every law on one list."""
    tally.tried += len(inventory)
    assigned = Assigned()
    named = name_all(assigned, read_inventory(inventory, tally))
    tally.note("the inventory", find_unstable(assigned, named))
    tools = build_tools(named, tally, is_sandbox=is_sandbox)
    tally.listed += len(tools)
    chance = Random(seed)
    for app_id, tool in tools.items():
        breaches = find_breaches(tool)
        app, names = named.apps[app_id], named.property_names[app_id]
        tally.calls += 1
        if not reaches_the_provider(app, tool, names, build_arguments(app, tool, names, chance)):
            breaches.append("what the schema accepts reaches the provider")
        tally.note(tool["name"], breaches)


@pytest.mark.long
def test_every_listed_tool_keeps_every_law(tally: Tally) -> None:
    """An app that would break a law is left out with a reason; it never breaks the list."""
    check_inventory(tally)

    assert (tally.tried >= LEAST_TRIED, tally.broken) == (True, 0)
    # A law is as good as what comes to it.
    assert tally.listed > LEAST_TRIED // 3


@dataclass
class Account:
    """A provider that answers from a list; everything else is not found."""

    inventory: Sequence[Definition]

    def __call__(self, request: ApiRequest) -> ApiAnswer:
        """Answer a request for a list or a definition."""
        if request.operation is Operation.LIST_APPS:
            is_own = "/me/" in request.path
            return build_answer(encode([] if is_own else [one.summary for one in self.inventory]))
        found = (one.detail for one in self.inventory if PROVIDER.build_app_request(_get_id(one)).path == request.path)
        detail = next(found, None)
        return build_answer({}, 404) if detail is None else build_answer(encode(detail))


def _get_id(one: Definition) -> str:
    summary = parse_json(build_answer(encode(one.summary)))["data"]
    app_id = summary.get("sqid") if isinstance(summary, dict) else None
    return app_id if isinstance(app_id, str) else ""


async def start_catalogue(folder: Path, inventory: Sequence[Definition]) -> dict[str, Tool]:
    """Open the catalogue on a folder, refresh and close it, and return its tools by app id."""
    clock, store = FakeClock(), open_sqlite_store(folder / "store.sqlite3")
    catalog = Catalog(ScriptedAccount(Account(inventory), clock), store, clock, folder / "one.json")
    await catalog.load()
    await catalog.refresh()
    by_name = {listing.tool_name: listing.app.id for listing in catalog.current.listings}
    await store.close()
    return {by_name[one.tool["name"]]: one.tool for one in catalog.ranked}


@given(inventory=INVENTORIES)
@settings(max_examples=25, phases=PHASES, suppress_health_check=list(HealthCheck))
def test_tools_are_the_same_after_a_restart_and_keep_their_names_in_any_order(inventory: Sequence[Definition]) -> None:
    """A saved prompt means the same app tomorrow, and no hostile definition ends the refresh."""
    with TemporaryDirectory() as name:
        first, again, turned = (
            asyncio.run(start_catalogue(Path(name), offered)) for offered in (inventory, inventory, inventory[::-1])
        )

    assert [find_breaches(tool) for tool in first.values()] == [[]] * len(first)
    assert json.dumps(again) == json.dumps(first)
    assert {turned[key]["name"] for key in turned if key in first} == {
        first[key]["name"] for key in turned if key in first
    }
