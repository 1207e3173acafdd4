"""The MCP endpoint, through the official SDK's client and by hand."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.fakes.client import KEY, build_photo, write
from tests.fakes.magica.client import MAGICA_KEY, MagicaClient
from tests.fakes.magica.mcp_tools import DRY_RUN, OPERATIONS

HEADERS = {"authorization": f"Bearer {MAGICA_KEY}"}


@asynccontextmanager
async def connect(magica: MagicaClient, mode: Any = "auto") -> AsyncIterator[McpClient]:
    """Connect as any client of the SDK would."""
    url = f"{magica.sandbox.addresses.api_url}/magica/mcp"
    async with (
        httpx2.AsyncClient(headers=HEADERS, trust_env=False, timeout=60) as http,
        McpClient(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def call(client: McpClient, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return what it reported, which the text repeats."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    reported: dict[str, Any] = result.structured_content or {}
    assert [json.loads(part.model_dump()["text"]) for part in result.content] == [reported]
    return reported


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_s_client_finds_the_tools(magica: MagicaClient, mode: str) -> None:
    """It asks for the newer protocol first, and falls back to the handshake."""
    async with connect(magica, mode) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [name for name in OPERATIONS if name != "list_runs"]
    assert DRY_RUN in (tools[0].description or "")
    assert (await magica.count())["families"]["magica_mcp"] >= 3


async def test_a_call_without_values_reports_the_fields_and_starts_nothing(magica: MagicaClient) -> None:
    """The only documented way to a workflow's inputs; keyed node id, then field id."""
    graph = await magica.find("Retro Poster")
    async with connect(magica) as client:
        reported = await call(client, "start_run", workflow="retro-poster")
    fields = {field["id"]: field for field in graph["nodes"][0]["data"]["fields"]}
    assert reported == {
        "workflowId": "retro-poster",
        "name": "Retro Poster",
        "fields": {graph["nodes"][0]["id"]: fields},
    }
    counts = await magica.count()
    assert (counts["run"], counts["runs_accepted"]) == (0, 0)


async def test_a_call_with_values_starts_once(magica: MagicaClient) -> None:
    """It is counted as the start that it is."""
    graph = await magica.find("Text to Picture")
    async with connect(magica) as client:
        values = {graph["nodes"][0]["id"]: {"prompt": "hills"}}
        run_id = (await call(client, "start_run", workflow="text to pic", values=values))["runId"]
        await magica.sandbox.end(run_id)
        reported = await call(client, "get_run_status", runId=run_id, runType="workflow")
    run = await magica.get(f"/v1/runs/{run_id}")
    assert (reported["status"], reported["assets"]) == ("COMPLETED", [{"url": run["response"]["result"][0]}])
    counts = await magica.count()
    assert (counts["run"], counts["runs_accepted"]) == (1, 1)


async def test_without_its_sentence_start_run_starts(magica: MagicaClient) -> None:
    """A client that asked for fields all the same would have paid for a run."""
    await magica.switch(has_dry_run=False)
    async with connect(magica) as client:
        assert DRY_RUN not in ((await client.list_tools()).tools[0].description or "")
        reported = await call(client, "start_run", workflow="Always Fails")
    assert reported["status"] == "QUEUED"
    counts = await magica.count()
    assert (counts["run"], counts["runs_accepted"]) == (1, 1)


@pytest.mark.parametrize("source", ["base64", "data_uri", "url"])
async def test_an_uploaded_file_has_a_public_url_that_runs_take(magica: MagicaClient, source: str) -> None:
    """Whichever way it comes."""
    data = write(build_photo())
    text = base64.b64encode(data).decode()
    async with connect(magica) as client:
        first = (await call(client, "upload_file", base64=text))["url"]
        given = {"base64": text, "data_uri": f"data:image/png;base64,{text}", "url": first}[source]
        url = (await call(client, "upload_file", **{source: given}))["url"]
    answer = await magica.sandbox.http.get(url)
    assert (answer.content, answer.headers["content-type"]) == (data, "image/png")
    assert url.startswith(f"{magica.sandbox.addresses.files_url}/library/")
    assert (await magica.finish("Photo to Pencil Sketch", photo=url))["status"] == "COMPLETED"
    assert (await magica.count())["upload"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one of url, data_uri, base64"),
        ({"url": "https://example.com/a", "base64": "AAAA"}, "exactly one of"),
        ({"url": 3}, "expected string"),
        ({"url": "https://example.com/a.png"}, "nothing but its own files"),
        ({"url": "file:///etc/passwd"}, "HTTP_URL_REQUIRED"),
        ({"data_uri": "AAAA"}, "no data URI"),
        ({"base64": "*"}, "not valid base64"),
        ({"base64": "A" * 26_666_680}, "larger than 20 MB"),
    ],
)
async def test_what_cannot_be_uploaded_is_refused(magica: MagicaClient, arguments: dict[str, Any], words: str) -> None:
    """As a result of the tool, with a sentence."""
    async with connect(magica) as client:
        result = await client.call_tool("upload_file", arguments)
    assert result.is_error
    assert words in str((result.structured_content or {})["error"])


async def test_a_link_that_is_gone_cannot_be_uploaded(magica: MagicaClient) -> None:
    """Of the sandbox's own links too."""
    url = f"{magica.sandbox.addresses.files_url}/library/nosuch"
    async with connect(magica) as client:
        result = await client.call_tool("upload_file", {"url": url})
    assert (result.is_error, result.structured_content) == (True, {"error": "Not found"})


async def test_a_run_is_cancelled(magica: MagicaClient) -> None:
    """Here, unlike over REST, cancelling is documented."""
    await magica.post("/_sandbox/next_run", {"pending_seconds": 3000})
    run_id = await magica.start("Text to Picture", prompt="hills")
    async with connect(magica) as client:
        assert await call(client, "cancel_run", runId=run_id) == {"runId": run_id, "status": "CANCELED"}
        again = await client.call_tool("cancel_run", {"runId": run_id})
        assert await call(client, "get_balance") == await magica.get("/v1/credits/balance")
    assert (again.is_error, (again.structured_content or {})["code"]) == (True, "RUN_NOT_CANCELABLE")
    assert (await magica.get("/v1/credits/balance"))["availableBalance"] == 1_000_000_000
    assert (await magica.count())["cancel"] == 2


@pytest.mark.parametrize("lists", ["paged", "array", "cursor"])
async def test_lists_and_graphs_are_those_of_the_api(magica: MagicaClient, lists: str) -> None:
    """Structured content is always an object."""
    system = (await magica.get("/v1/system-workflows"))["items"]
    own = (await magica.get("/v1/workflows"))["items"]
    graph = await magica.find("Retro Poster")
    await magica.switch(lists=lists)
    async with connect(magica) as client:
        assert (await call(client, "list_system_workflows", pageSize=100))["items"] == system
        assert (await call(client, "list_workflows"))["items"] == own
        assert await call(client, "get_workflow", workflow="RETRO POSTER") == graph


async def test_a_graph_that_is_not_served_is_not_served_here(magica: MagicaClient) -> None:
    """Then the fields are reported by `start_run` alone."""
    own = (await magica.find("Always Fails"))["id"]
    await magica.switch(graph="missing", is_text=True)
    run_id = str((await magica.post("/v1/runs", {"workflowId": own}))["runId"])
    async with connect(magica) as client:
        missing = await client.call_tool("get_workflow", {"workflow": "retro-poster"})
        assert len((await call(client, "start_run", workflow="retro-poster"))["fields"]) == 1
        assert (await call(client, "get_run_status", runId=run_id))["assets"] == []
    assert missing.is_error


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("start_run", {}, "Required"),
        ("start_run", {"workflow": "nosuch"}, "Workflow not found"),
        ("start_run", {"workflow": "retro-poster", "values": {"x": {}}}, "Unrecognized key"),
        ("get_run_status", {"runId": "x"}, "Run not found"),
        ("cancel_run", {"runId": "x"}, "Run not found"),
    ],
)
async def test_a_wrong_call_is_an_error_of_the_tool(
    magica: MagicaClient, name: str, arguments: dict[str, Any], words: str
) -> None:
    """The protocol goes on."""
    async with connect(magica) as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error
    assert words in str((result.structured_content or {})["error"])


async def test_tools_may_be_missing(magica: MagicaClient) -> None:
    """Not every key has every tool."""
    await magica.switch(missing_tools=["upload_file", "cancel_run"])
    async with connect(magica) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == set(OPERATIONS) - {"upload_file", "cancel_run", "list_runs"}
        with pytest.raises(MCPError, match="Unknown tool: 'upload_file'"):
            await client.call_tool("upload_file", {"base64": "AAAA"})


async def test_the_endpoint_may_be_missing(magica: MagicaClient) -> None:
    """404, whatever is asked."""
    await magica.switch(has_mcp=False)
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True):
        async with connect(magica):
            pass
    assert (await magica.ask("POST", "/mcp", json={})).status_code == 404


@pytest.mark.parametrize("key", ["", f"Bearer {KEY}"])
async def test_the_endpoint_wants_the_key(magica: MagicaClient, key: str) -> None:
    """The same as the API's."""
    answer = await magica.sandbox.http.post("/magica/mcp", headers={"authorization": key}, json={})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ([], 400, -32600),
        ({"id": 1}, 400, -32600),
        ({"id": 1, "method": "resources/list"}, 200, -32601),
        ({"id": 1, "method": "tools/call"}, 200, -32602),
        ({"id": 1, "method": "tools/call", "params": {"name": "nosuch", "arguments": 3}}, 200, -32602),
    ],
)
async def test_what_is_not_a_request_is_an_error_of_the_protocol(
    magica: MagicaClient, message: Any, status: int, code: int
) -> None:
    """By its numbers."""
    answer = await magica.ask("POST", "/mcp", json=message)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_the_handshake_agrees_on_a_version(magica: MagicaClient) -> None:
    """The client's where it is known; a notification is only taken."""
    for wanted, agreed in (("2025-06-18", "2025-06-18"), ("2031-01-01", "2025-11-25")):
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": wanted}}
        assert (await magica.post("/mcp", message))["result"]["protocolVersion"] == agreed
    bare = await magica.post("/mcp", {"id": "a", "method": "initialize"})
    assert (bare["id"], bare["result"]["protocolVersion"]) == ("a", "2025-11-25")
    noted = await magica.ask("POST", "/mcp", json={"method": "notifications/initialized"})
    assert (noted.status_code, noted.content) == (202, b"")
    assert (await magica.post("/mcp", {"id": 1, "method": "ping"}))["result"] == {}


async def test_a_start_over_mcp_can_be_broken_as_any_start(magica: MagicaClient) -> None:
    """A fault that waits for starts of one app finds it, however it comes."""
    found = await magica.find("Always Fails")
    await magica.post("/_sandbox/faults", {"operation": "run", "fault": "drop", "app": found["id"]})
    message = {"id": 1, "method": "tools/call", "params": {"name": "start_run", "arguments": {"workflow": found["id"]}}}
    assert "fields" in (await magica.post("/mcp", message))["result"]["structuredContent"]
    message["params"] = {"name": "start_run", "arguments": {"workflow": found["id"], "values": {}}}
    with pytest.raises(httpx2.RemoteProtocolError):
        await magica.ask("POST", "/mcp", json=message)
    assert (await magica.count())["runs_accepted"] == 1
