"""MCP Apps: clients that declare the extension get the page and the tools that name it; others get what they had."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client import advertise

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.server.apps import EXTENSION, MIME_TYPE, PAGE_URI, WITHOUT_PAGE
from tests.fakes.client import open_sandbox
from tests.support.children import HELLO, open_child
from tests.support.harness import MODES, Harness, Mode, open_harness

META = {"ui": {"resourceUri": "ui://flowport/run.html"}}
WITHOUT = {"find_apps", "list_runs", "cancel_run", "get_balance"}
SETTINGS = {"mimeTypes": [MIME_TYPE]}


@pytest.fixture
async def flowport(tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport on the sandbox."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


@asynccontextmanager
async def open_client(flowport: Harness, mode: Mode, settings: dict[str, Any] | None) -> AsyncIterator[Client]:
    """Connect a client that declares the extension with some settings, or does not declare it."""
    declared = None if settings is None else [advertise(EXTENSION, settings)]
    async with Client(flowport.server, mode=mode, extensions=declared) as client:
        yield client


async def list_tools(client: Client) -> dict[str, dict[str, Any]]:
    """Return the tools by name, as they come."""
    tools = (await client.list_tools()).tools
    return {tool.name: tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools}


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_with_apps_gets_the_page_of_each_tool_about_a_run(flowport: Harness, mode: Mode) -> None:
    """`_meta.ui.resourceUri` of app tools, get_run and those that start runs, and of no other tool."""
    async with open_client(flowport, mode, SETTINGS) as client:
        tools = await list_tools(client)
        listed = (await client.list_resources()).resources

    assert {name for name, tool in tools.items() if "_meta" not in tool} == WITHOUT
    assert {json.dumps(tool["_meta"]) for tool in tools.values() if "_meta" in tool} == {json.dumps(META)}
    assert {"get_run", "run_batch", "text_to_picture"} <= tools.keys() - WITHOUT
    assert [(one.uri, one.mime_type) for one in listed if one.uri.startswith("ui:")] == [(PAGE_URI, MIME_TYPE)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", [None, {}, {"mimeTypes": ["text/html"]}, {"mimeTypes": None}])
async def test_a_client_without_apps_gets_what_it_had(
    flowport: Harness, mode: Mode, settings: dict[str, Any] | None
) -> None:
    """No byte of its tool list or of its resources is about pages."""
    async with open_client(flowport, mode, settings) as client:
        tools = await list_tools(client)
        listed = (await client.list_resources()).resources

    assert not any("_meta" in tool for tool in tools.values())
    assert not any(one.uri.startswith("ui:") for one in listed)


@pytest.mark.parametrize("mode", MODES)
async def test_the_page_is_read_like_any_resource(flowport: Harness, mode: Mode) -> None:
    """One file with everything in it: it loads nothing, so it asks the host for no origin."""
    async with open_client(flowport, mode, SETTINGS) as client:
        (content,) = (await client.read_resource(PAGE_URI)).contents
        page = content.model_dump(by_alias=True, exclude_none=True, mode="json")

    assert (page["uri"], page["mimeType"]) == (PAGE_URI, MIME_TYPE)
    assert page["_meta"] == {"ui": {"prefersBorder": False, "permissions": {"clipboardWrite": {}}}}
    assert page["text"].startswith("<!doctype html>")
    assert '<script type="module">' in page["text"]
    assert " src=" not in page["text"].partition("<script")[0]


def test_a_legacy_host_over_stdio_declares_it_in_its_greeting(tmp_path: Path) -> None:
    """As desktop hosts of 2025-11-25 do."""
    hello = {**HELLO, "capabilities": {"extensions": {EXTENSION: SETTINGS}}}
    with open_child(tmp_path / "f") as child:
        child.ask("initialize", hello)
        child.send("notifications/initialized", is_request=False)
        tools = child.ask("tools/list")["tools"]

    assert {tool["name"] for tool in tools if tool.get("_meta") == META} == {tool["name"] for tool in tools} - WITHOUT


def test_the_tools_without_a_page_are_built_in() -> None:
    """They are named and not imported, so that the first list does not load what answers them."""
    assert set(BUILT_IN_TOOLS) > WITHOUT_PAGE
