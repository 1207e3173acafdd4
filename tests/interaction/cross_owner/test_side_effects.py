"""What one owner does reaches no other one: notifications, requests in progress, and the memory of connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import mcp.types as t
import pytest
from mcp import Client
from mcp.server.subscriptions import ResourceUpdated, ToolsListChanged

from flowport.domain.uris import format_run_uri
from flowport.runtime.background import ListKind
from tests.interaction.cross_owner.world import ACCEPTED, TOOL
from tests.support.children import HELLO
from tests.support.harness import MODES, Mode
from tests.support.scripted import wait_until
from tests.support.tenants import OWN_KEY, SHARED_KEY, Tenancy, get_facts, open_provider, open_tenancy

TOOLS, RESOURCES = "tools", "resources"


@pytest.fixture
async def tenancy(tmp_path: Path) -> AsyncIterator[Tenancy]:
    """Serve people with a shared key and a key of one's own."""
    async with (
        open_provider(SHARED_KEY, OWN_KEY) as (keyed, address),
        open_tenancy(keyed, address, tmp_path / "server") as opened,
    ):
        yield opened


class Recorder:
    """What a client is notified of, in order."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def wait_for(self, last: str) -> list[str]:
        """Return everything that was received up to this one; nothing else comes after it, because changes keep their order."""
        await wait_until(lambda: last in self.received)
        return self.received

    async def note(self, message: Any) -> None:
        """Keep a notification of the older eras."""
        if isinstance(message, t.ToolListChangedNotification):
            self.received.append(TOOLS)
        elif isinstance(message, t.ResourceListChangedNotification):
            self.received.append(RESOURCES)
        elif isinstance(message, t.ResourceUpdatedNotification):
            self.received.append(str(message.params.uri))

    async def follow(
        self, client: Client, uris: list[str], *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the events of a stream."""
        async with client.listen(
            tools_list_changed=True, resources_list_changed=True, resource_subscriptions=uris
        ) as events:
            task_status.started()
            async for event in events:
                if isinstance(event, ResourceUpdated):
                    self.received.append(str(event.uri))
                else:
                    self.received.append(TOOLS if isinstance(event, ToolsListChanged) else RESOURCES)


@asynccontextmanager
async def listening(
    tenancy: Tenancy, owner: str, mode: Mode, uris: list[str], key: str = ""
) -> AsyncIterator[Recorder]:
    """Let a person listen for every change of the lists and of these resources."""
    recorder = Recorder()
    if mode == "legacy":
        async with tenancy.open_client(owner, mode, key=key, message_handler=recorder.note) as client:
            for uri in uris:
                watch = t.SubscribeRequest(params=t.SubscribeRequestParams(uri=uri))
                await client.session.send_request(watch, t.EmptyResult)
            await client.list_tools()
            yield recorder
        return
    async with tenancy.open_client(owner, mode, key=key) as client, anyio.create_task_group() as tasks:
        await client.list_tools()
        await tasks.start(recorder.follow, client, uris)
        yield recorder
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("mode", MODES)
async def test_only_its_owner_is_notified_of_a_run(tenancy: Tenancy, mode: Mode) -> None:
    """A subscription to another owner's run is one to a run that does not exist, also when the run changes."""
    changes = tenancy.assembly.workspace.changes
    theirs, ours = format_run_uri("run_of_anna"), format_run_uri("run_of_bert")
    async with (
        listening(tenancy, "bert", mode, [theirs, ours]) as bert,
        listening(tenancy, "anna", mode, [theirs, ours]) as anna,
    ):
        changes.note_run("run_of_anna", owner="anna", is_relisted=False)
        changes.note_run("run_of_bert", owner="bert", is_relisted=False)

        assert await bert.wait_for(ours) == [ours]
        assert await anna.wait_for(theirs) == [theirs]


@pytest.mark.parametrize("mode", MODES)
async def test_a_new_run_changes_the_list_of_its_owner_alone(tenancy: Tenancy, mode: Mode) -> None:
    """How often a colleague runs something, and when, is nothing that others learn."""
    changes, client = tenancy.assembly.workspace.changes, await tenancy.connect("anna")
    async with listening(tenancy, "bert", mode, []) as bert, listening(tenancy, "anna", mode, []) as anna:
        await client.call_tool(TOOL, {"prompt": "a lake"})
        assert await anna.wait_for(RESOURCES) == [RESOURCES]
        changes.note_list(ListKind.TOOLS)

        assert await bert.wait_for(TOOLS) == [TOOLS]


@pytest.mark.parametrize("mode", MODES)
async def test_changed_tools_are_announced_to_those_who_use_the_account(tenancy: Tenancy, mode: Mode) -> None:
    """Others would read their whole list again for nothing, and learn that a key of another person is in use."""
    changes = tenancy.assembly.workspace.changes
    async with (
        listening(tenancy, "cara", mode, [], OWN_KEY) as cara,
        listening(tenancy, "bert", mode, []) as bert,
    ):
        (shared,) = tenancy.assembly.tenants.account_ids
        own = await tenancy.assembly.tenants.open_own_account("magnific", OWN_KEY, "anna")
        changes.note_list(ListKind.TOOLS, account_id=own)
        assert await cara.wait_for(TOOLS) == [TOOLS]
        changes.note_list(ListKind.TOOLS, account_id=shared)
        changes.note_list(ListKind.RESOURCES)
        assert sorted(await bert.wait_for(RESOURCES)) == [RESOURCES, TOOLS]

        assert sorted(await cara.wait_for(RESOURCES)) == [RESOURCES, TOOLS]


async def test_equal_requests_of_two_owners_behind_one_proxy_are_two(tenancy: Tenancy) -> None:
    """Their programs have the same name, address and request ids, so only the owner distinguishes them."""
    sandbox = tenancy.provider.accounts[SHARED_KEY]
    clients = [await tenancy.connect(owner) for owner in ("anna", "bert")]
    for _ in clients:
        await sandbox.switch("next_run", hold=True)
    found: list[str] = []

    async def call(client: Client) -> None:
        """Call an app."""
        found.append(get_facts(await client.call_tool(TOOL, {"prompt": "the same lake"}))["run_id"])

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(call, client)
        await wait_until(lambda: len(list_held(tenancy)) == 2)
        for provider_run_id in list_held(tenancy):
            await sandbox.http.post(f"/_sandbox/runs/{provider_run_id}", json={"release": True})

    assert len(set(found)) == 2


def list_held(tenancy: Tenancy) -> list[str]:
    """Return the provider's ids of the runs that it has."""
    entries = tenancy.assembly.workspace.waiter.live_runs._entries.values()
    return [entry.run.provider_run_id for entry in entries if entry.run.provider_run_id]


async def test_a_cancellation_reaches_the_requests_of_its_own_session_alone(tenancy: Tenancy) -> None:
    """Request ids are small numbers, so another owner's are easily met."""
    sandbox = tenancy.provider.accounts[SHARED_KEY]
    await sandbox.switch("next_run", hold=True)
    sessions = {}
    for owner in ("anna", "bert"):
        http = await tenancy.open_http(owner)
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        answer = await http.post(tenancy.url, json=hello, headers=ACCEPTED)
        sessions[owner] = (http, {**ACCEPTED, "mcp-session-id": answer.headers["mcp-session-id"]})
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await http.post(tenancy.url, json=ready, headers=sessions[owner][1])
    texts: list[str] = []

    async def call() -> None:
        """Call an app as the first owner."""
        http, headers = sessions["anna"]
        params = {"name": TOOL, "arguments": {"prompt": "a long lake"}}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        texts.append((await http.post(tenancy.url, json=message, headers=headers)).text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await wait_until(lambda: bool(list_held(tenancy)))
        (live,) = list_held(tenancy)
        http, headers = sessions["bert"]
        for request_id in (7, "7"):
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
            await http.post(tenancy.url, json=cancelled, headers=headers)
            foreign = {**headers, "mcp-session-id": sessions["anna"][1]["mcp-session-id"]}
            assert (await http.post(tenancy.url, json=cancelled, headers=foreign)).status_code == 404
        await sandbox.http.post(f"/_sandbox/runs/{live}", json={"release": True})

    assert "succeeded" in texts[0]


async def test_what_is_remembered_of_a_connection_is_its_owners(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`last` and the reminder of undelivered runs are answers to one owner."""
    monkeypatch.setattr("flowport.server.handlers.REMINDER_SECONDS", 0.0)
    anna, bert = await tenancy.connect("anna"), await tenancy.connect("bert")
    batch = get_facts(await anna.call_tool("run_batch", {"app": TOOL, "rows": [{"prompt": "a lake"}], "wait": False}))
    await wait_until(lambda: tenancy.assembly.workspace.waiter.live_runs.get(batch["run_id"]) is None)
    reminded = get_facts(await bert.call_tool("get_balance", {}))
    last = await bert.call_tool("get_run", {"run_id": "last"})
    own = get_facts(await anna.call_tool("get_balance", {}))

    assert "unseen" not in reminded
    assert last.is_error
    assert batch["run_id"] in own["unseen"]
