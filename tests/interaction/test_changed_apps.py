"""An app that changes at the provider: one call fails at no cost, and the next one uses the new inputs."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowport.catalog.refresher import Catalog
from tests.fakes.client import IDS
from tests.fakes.client import Client as SandboxClient
from tests.server.test_clients import TOOLS, listening
from tests.support.harness import MODES, Harness, Mode, open_harness

PICTURE = IDS["Text to Picture"]


def get_catalog(flowport: Harness) -> Catalog:
    """Return the catalogue of the only account."""
    return flowport.assembly.workspace.catalogs[0].catalog


async def settle(flowport: Harness) -> None:
    """Wait until the first list was returned and the first refresh is over."""
    await flowport.client.list_tools()
    await get_catalog(flowport).wait_until_attempted(10)
    await get_catalog(flowport).refresh()


async def wait_for_argument(flowport: Harness, name: str) -> None:
    """Wait until the tool of the picture app takes an argument."""
    with anyio.fail_after(60):
        while name not in get_catalog(flowport).get_listing(PICTURE).property_names.values():
            await anyio.lowlevel.checkpoint()


def get_properties(flowport: Harness) -> dict[str, Any]:
    """Return the picture app's arguments as sent to the client; a client may keep an older list."""
    tools = {tool["name"]: tool for tool in flowport.assembly.workspace.get_tools()}
    properties: dict[str, Any] = tools["text_to_picture"]["inputSchema"]["properties"]
    return properties


@pytest.mark.parametrize("mode", MODES)
async def test_a_refused_call_refreshes_its_tool_and_notifies(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """A call that the provider refuses refreshes the definition, which is otherwise up to a day old."""
    async with open_harness(sandbox, tmp_path / "person") as flowport, listening(flowport.server, mode) as listener:
        await settle(flowport)
        await sandbox.switch("catalogue", require={PICTURE: "colour"})
        read = await flowport.count("get")
        failed = await flowport.ask("text_to_picture", prompt="a lake")
        await wait_for_argument(flowport, "colour")
        while await listener.receive() != TOOLS:
            pass

        assert (failed["state"], failed["credits"]) == ("failed", 0)
        assert "Flowport reads its definition again" in failed["failure"]
        assert await flowport.count("get") == read + 1
        assert "colour" in get_properties(flowport)
        refused = await flowport.ask("text_to_picture", prompt="a lake")
        facts = await flowport.ask("text_to_picture", prompt="a lake", colour="blue")

    assert "colour is missing" in refused["message"]
    assert facts["state"] == "succeeded"


async def test_a_process_without_the_refresh_lock_updates_the_shared_cache(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """A refusal in a process that does not hold the refresh lock still updates the definition for every process."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(open_harness(sandbox, tmp_path / "person")) for _ in range(2)]
        await settle(first)
        await get_catalog(second).load()
        assert not get_catalog(second)._has_turn()
        await sandbox.switch("catalogue", require={PICTURE: "colour"})
        read = await first.count("get")
        await second.ask("text_to_picture", prompt="a lake")
        await wait_for_argument(second, "colour")
        succeeded = await second.ask("text_to_picture", prompt="a lake", colour="blue")
        stays = get_properties(first)
        await get_catalog(first).refresh()
        taken_up = get_properties(first)
        await get_catalog(second).load()

        assert succeeded["state"] == "succeeded"
        found = ["colour" in properties for properties in (stays, taken_up, get_properties(second))]
        assert found == [False, True, True]
        assert await first.count("get") == read + 1


async def test_a_persistent_refusal_refreshes_once_per_run(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A value outside a limit that no definition states is always refused; only calls of the model cost requests."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await settle(flowport)
        before = await flowport.count("get"), (await flowport.client.list_tools()).tools
        for _ in range(2):
            read_at = get_catalog(flowport).get_listing(PICTURE).app.read_at
            await sandbox.switch("faults", operation="run", fault="status", status=422)
            assert (await flowport.ask("text_to_picture", prompt="a lake"))["state"] == "failed"
            with anyio.fail_after(60):
                while get_catalog(flowport).get_listing(PICTURE).app.read_at == read_at:
                    await anyio.lowlevel.checkpoint()
        after = await flowport.count("get"), (await flowport.client.list_tools()).tools

    assert after == (before[0] + 2, before[1])
