"""Two providers at once: one list, one store, and a fault of one does not affect the other."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.domain.spending import SpendingLimits
from flowport.providers.registry import ProviderSettings
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import build_photo, write
from tests.providers.contract.worlds import WORLDS
from tests.server.test_prompts import RUN_APP, complete
from tests.support.harness import Harness, open_harness

DOWN = "http://127.0.0.1:9"
PROMPT = {"prompt": "a quiet harbour"}


@asynccontextmanager
async def open_both(sandbox: SandboxClient, folder: Path, **changes: Any) -> AsyncIterator[Harness]:
    """Run Flowport on both."""
    providers = changes.pop("providers", tuple(world.build_settings(sandbox) for world in WORLDS))
    async with open_harness(sandbox, folder, providers=providers, **changes) as flowport:
        await settle(flowport)
        yield flowport


async def settle(flowport: Harness) -> None:
    """Wait until every catalogue was read or has failed."""
    await flowport.client.list_tools()
    for one in flowport.assembly.workspace.catalogs:
        await one.catalog.wait_until_attempted(10)


async def list_names(flowport: Harness) -> list[str]:
    """Return the names of the app tools."""
    return [tool.name for tool in (await flowport.client.list_tools()).tools[len(BUILT_IN_TOOLS) :]]


async def test_apps_of_one_name_are_distinguished_by_provider_and_keep_their_names(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """Both providers have the same apps; the provider that was first keeps the plain names."""
    async with open_both(sandbox, tmp_path / "person") as flowport:
        names = await list_names(flowport)
    async with open_both(sandbox, tmp_path / "person") as flowport:
        again = await list_names(flowport)
    plain = {name.removeprefix("magnific_").removeprefix("magica_") for name in names}
    assert (len(names), len(set(names)), len(plain)) == (20, 20, 10)
    assert sorted(names) == sorted(again)
    assert all(name in plain or name.startswith(("magica_", "magnific_")) for name in names)


async def test_apps_of_one_name_are_distinguished_without_a_store(sandbox: SandboxClient, tmp_path: Path) -> None:
    """In an unusable home the list still holds each name once, or clients refuse all of it."""
    (tmp_path / "file").touch()
    async with open_both(sandbox, tmp_path / "person", home=tmp_path / "file") as flowport:
        names = await list_names(flowport)
    assert (len(names), len(set(names))) == (20, 20)


async def test_a_later_provider_changes_no_name(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A saved prompt keeps its meaning: it names the same app."""
    async with WORLDS[1].open(sandbox, tmp_path / "person") as flowport:
        await settle(flowport)
        alone = await list_names(flowport)
    async with open_both(sandbox, tmp_path / "person") as flowport:
        names = await list_names(flowport)
        row = (await flowport.ask("find_apps", query="Retro Poster", provider="magnific"))["apps"][0]
    assert set(alone) < set(names)
    assert (row["tool"], row["provider"]) == ("magnific_retro_poster", "Magnific")


async def test_the_list_is_shared_between_providers(sandbox: SandboxClient, tmp_path: Path) -> None:
    """`FLOWPORT_MAX_TOOLS` limits the whole list, not each provider, and each provider has a share."""
    async with open_both(sandbox, tmp_path / "person", max_tools=4) as flowport:
        tools = flowport.assembly.workspace.get_tools()
        facts = (await flowport.ask("find_apps"))["catalogues"]
    assert len(tools) == 4
    assert [one["with_own_tool"] for one in facts] == [2, 2]
    assert all("because FLOWPORT_MAX_TOOLS is 4" in one["without_own_tool"] for one in facts)


async def test_configured_apps_come_first_whatever_their_provider(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The setting takes precedence over sharing the list between providers."""
    async with open_both(sandbox, tmp_path / "person", apps=("*retro_poster",), max_tools=3) as flowport:
        names = await list_names(flowport)
    assert all(name.endswith("retro_poster") for name in names[:2])


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("trouble", ["down", "key"])
async def test_a_faulty_provider_does_not_affect_the_other(
    sandbox: SandboxClient, tmp_path: Path, broken: int, trouble: str
) -> None:
    """The other's tools are listed and run as usual; the fault is reported where the first provider is used."""
    settings = [world.build_settings(sandbox) for world in WORLDS]
    name = settings[broken].provider
    settings[broken] = (
        ProviderSettings(name, DOWN, "gx_any-key")
        if trouble == "down"
        else WORLDS[broken].build_settings(sandbox, key="gx_wrong-key")
    )
    async with open_both(sandbox, tmp_path / "person", providers=tuple(settings)) as flowport:
        facts = await flowport.ask("text_to_picture", **PROMPT)
        found = await flowport.ask("find_apps")
        balance = await flowport.ask("get_balance")
    assert (facts["state"], len(found["apps"])) == ("succeeded", 10)
    assert WORLDS[broken].title in found["catalogues"][broken]["could_not_be_refreshed_because"]
    assert "could_not_be_refreshed_because" not in found["catalogues"][1 - broken]
    assert len(balance["accounts"]) == 2


async def test_apps_are_found_by_provider(sandbox: SandboxClient, tmp_path: Path) -> None:
    """`find_apps` filters by provider, and each row names its provider."""
    async with open_both(sandbox, tmp_path / "person") as flowport:
        rows = [(await flowport.ask("find_apps", provider=name))["apps"] for name in ("magica", "Magnific", "")]
    assert [{row["provider"] for row in found} for found in rows] == [{"Magica"}, {"Magnific"}, {"Magica", "Magnific"}]


async def test_an_ambiguous_name_is_not_run(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The intended app cannot be guessed, and each is paid for; a tool name is unambiguous."""
    async with open_both(sandbox, tmp_path / "person") as flowport:
        listings = [one.catalog.get_listing("Text to Picture") for one in flowport.assembly.workspace.catalogs]
        asked = await flowport.ask("run_app", app="Text to Picture", arguments=PROMPT)
        several = await flowport.ask("run_app", app="Text to Picture", arguments=PROMPT, variations=2)
        batch = await flowport.ask("run_batch", app="text to picture", rows=[PROMPT])
        with pytest.raises(MCPError, match=f"Did you mean {listings[0].tool_name} or {listings[1].tool_name}"):
            await flowport.client.call_tool("Text to Picture", PROMPT)
        with pytest.raises(MCPError, match='Several apps are called "Text to Picture"'):
            await flowport.client.get_prompt("run_app", {"app": "Text to Picture"})
        assert await complete(flowport, RUN_APP, "choice", app="Text to Picture") == []
        assert await flowport.count("run") == 0
        done = [await flowport.ask("run_app", app=one.tool_name, arguments=PROMPT) for one in listings]
    assert {one["error"] for one in (asked, several, batch)} == {"AppAmbiguous"}
    assert asked["message"] == (
        'Several apps are called "Text to Picture": '
        f'{listings[0].tool_name} (id "{listings[0].app.id}", Magnific) and '
        f'{listings[1].tool_name} (id "{listings[1].app.id}", Magica). '
        "Nothing was started; name one by its tool name."
    )
    assert [one["tool"] for one in done] == [one.tool_name for one in listings]


async def test_a_name_waits_for_a_provider_whose_catalogue_is_unread(sandbox: SandboxClient, tmp_path: Path) -> None:
    """It may have an app of the same name, and then the known one was perhaps not meant."""
    async with AsyncExitStack() as stack:
        flowport = await stack.enter_async_context(WORLDS[0].open(sandbox, tmp_path / "person"))
        await settle(flowport)
        await stack.aclose()
    providers = tuple(world.build_settings(sandbox) for world in WORLDS)
    async with open_harness(sandbox, tmp_path / "person", providers=providers) as flowport:
        facts = await flowport.ask("run_app", app="Text to Picture", arguments=PROMPT)
    assert facts["error"] == "AppAmbiguous"


async def test_rate_limits_and_spending_limits_are_separate(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A cap limits credits at one provider; credits of another are other money."""
    spending_limits = SpendingLimits(max_credits_per_day=3)
    async with open_both(
        sandbox, tmp_path / "person", spending_limits=spending_limits, requests_per_minute=None
    ) as flowport:
        limits = [one.account.limiter.limit for one in flowport.assembly.workspace.catalogs]
        tools = [one.catalog.get_listing("Text to Picture").tool_name for one in flowport.assembly.workspace.catalogs]
        states = [(await flowport.ask(tool, **PROMPT)).get("state") for tool in tools]
        spent = [one["spent_credits_24_hours"] for one in (await flowport.ask("get_balance"))["accounts"]]
        refused = [(await flowport.ask(tool, prompt="another")).get("error") for tool in tools]
    assert (limits, states, spent) == ([50, 60], ["succeeded", "succeeded"], [2, 2])
    assert refused == ["DayCapReached", "DayCapReached"]


async def test_a_result_of_one_is_an_input_of_the_other(sandbox: SandboxClient, tmp_path: Path) -> None:
    """`last` and a `flowport://` name mean the same for every provider."""
    async with open_both(sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        names = [
            one.catalog.get_listing("Photo to Pencil Sketch").tool_name for one in flowport.assembly.workspace.catalogs
        ]
        first = await flowport.ask(names[0], photo=str(photo))
        second = await flowport.ask(names[1], your_photo=f"{first['resource']}/outputs/1")
        third = await flowport.ask(names[0], photo="last")
    assert [one["state"] for one in (first, second, third)] == ["succeeded"] * 3
    assert (await sandbox.http.get("/_sandbox/counts")).json()["run"] == 3


async def test_a_known_tool_does_not_wait_for_an_unresponsive_provider(sandbox: SandboxClient, tmp_path: Path) -> None:
    """An unresponsive provider would delay every call of the others by eight seconds."""
    async with AsyncExitStack() as stack:
        flowport = await stack.enter_async_context(WORLDS[0].open(sandbox, tmp_path / "person"))
        await settle(flowport)
        await stack.aclose()
    await sandbox.switch("faults", operation="list_own", fault="delay", seconds=60, times=9)
    providers = tuple(world.build_settings(sandbox) for world in WORLDS)
    async with open_harness(sandbox, tmp_path / "person", providers=providers) as flowport:
        facts = await flowport.ask("text_to_picture", **PROMPT)
        is_ready = [one.catalog.is_ready for one in flowport.assembly.workspace.catalogs]
    assert (facts["state"], is_ready) == ("succeeded", [True, False])
