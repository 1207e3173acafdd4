"""Drive a Python client over HTTP: `python client.py KIND URL CERTIFICATE TOKEN`, with one JSON object a line.

KIND is `auto` or `legacy` for the official SDK, in the newer and the older era, or `fastmcp`. It does not import the project,
because fastmcp lives in an environment of its own.
"""

import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread

Progress = Callable[[float, float | None, str | None], Awaitable[None]]
TIMEOUT_SECONDS = 60


def report(event: str, **facts: Any) -> None:
    """Print what happened."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


async def report_progress(_: float, __: float | None, message: str | None) -> None:
    """Print a progress notification."""
    report("progress", message=message)


async def receive(message: Any) -> None:
    """Print a notification about a resource."""
    found = getattr(message, "root", message)
    if getattr(found, "method", "") == "notifications/resources/updated":
        report("updated", uri=str(found.params.uri))


@dataclass
class Official:
    """The official SDK."""

    client: Any
    is_modern: bool

    async def list_tools(self) -> list[str]:
        """Return the names of the tools."""
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool and return its structured answer."""
        answer = await self.client.call_tool(tool, arguments, progress_callback=report_progress)
        return answer.structured_content

    async def read(self, uri: str) -> Any:
        """Return the first content of a resource."""
        return (await self.client.read_resource(uri)).contents[0]

    async def watch(self, uri: str, ready: Callable[[], None]) -> None:
        """Report each change of a resource, until it is cancelled."""
        if not self.is_modern:
            await self.client.subscribe_resource(uri)
            ready()
            return
        async with self.client.listen(resource_subscriptions=[uri]) as events:
            ready()
            async for event in events:
                report("updated", uri=str(event.uri))


@dataclass
class FastMcp:
    """Fastmcp's client."""

    client: Any

    async def list_tools(self) -> list[str]:
        """Return the names of the tools."""
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool and return its structured answer."""
        answer = await self.client.call_tool(tool, arguments, progress_handler=report_progress, raise_on_error=False)
        return answer.structured_content

    async def read(self, uri: str) -> Any:
        """Return the first content of a resource."""
        return (await self.client.read_resource(uri))[0]

    async def watch(self, uri: str, ready: Callable[[], None]) -> None:
        """Subscribe to a resource, whose changes come as messages."""
        await self.client.session.subscribe_resource(uri)
        ready()


async def connect(
    kind: str, url: str, context: ssl.SSLContext, token: str, stack: AsyncExitStack
) -> Official | FastMcp:
    """Connect a client of a kind."""
    headers = {"Authorization": f"Bearer {token}"}
    if kind == "fastmcp":
        from fastmcp import Client as FastMcpClient  # noqa: PLC0415 - in an environment of its own
        from fastmcp.client.transports import StreamableHttpTransport  # noqa: PLC0415 - likewise

        transport = StreamableHttpTransport(url, headers=headers, verify=context)
        return FastMcp(await stack.enter_async_context(FastMcpClient(transport, message_handler=receive)))
    import httpx2  # noqa: PLC0415 - not in fastmcp's environment
    from mcp import Client  # noqa: PLC0415 - of another version there
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - likewise

    http = await stack.enter_async_context(
        httpx2.AsyncClient(verify=context, headers=headers, trust_env=False, timeout=TIMEOUT_SECONDS)
    )
    made = Client(
        streamable_http_client(url, http_client=http),
        mode="auto" if kind == "auto" else "legacy",
        message_handler=receive,
    )
    return Official(await stack.enter_async_context(made), is_modern=kind == "auto")


class Driver:
    """Does what each line says."""

    def __init__(self, client: Official | FastMcp, tasks: anyio.abc.TaskGroup) -> None:
        self._client = client
        self._tasks = tasks
        self._call = anyio.CancelScope()

    async def do(self, action: str, **given: Any) -> None:
        """Do one thing."""
        match action:
            case "list":
                report("tools", names=await self._client.list_tools())
            case "call":
                self._call = anyio.CancelScope()
                self._tasks.start_soon(self._run, given["tool"], given["arguments"])
            case "cancel":
                self._call.cancel()
                report("cancelled")
            case "ask":
                report("answer", facts=await self._client.call(given["tool"], given["arguments"]))
            case "read":
                content = await self._client.read(given["uri"])
                report("content", size=len(getattr(content, "blob", "") or getattr(content, "text", "")))
            case "watch":
                self._tasks.start_soon(self._client.watch, given["uri"], lambda: report("watching"))

    async def _run(self, tool: str, arguments: dict[str, Any]) -> None:
        with self._call:
            report("result", facts=await self._client.call(tool, arguments))


async def main(*given: str) -> None:
    """Connect, and do what the lines say until standard input ends."""
    kind, url, certificate, token = given
    context = ssl.create_default_context(cafile=certificate)
    async with AsyncExitStack() as stack:
        client = await connect(kind, url, context, token, stack)
        report("connected")
        async with anyio.create_task_group() as tasks:
            driver = Driver(client, tasks)
            while line := await anyio.to_thread.run_sync(sys.stdin.readline):
                await driver.do(**json.loads(line))
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
