"""Clients of both protocol eras are notified of changes, and only of changes."""

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
from mcp.server.subscriptions import ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from flowport.bootstrap import Assembly
from flowport.domain.models import LOCAL_OWNER
from flowport.domain.uris import format_run_uri
from flowport.runtime.background import ListKind
from flowport.server.announcer import MAX_URI_CHARACTERS, MAX_WATCHED, Announcer
from flowport.server.server import FlowportServer
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.support.harness import MODES, Harness, Mode, open_harness
from tests.support.scripted import wait_until

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
    """Gather list changes for a moment only; `tests/runtime/test_change_feed.py` checks the real interval."""
    monkeypatch.setattr("flowport.runtime.background.LIST_SECONDS", 0.5)


@asynccontextmanager
async def listening(server: FlowportServer, mode: Mode, uri: str = "") -> AsyncIterator["Listener"]:
    """Connect a client of an era that subscribes to all changes and to one resource."""
    send, receive = anyio.create_memory_object_stream[str](100)

    async def record(message: Any) -> None:
        """Record the notifications of the connection; a newer client's stream is received separately."""
        if mode != "legacy":
            return
        if isinstance(message, t.ToolListChangedNotification | t.ResourceListChangedNotification):
            send.send_nowait(message.method)
        if isinstance(message, t.ResourceUpdatedNotification):
            send.send_nowait(f"{message.method} {message.params.uri}")

    async with send, receive, Client(server, mode=mode, message_handler=record) as client:
        listener = Listener(client, receive)
        if mode == "legacy":
            if uri:
                watch = t.SubscribeRequest(params=t.SubscribeRequestParams(uri=uri))
                await client.session.send_request(watch, t.EmptyResult)
            yield listener
            return
        async with anyio.create_task_group() as group:
            await group.start(_forward, client, send, uri)
            yield listener
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


class Listener:
    """A client and the notifications that it received."""

    def __init__(self, client: Client, received: anyio.streams.memory.MemoryObjectReceiveStream[str]) -> None:
        self.client = client
        self._received = received

    async def receive(self) -> str:
        """Return the next notification; a missing one is a failure."""
        with anyio.fail_after(60):
            return await self._received.receive()


async def change_tools(assembly: Assembly, count: int) -> None:
    """List a number of apps from now on."""
    catalog = assembly.workspace.catalogs[0].catalog
    catalog._max_tools = count
    assert await catalog.refresh()


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_each_era_is_notified_of_changed_tools(flowport: Harness, mode: Mode) -> None:
    """Without a notification an app made this morning could not be used until the client is restarted."""
    async with listening(flowport.server, mode) as listener:
        await change_tools(flowport.assembly, 3)
        assert await listener.receive() == TOOLS
        tools = (await listener.client.list_tools()).tools

    assert len(tools) == 10


@pytest.mark.parametrize("mode", MODES)
async def test_an_unchanged_list_sends_no_notification(flowport: Harness, mode: Mode) -> None:
    """Each notification makes every client read the list again; the catalogue is refreshed every ten minutes."""
    async with listening(flowport.server, mode) as listener:
        assert await flowport.assembly.workspace.catalogs[0].catalog.refresh()
        flowport.assembly.workspace.changes.note_list(ListKind.RESOURCES)

        assert await listener.receive() == RESOURCES


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_changes_the_resources_and_is_updated(flowport: Harness, mode: Mode) -> None:
    """A new run changes the resource list, and a finished run changes its own resource."""
    uri = format_run_uri("run_mine")
    async with listening(flowport.server, mode, uri) as listener:
        flowport.assembly.workspace.changes.note_run("run_mine", owner=LOCAL_OWNER, is_relisted=True)
        flowport.assembly.workspace.changes.note_run("run_other", owner=LOCAL_OWNER, is_relisted=False)

        assert [await listener.receive(), await listener.receive()] == [f"{UPDATED} {uri}", RESOURCES]


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_is_one_list_change_whatever_its_state(flowport: Harness, mode: Mode) -> None:
    """One client prints a line for each notification, another logs an error; only the new entry changes the list."""
    async with listening(flowport.server, mode) as listener:
        before = await list_resources(flowport)
        await flowport.ask("text_to_picture", prompt="a lake")
        assert await listener.receive() == RESOURCES
        listed = await list_resources(flowport)
        assert len(listed) == len(before) + 1
        run_id = (await flowport.ask("list_runs"))["runs"][0]["run_id"]
        await flowport.ask("get_run", run_id=run_id)
        await flowport.ask("cancel_run", run_id=run_id)
        await change_tools(flowport.assembly, 3)

        assert await listener.receive() == TOOLS
        assert await list_resources(flowport) == listed


async def list_resources(flowport: Harness) -> list[t.Resource]:
    """Return the resources as a client sees them."""
    return (await flowport.client.list_resources(cache_mode="bypass")).resources


async def test_an_unsubscribed_client_is_not_notified(flowport: Harness) -> None:
    """After unsubscribing, a client would read what it does not show."""
    async with listening(flowport.server, "legacy", format_run_uri("run_a")) as listener:
        unwatch = t.UnsubscribeRequest(params=t.UnsubscribeRequestParams(uri=format_run_uri("run_a")))
        await listener.client.session.send_request(unwatch, t.EmptyResult)
        flowport.assembly.workspace.changes.note_run("run_a", owner=LOCAL_OWNER, is_relisted=True)

        assert await listener.receive() == RESOURCES


@pytest.mark.parametrize("mode", MODES)
async def test_the_sent_notifications_are_declared(flowport: Harness, mode: Mode) -> None:
    """Clients subscribe only to the notifications that the server declares."""
    async with Client(flowport.server, mode=mode) as client:
        found = client.server_capabilities

    assert found.tools is not None
    assert found.resources is not None
    assert (found.tools.list_changed, found.resources.list_changed, found.resources.subscribe) == (True, True, True)
    assert (found.logging is None) == (mode == "auto")


async def test_a_disconnected_client_is_forgotten(flowport: Harness) -> None:
    """A server over HTTP lives for weeks, and clients connect and disconnect."""
    announcer = flowport.server.announcer
    assert announcer is not None
    async with Client(flowport.server, mode="legacy") as one, Client(flowport.server, mode="legacy") as other:
        await one.list_tools()
        await other.list_tools()
        assert announcer.count_older() == 2

    assert announcer.count_older() == 0


async def test_a_client_that_has_stopped_reading_is_not_notified(
    flowport: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not delay the others, and a notification that waits without limit uses memory."""
    announcer = flowport.server.announcer
    assert announcer is not None
    monkeypatch.setattr("flowport.server.announcer.SEND_SECONDS", 0.01)

    async def wait(self: Connection, **_: Any) -> None:
        """Wait, as a full pipe does."""
        await anyio.sleep_forever()

    async with Client(flowport.server, mode="legacy") as client:
        await client.list_tools()
        assert announcer.count_older() == 1
        monkeypatch.setattr(Connection, "send_tool_list_changed", wait)
        flowport.assembly.workspace.changes.note_list(ListKind.TOOLS)
        await wait_until(lambda: announcer.count_older() == 0)


async def test_subscriptions_of_a_client_are_limited(flowport: Harness) -> None:
    """A set that is filled from outside has a maximum size, and so has each of its members."""
    announcer = Announcer()
    connection = Connection(outbound=None, protocol_version="2025-11-25")  # type: ignore[arg-type]
    session = type("Session", (), {"_connection": connection})()
    context: Any = type("Context", (), {"session": session, "request": None})()
    await announcer.watch(context, t.SubscribeRequestParams(uri="a" * (MAX_URI_CHARACTERS + 1)))
    for n in range(MAX_WATCHED + 1):
        await announcer.watch(context, t.SubscribeRequestParams(uri=f"a:{n}"))

    assert connection.state["flowport.watched"] == {f"a:{n}" for n in range(MAX_WATCHED)}


async def test_nothing_is_sent_before_the_first_list(sandbox: SandboxClient, tmp_path: Path) -> None:
    """No client has an outdated list yet, and a notification would make it read its first one twice."""
    async with open_harness(sandbox, tmp_path / "person") as harness, listening(harness.server, "legacy") as listener:
        await change_tools(harness.assembly, 2)
        harness.assembly.workspace.changes.note_list(ListKind.RESOURCES)

        assert await listener.receive() == RESOURCES


async def test_older_clients_may_set_the_log_level(flowport: Harness) -> None:
    """Some set it at the start and take a refusal for a broken server."""
    async with Client(flowport.server, mode="legacy") as client:
        message = t.SetLevelRequest(params=t.SetLevelRequestParams(level="info"))
        assert await client.session.send_request(message, t.EmptyResult) == t.EmptyResult()

    with pytest.raises(MCPError):
        await flowport.client.session.send_request(message, t.EmptyResult)
