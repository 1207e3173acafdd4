"""Clients of both eras hear of changes, and only of changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.streams.memory
import mcp.types as t
import pytest
from mcp import Client
from mcp.server.connection import Connection
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from flowport.bootstrap import Assembly
from flowport.domain.uris import format_run_uri
from flowport.runtime.background import ListKind
from flowport.server.clients import MAX_WATCHED, Announcer
from flowport.server.server import FlowportServer
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.support.harness import MODES, Harness, Mode, open_harness

TOOLS, RESOURCES = "notifications/tools/list_changed", "notifications/resources/list_changed"
UPDATED = "notifications/resources/updated"


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run one sandbox for the tests of this module."""
    async with open_sandbox() as client:
        yield client


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport; the harness's own client has read the list, so that changes count."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        await harness.client.list_tools()
        yield harness


@pytest.fixture(autouse=True)
def shorten_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gather changes of lists for a moment; `tests/runtime/test_change_feed.py` has the seconds."""
    monkeypatch.setattr("flowport.runtime.background.LIST_SECONDS", 0.5)


@asynccontextmanager
async def hearing(server: FlowportServer, mode: Mode, uri: str = "") -> AsyncIterator["Hearer"]:
    """Connect a client of an era that listens for everything, and watches one resource."""
    send, receive = anyio.create_memory_object_stream[str](100)

    async def note(message: Any) -> None:
        """Keep what is said on the connection; a newer client's stream is heard by itself."""
        if mode != "legacy":
            return
        if isinstance(message, t.ToolListChangedNotification | t.ResourceListChangedNotification):
            send.send_nowait(message.method)
        if isinstance(message, t.ResourceUpdatedNotification):
            send.send_nowait(f"{message.method} {message.params.uri}")

    async with send, receive, Client(server, mode=mode, message_handler=note) as client:
        hearer = Hearer(client, receive)
        if mode == "legacy":
            if uri:
                watch = t.SubscribeRequest(params=t.SubscribeRequestParams(uri=uri))
                await client.session.send_request(watch, t.EmptyResult)
            yield hearer
            return
        async with anyio.create_task_group() as group:
            await group.start(_forward, client, send, uri)
            yield hearer
            group.cancel_scope.cancel()


async def _forward(client: Client, send: Any, uri: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    watched = [uri] if uri else []
    async with client.listen(
        tools_list_changed=True, resources_list_changed=True, resource_subscriptions=watched
    ) as events:
        task_status.started()
        async for event in events:
            if isinstance(event, ResourceUpdated):
                send.send_nowait(f"{UPDATED} {event.uri}")
            else:
                send.send_nowait(TOOLS if isinstance(event, ToolsListChanged) else RESOURCES)


class Hearer:
    """A client and what it heard."""

    def __init__(self, client: Client, heard: anyio.streams.memory.MemoryObjectReceiveStream[str]) -> None:
        self.client = client
        self._heard = heard

    async def hear(self) -> str:
        """Return the next word; none at all is a failure."""
        with anyio.fail_after(60):
            return await self._heard.receive()


async def change_tools(assembly: Assembly, count: int) -> None:
    """List so many apps from now on."""
    catalog = assembly.workspace.catalogs[0].catalog
    catalog._max_tools = count
    assert await catalog.refresh()


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_each_era_hears_that_the_tools_have_changed(flowport: Harness, mode: Mode) -> None:
    """Otherwise an app made this morning cannot be used until the client is started again."""
    async with hearing(flowport.server, mode) as hearer:
        await change_tools(flowport.assembly, 3)
        assert await hearer.hear() == TOOLS
        tools = (await hearer.client.list_tools()).tools

    assert len(tools) == 10


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_is_said_when_the_list_is_the_same(flowport: Harness, mode: Mode) -> None:
    """Each word costs every client a reading of the list; the lists are read every ten minutes."""
    async with hearing(flowport.server, mode) as hearer:
        assert await flowport.assembly.workspace.catalogs[0].catalog.refresh()
        flowport.assembly.workspace.changes.note_list(ListKind.RESOURCES)

        assert await hearer.hear() == RESOURCES


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_changes_the_resources_and_is_updated(flowport: Harness, mode: Mode) -> None:
    """The newest runs are the list, and a run that is over is another text."""
    uri = format_run_uri("run_mine")
    async with hearing(flowport.server, mode, uri) as hearer:
        flowport.assembly.workspace.changes.note_run("run_mine", is_relisted=True)
        flowport.assembly.workspace.changes.note_run("run_other", is_relisted=False)

        assert [await hearer.hear(), await hearer.hear()] == [f"{UPDATED} {uri}", RESOURCES]


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_is_one_word_whatever_becomes_of_it(flowport: Harness, mode: Mode) -> None:
    """One client prints a line for each, another logs an error; only the new entry changes the list as it is listed."""
    async with hearing(flowport.server, mode) as hearer:
        before = await list_resources(flowport)
        await flowport.ask("text_to_picture", prompt="a lake")
        assert await hearer.hear() == RESOURCES
        listed = await list_resources(flowport)
        assert len(listed) == len(before) + 1
        run_id = (await flowport.ask("list_runs"))["runs"][0]["run_id"]
        await flowport.ask("get_run", run_id=run_id)
        await flowport.ask("cancel_run", run_id=run_id)
        await change_tools(flowport.assembly, 3)

        assert await hearer.hear() == TOOLS
        assert await list_resources(flowport) == listed


async def list_resources(flowport: Harness) -> list[t.Resource]:
    """Return the resources as a client sees them."""
    return (await flowport.client.list_resources(cache_mode="bypass")).resources


async def test_a_client_that_watches_no_more_hears_no_more(flowport: Harness) -> None:
    """It would read what it does not show."""
    async with hearing(flowport.server, "legacy", format_run_uri("run_a")) as hearer:
        unwatch = t.UnsubscribeRequest(params=t.UnsubscribeRequestParams(uri=format_run_uri("run_a")))
        await hearer.client.session.send_request(unwatch, t.EmptyResult)
        flowport.assembly.workspace.changes.note_run("run_a", is_relisted=True)

        assert await hearer.hear() == RESOURCES


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_told_is_promised(flowport: Harness, mode: Mode) -> None:
    """Clients listen only for what the server says it tells."""
    async with Client(flowport.server, mode=mode) as client:
        found = client.server_capabilities

    assert found.tools is not None
    assert found.resources is not None
    assert (found.tools.list_changed, found.resources.list_changed, found.resources.subscribe) == (True, True, True)
    assert (found.logging is None) == (mode == "auto")


async def test_a_client_that_has_left_is_forgotten(flowport: Harness) -> None:
    """A server over HTTP lives for weeks, and clients come and go."""
    announcer = flowport.server.announcer
    assert announcer is not None
    async with Client(flowport.server, mode="legacy") as one, Client(flowport.server, mode="legacy") as other:
        await one.list_tools()
        await other.list_tools()
        assert announcer.count_older() == 2

    assert announcer.count_older() == 0


async def test_a_client_that_has_stopped_reading_is_told_no_more(
    flowport: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not hold up the others, and a word that waits for ever is memory."""
    announcer = flowport.server.announcer
    assert announcer is not None
    monkeypatch.setattr("flowport.server.clients.SEND_SECONDS", 0.01)

    async def wait(self: Connection, **_: Any) -> None:
        """Wait as a full pipe does."""
        await anyio.sleep_forever()

    async with Client(flowport.server, mode="legacy") as client:
        await client.list_tools()
        assert announcer.count_older() == 1
        monkeypatch.setattr(Connection, "send_tool_list_changed", wait)
        await announcer.announce([ToolsListChanged(), ResourcesListChanged()])

        assert announcer.count_older() == 0


async def test_a_client_cannot_watch_without_end(flowport: Harness) -> None:
    """A set that a stranger fills has a size."""
    announcer = Announcer()
    connection = Connection(outbound=None, protocol_version="2025-11-25")  # type: ignore[arg-type]
    context: Any = type("Context", (), {"session": type("Session", (), {"_connection": connection})()})()
    for n in range(MAX_WATCHED + 1):
        await announcer.watch(context, t.SubscribeRequestParams(uri=f"a:{n}"))

    assert len(connection.state["flowport.watched"]) == MAX_WATCHED


async def test_before_the_first_list_nothing_is_said(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Nobody has a list that would be wrong, and a client would read its first one twice."""
    async with open_harness(sandbox, tmp_path / "person") as harness, hearing(harness.server, "legacy") as hearer:
        await change_tools(harness.assembly, 2)
        harness.assembly.workspace.changes.note_list(ListKind.RESOURCES)

        assert await hearer.hear() == RESOURCES


async def test_older_clients_may_say_how_much_log_they_want(flowport: Harness) -> None:
    """Some do so at the start and take a refusal for a broken server."""
    async with Client(flowport.server, mode="legacy") as client:
        message = t.SetLevelRequest(params=t.SetLevelRequestParams(level="info"))
        assert await client.session.send_request(message, t.EmptyResult) == t.EmptyResult()

    with pytest.raises(MCPError):
        await flowport.client.session.send_request(message, t.EmptyResult)
