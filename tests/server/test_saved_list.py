"""Check the tool list that a start answers with before it loads anything: when it is used, and what corrects it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.models import Source
from flowport.runtime.background import FirstList
from flowport.server.handlers import Handlers
from flowport.server.saved_list import SavedList
from flowport.settings.settings import Settings
from tests.fakes.client import Client as SandboxClient
from tests.support.children import Child, open_child
from tests.support.harness import build_settings, open_harness

TOOLS = [{"name": "find_apps", "title": "Find apps"}]
MAX_PINGS = 10_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Name a home that has a catalogue and an order of the tools."""
    settings = build_settings(tmp_path / "person", "http://127.0.0.1:9")
    for path in get_sources(settings):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return settings


def get_sources(settings: Settings) -> list[Path]:
    """Return the files that the list is made from."""
    return [settings.home / "catalogue" / "one.json", settings.home / "tool-order.json"]


def save(settings: Settings) -> None:
    """Save a list as a process does that has just read the files."""
    SavedList(settings).save(TOOLS, {path: path.stat().st_mtime_ns for path in get_sources(settings)})


def find_saved(settings: Settings) -> list[Path]:
    """Return the files of saved lists."""
    return list((settings.home / "catalogue").glob("tools-*.json"))


def test_a_list_is_used_by_the_next_start(settings: Settings) -> None:
    """Most starts find everything as the last one left it."""
    assert SavedList(settings).load() is None
    save(settings)
    assert SavedList(settings).load() == TOOLS


@pytest.mark.parametrize(
    "changes",
    [
        {"max_tools": 7},
        {"apps": ("portrait*",)},
        {"source": Source.OWN},
        {"providers": ()},
        {"providers": "another key"},
    ],
    ids=["fewer tools", "globs", "source", "no key", "another key"],
)
def test_other_settings_have_a_list_of_their_own(settings: Settings, changes: dict[str, Any]) -> None:
    """A setting that was changed is obeyed by the first list; set back, the old list is true again."""
    if isinstance(changes.get("providers"), str):
        changes = {"providers": (replace(settings.providers[0], api_key="mk-another-key-0001"),)}
    save(settings)
    assert SavedList(replace(settings, **changes)).load() is None
    assert SavedList(settings).load() == TOOLS


@pytest.mark.parametrize("place", [0, 1], ids=["catalogue", "order"])
@pytest.mark.parametrize("is_removed", [True, False], ids=["removed", "replaced"])
def test_another_catalogue_or_order_is_read_instead(settings: Settings, place: int, *, is_removed: bool) -> None:
    """Another process may have saved a newer catalogue, or listed the tools in another order."""
    save(settings)
    path = get_sources(settings)[place]
    if is_removed:
        path.unlink()
    else:
        os.utime(path, ns=(1, 1))
    assert SavedList(settings).load() is None


def test_another_version_makes_its_own_list(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade the built-in tools may be others."""
    save(settings)
    monkeypatch.setattr("flowport.server.saved_list.__version__", "0.0.1")
    assert SavedList(settings).load() is None


def _put(tools: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), "tools": tools})


def _drop(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != key})


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda _: "",
        lambda _: "[]",
        lambda _: "[" * 100_000,
        _drop("stamps"),
        _drop("tools"),
        _put(["x"]),
        _put(7),
    ],
    ids=["cut off", "empty", "no object", "deep", "no stamps", "no tools", "no tool", "a number"],
)
def test_a_damaged_list_counts_as_missing(settings: Settings, damage: Callable[[str], str]) -> None:
    """A file that a crash or another program left must not end a start."""
    save(settings)
    (path,) = find_saved(settings)
    path.write_text(damage(path.read_text()))
    assert SavedList(settings).load() is None


def test_a_list_without_its_catalogue_on_disk_is_not_saved(settings: Settings) -> None:
    """The next start waits for a first catalogue, and this list would come before it."""
    SavedList(settings).save(TOOLS, {get_sources(settings)[0]: 0})
    assert find_saved(settings) == []


@pytest.mark.parametrize(("max_tools", "count"), [(40, 1), (3, 0)], ids=["places for all", "too few places"])
async def test_a_list_that_changes_by_use_is_not_saved(
    sandbox: SandboxClient, tmp_path: Path, max_tools: int, count: int
) -> None:
    """An app that was used gets its place at the next start, which a saved list does not know."""
    async with open_harness(sandbox, tmp_path / "person", max_tools=max_tools) as flowport:
        workspace = flowport.assembly.workspace
        await workspace.catalogs[0].catalog.refresh()
        await flowport.client.list_tools(cache_mode="bypass")
        Handlers(flowport.assembly.tenants, anyio.CapacityLimiter(1), FirstList()).save_list(
            SavedList(workspace.settings)
        )
        assert len(find_saved(workspace.settings)) == count


def list_until_saved(child: Child, folder: Path) -> tuple[list[Mapping[str, Any]], Path]:
    """Return the tools and the file that holds them for the next start."""
    child.greet()
    child.ask("tools/list")
    child.call("find_apps", refresh=True)
    tools = child.ask("tools/list")["tools"]
    for _ in range(MAX_PINGS):
        for path in (folder / "home" / "catalogue").glob("tools-*.json"):
            if json.loads(path.read_bytes())["tools"] == tools:
                return tools, path
        child.ask("ping")
    raise AssertionError("the list was not saved")


def read_until_changed(child: Child) -> None:
    """Read until the client is notified that the tools have changed."""
    while child.read().get("method") != "notifications/tools/list_changed":
        pass


def test_a_start_answers_with_the_saved_list_and_then_with_the_true_one(tmp_path: Path) -> None:
    """The second start gives the first one's list; where it is not true, the client is notified."""
    folder = tmp_path / "person"
    with open_child(folder) as child:
        tools, path = list_until_saved(child, folder)
        child.close_input()
        child.wait()
    with open_child(folder) as child:
        child.greet()
        assert child.ask("tools/list")["tools"] == tools
        assert child.call("find_apps")["apps"]
        assert child.ask("tools/list")["tools"] == tools
        child.close_input()
        assert child.wait() == 0
    record = json.loads(path.read_bytes())
    record["tools"][-1]["title"] = "Another title"
    path.write_text(json.dumps(record))
    with open_child(folder) as child:
        child.greet()
        assert child.ask("tools/list")["tools"] == record["tools"]
        read_until_changed(child)
        assert child.ask("tools/list")["tools"] == tools


def test_a_call_before_the_list_is_answered_too(tmp_path: Path) -> None:
    """A client may keep the list from an earlier session and call at once."""
    folder = tmp_path / "person"
    with open_child(folder) as child:
        tools, _ = list_until_saved(child, folder)
    with open_child(folder) as child:
        child.greet()
        assert child.call("find_apps")["apps"]
        assert child.ask("prompts/list")["prompts"]
        assert child.ask("tools/list")["tools"] == tools


def test_a_client_that_leaves_before_anything_is_loaded_ends_the_start(tmp_path: Path) -> None:
    """Clients start a server only to list its tools."""
    folder = tmp_path / "person"
    with open_child(folder) as child:
        list_until_saved(child, folder)
    with open_child(folder) as child:
        child.greet()
        child.close_input()
        assert child.wait() == 0
