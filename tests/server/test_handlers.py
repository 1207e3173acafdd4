"""The protocol's side of the server: what must hold whatever a tool does."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import mcp.types as t
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from flowport.actions.tenants import Tenants
from flowport.domain.errors import ConfigurationError
from flowport.runtime.background import Changes, FirstList
from flowport.runtime.clock import SystemClock
from flowport.runtime.exchange import Exchange
from flowport.server.clients import McpCaller
from flowport.server.handlers import Handlers, build_server, build_stopped_server
from flowport.server.results import OUR_MISTAKE
from tests.fakes.client import open_sandbox
from tests.support.harness import MODES, Harness, Mode, open_harness

ERROR = ConfigurationError("FLOWPORT_X", "is wrong", "Correct it.")


@pytest.fixture(params=MODES)
async def flowport(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport with a client of each era."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person", mode=request.param) as harness:
        yield harness


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_with_invalid_settings_answers_every_call_with_the_reason(mode: Mode) -> None:
    """Exiting would only show that the server has disconnected."""
    async with Client(build_stopped_server(ERROR), mode=mode) as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("get_balance", {})

    assert len(tools) == 7
    assert result.structured_content == {"error": "ConfigurationError", "message": str(ERROR)}


async def test_a_stopped_server_accepts_a_log_level() -> None:
    """A client that sets one at once and gives up on an error would never show what is wrong."""
    async with Client(build_stopped_server(ERROR), mode="legacy") as client:
        with pytest.warns(MCPDeprecationWarning):
            await client.set_logging_level("info")


class Broken:
    """A workspace whose every part fails in an unforeseen way."""

    def __getattr__(self, name: str) -> Any:
        """Fail with a text that must not be shown."""
        raise ZeroDivisionError(f"secret {name}")


@pytest.mark.parametrize("mode", MODES)
async def test_internal_errors_do_not_reach_the_client(mode: Mode, caplog: pytest.LogCaptureFixture) -> None:
    """The text of an unhandled exception would reach older clients verbatim, secrets included."""
    workspace: Any = type(
        "Workspace",
        (),
        {
            "clock": type("Clock", (), {"monotonic": lambda self: 0.0})(),
            "catalogs": (),
            "store": Broken(),
            "runner": Broken(),
            "changes": Changes(SystemClock()),
        },
    )()
    async with Client(build_server(Tenants(workspace), anyio.CapacityLimiter(1), FirstList()), mode=mode) as client:
        result = await client.call_tool("list_runs", {})
        with pytest.raises(MCPError) as caught:
            await client.read_resource("flowport://runs/run_x")

    assert result.structured_content == {"error": "InternalError", "message": OUR_MISTAKE}
    assert "secret" not in str(caught.value)
    assert "secret get_runs" in caplog.text


async def test_an_unavailable_store_is_reported_in_a_sentence(flowport: Harness) -> None:
    """The user can correct a full disk, so the message says so."""
    await flowport.assembly.workspace.store.close()

    facts = await flowport.ask("list_runs")
    with pytest.raises(MCPError, match="record of runs cannot be used"):
        await flowport.client.list_resources()
    assert "record of runs cannot be used" in facts["message"]


async def test_runs_are_listed_as_resources(flowport: Harness) -> None:
    """Runs are listed as resources, because people attach a result to a later question."""
    run_id = (await flowport.ask("text_to_picture", prompt="a lake"))["run_id"]

    resources = (await flowport.client.list_resources()).resources
    templates = (await flowport.client.list_resource_templates()).resource_templates
    assert [str(resource.uri) for resource in resources] == [f"flowport://runs/{run_id}"]
    assert [template.uri_template for template in templates] == [
        "flowport://runs/{run_id}",
        "flowport://runs/{run_id}/outputs/{n}",
        "flowport://batches/{batch_id}",
        "flowport://apps/{app}",
    ]


async def test_instructions_fit_every_client(flowport: Harness) -> None:
    """The instructions are under two kilobytes, because some clients truncate them there."""
    assert 0 < len((flowport.client.instructions or "").encode()) <= 2048


async def test_progress_only_increases_and_never_delays_a_run() -> None:
    """The protocol requires increasing values; a client that stops reading would otherwise block us."""
    sent: list[tuple[float, str | None]] = []

    class Session:
        """A client that reads two notifications and then stops."""

        client_params = None

        async def report_progress(self, progress: float, total: float | None, message: str | None) -> None:
            """Accept one, or block forever."""
            assert total is None
            if len(sent) == 2:
                await anyio.sleep_forever()
            sent.append((progress, message))

    context: Any = SimpleNamespace(session=Session(), request=Exchange())
    caller = McpCaller(context, 0.0)
    await caller.report(1.0, "a")
    await caller.report(0.5, "b")
    with anyio.fail_after(60):
        await caller.report(2.0, "never read")

    assert [message for _, message in sent] == ["a", "b"]
    assert sent[0][0] < sent[1][0]


async def test_both_eras_get_the_cache_hints_of_their_revision(flowport: Harness) -> None:
    """Since 2026-07-28 lists must say how long and for whom they may be cached."""
    listed = await flowport.client.list_tools()

    if flowport.client.protocol_version == "2026-07-28":
        assert (listed.ttl_ms, listed.cache_scope) == (60_000, "private")
    assert isinstance(listed, t.ListToolsResult)


async def test_background_work_begins_after_the_first_list_was_written() -> None:
    """A refresh that begins while the list is still being written delays it by the import of the HTTP library."""
    first_list, exchange = FirstList(), Exchange(1)
    workspace: Any = SimpleNamespace(
        clock=SystemClock(),
        wait_for_catalogues=anyio.lowlevel.checkpoint,
        get_tools=list,
        tool_order=SimpleNamespace(note_listed=lambda _: None),
        changes=Changes(SystemClock()),
        catalogs=(),
    )
    context: Any = SimpleNamespace(request=exchange, session=SimpleNamespace(client_capabilities=None))

    await Handlers(Tenants(workspace), anyio.CapacityLimiter(1), first_list).list_tools(context, None)

    assert first_list.asked.is_set()
    assert not first_list.written.is_set()
    exchange.note_written()
    assert first_list.written.is_set()
