"""The order of the tool list: clients cache a conversation by the bytes before it, and the list is the first of them."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowport.catalog.ranking import ORDER_NAME, Places, ToolOrder
from flowport.domain.models import LOCAL_OWNER, RunState
from tests.catalog.samples import build_listing
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.store.samples import build_run
from tests.support.harness import Harness, open_harness


@pytest.fixture
async def own_sandbox() -> AsyncIterator[SandboxClient]:
    """Run a sandbox whose catalogue this test may change."""
    async with open_sandbox() as client:
        yield client


async def list_tools(flowport: Harness) -> list[str]:
    """Return the names of the tools in their order."""
    return [tool.name for tool in (await flowport.client.list_tools(cache_mode="bypass")).tools]


async def change(flowport: Harness, **changes: Any) -> list[dict[str, Any]]:
    """Change the provider's catalogue, have it read again, and return its apps."""
    apps: list[dict[str, Any]] = (await flowport.sandbox.switch("catalogue", **changes)).json()["apps"]
    assert await flowport.assembly.workspace.catalogs[0].catalog.refresh()
    return apps


async def test_a_refresh_never_reorders_the_list(own_sandbox: SandboxClient, tmp_path: Path) -> None:
    """Another order of the provider, other prices, names and ownership change no place; what is new comes last."""
    async with open_harness(own_sandbox, tmp_path / "person") as flowport:
        first = await list_tools(flowport)
        apps = await change(flowport)
        ids = [app["id"] for app in apps]
        await change(flowport, order=ids[::-1], prices={ids[2]: 99}, rename={ids[1]: "Another Name"})
        assert await list_tools(flowport) == first
        await change(flowport, apps=3)
        more = await list_tools(flowport)
        assert (more[: len(first)], len(more)) == (first, len(first) + 3)
        gone = next(name for name in first if name == "slow_cinema_still")
        await change(flowport, delete=[next(app["id"] for app in apps if app["name"] == "Slow Cinema Still")])
        assert await list_tools(flowport) == [name for name in more if name != gone]


async def test_use_changes_neither_order_nor_choice(own_sandbox: SandboxClient, tmp_path: Path) -> None:
    """An app that is used gets its place at the next start; now it would push another one out of the cached list."""
    await own_sandbox.switch("catalogue", apps=40)
    async with open_harness(own_sandbox, tmp_path / "person", max_tools=8) as flowport:
        first = await list_tools(flowport)
        catalog = flowport.assembly.workspace.catalogs[0].catalog
        unlisted = [one for one in catalog.current.listings if one.tool_name not in first]
        run = replace(build_run("run_used", RunState.SUCCEEDED), owner=LOCAL_OWNER, app_id=unlisted[-1].app.id)
        account = flowport.assembly.workspace.catalogs[0].account.account
        accepted_at = flowport.assembly.workspace.clock.now()
        await flowport.assembly.workspace.store.accept(
            replace(run, account_id=account.id, provider=account.provider, accepted_at=accepted_at)
        )
        apps = await change(flowport)
        await change(flowport, order=[app["id"] for app in apps][::-1])
        assert await list_tools(flowport) == first
    async with open_harness(own_sandbox, tmp_path / "person", max_tools=8) as flowport:
        await list_tools(flowport)
        # Its definition was never read: the refresh behind the first list does so.
        await change(flowport)
        again = await list_tools(flowport)
    assert unlisted[-1].tool_name in again
    # What stays keeps its order, and what is new is at the end.
    assert again[-1] == unlisted[-1].tool_name
    assert [name for name in first if name in again] == [name for name in again if name in first]


async def test_a_restart_keeps_the_order(own_sandbox: SandboxClient, tmp_path: Path) -> None:
    """The list of the morning is the list of yesterday, unless the person asks for other apps first."""
    async with open_harness(own_sandbox, tmp_path / "person") as flowport:
        first = await list_tools(flowport)
        apps = await change(flowport)
        await change(flowport, order=[app["id"] for app in apps][::-1])
    async with open_harness(own_sandbox, tmp_path / "person") as flowport:
        assert await list_tools(flowport) == first
    async with open_harness(own_sandbox, tmp_path / "person", apps=("text_*",)) as flowport:
        assert (await list_tools(flowport))[7] == "text_to_picture"


async def test_a_change_that_leaves_the_list_as_it_was_is_not_announced(
    own_sandbox: SandboxClient, tmp_path: Path
) -> None:
    """Each word costs every client a reading of the list."""
    async with open_harness(own_sandbox, tmp_path / "person") as flowport:
        await list_tools(flowport)
        apps = await change(flowport)
        noted = flowport.assembly.workspace.changes._lists._things
        noted.clear()
        await change(flowport, order=[app["id"] for app in apps][::-1])
        assert not noted


NAMES = ["b", "a", "c"]


def build_tools(*names: str) -> list[dict[str, Any]]:
    """Return tools that have only names."""
    return [{"name": name} for name in names]


def get_names(order: ToolOrder, *names: str) -> list[str]:
    """Return the names as they are arranged."""
    return [tool["name"] for tool in order.arrange(build_tools(*names))]


def test_before_the_first_list_the_order_is_as_it_comes_and_then_stays(tmp_path: Path) -> None:
    """What a client was given stands; new tools follow, and one that comes back is new."""
    order = ToolOrder(tmp_path / ORDER_NAME)
    assert get_names(order, *NAMES) == NAMES
    order.note_listed(build_tools(*NAMES))
    assert get_names(order, "d", "c", "a", "b") == [*NAMES, "d"]
    order.note_listed(build_tools("b", "c"))
    assert get_names(order, "a", "b", "c") == ["b", "c", "a"]
    assert get_names(ToolOrder(tmp_path / ORDER_NAME), "c", "b", "x") == ["b", "c", "x"]
    assert get_names(ToolOrder(tmp_path / ORDER_NAME, ["x*"]), "c", "b", "x") == ["c", "b", "x"]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"7", b'{"first": []}', b'{"first": [], "tools": 7}', b"[" * 10**5]
)
def test_a_damaged_order_counts_as_none(tmp_path: Path, data: bytes) -> None:
    """It is only a convenience."""
    (tmp_path / ORDER_NAME).write_bytes(data)
    assert get_names(ToolOrder(tmp_path / ORDER_NAME), *NAMES) == NAMES


def test_an_order_that_cannot_be_saved_stands_in_memory(tmp_path: Path) -> None:
    """A home that cannot be written to stops no list."""
    order = ToolOrder(tmp_path / "missing" / ORDER_NAME)
    order.note_listed(build_tools(*NAMES))
    assert get_names(order, "a", "b", "c") == NAMES
    assert list(tmp_path.iterdir()) == []


def test_the_file_holds_names_alone(tmp_path: Path) -> None:
    """And is written only when the order has changed."""
    order = ToolOrder(tmp_path / ORDER_NAME, ["x*"])
    order.note_listed(build_tools(*NAMES))
    assert json.loads((tmp_path / ORDER_NAME).read_text()) == {"first": ["x*"], "tools": NAMES}
    (tmp_path / ORDER_NAME).unlink()
    order.note_listed(build_tools(*NAMES))
    assert list(tmp_path.iterdir()) == []


def test_apps_keep_the_places_in_which_they_were_first_seen() -> None:
    """So that the provider's order of today decides nothing about the list of this morning."""
    places, apps = Places(), {name: build_listing(name) for name in "abc"}
    assert [one.app.id for one in places.settle([apps["b"], apps["a"]])] == ["b", "a"]
    assert [one.app.id for one in places.settle([apps["c"], apps["a"], apps["b"]])] == ["b", "a", "c"]
    assert [one.app.id for one in places.settle([apps["c"], apps["a"]])] == ["a", "c"]
    assert [one.app.id for one in places.settle([apps["b"], apps["c"], apps["a"]])] == ["a", "c", "b"]
