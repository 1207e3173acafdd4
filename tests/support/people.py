"""A Flowport that listens on HTTP in this process, with a client for each of several people."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.domain.principal import Principal
from flowport.runtime.clock import Clock
from flowport.runtime.http_server import HttpServer
from flowport.server.clients import PRINCIPAL_KEY
from flowport.web.app import PATH, build_app, build_site
from flowport.web.auth import Authenticator
from flowport.web.listen_address import Address, listen
from flowport.web.site import Site
from tests.fakes.client import open_sandbox
from tests.support.end_of_test import EndOfTest
from tests.support.harness import Harness, Mode, open_harness

OWNER_HEADER: Final = "x-test-owner"


class OwnerByHeader:
    """ASGI middleware in the place of authentication: a header names the owner, who is at another computer."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        owner = dict(scope.get("headers", ())).get(OWNER_HEADER.encode())
        if owner is not None:
            scope = {**scope, PRINCIPAL_KEY: Principal(owner.decode())}
        await self._app(scope, receive, send)


@dataclass
class Team:
    """The server and its people."""

    harness: Harness
    site: Site
    origin: str
    http: httpx2.AsyncClient
    """Sends no credentials."""
    stack: AsyncExitStack = field(repr=False)
    _people: dict[str, Client] = field(default_factory=dict)

    async def connect(self, owner: str, mode: Mode = "auto") -> Client:
        """Return the client of a person."""
        if owner not in self._people:
            http = httpx2.AsyncClient(trust_env=False, timeout=60, headers={OWNER_HEADER: owner})
            await self.stack.enter_async_context(http)
            client = Client(streamable_http_client(f"{self.origin}{PATH}", http_client=http), mode=mode)
            self._people[owner] = await self.stack.enter_async_context(client)
        return self._people[owner]

    async def ask(self, owner: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool as a person and return the facts of the answer."""
        result = await (await self.connect(owner)).call_tool(tool, arguments)
        assert isinstance(result.structured_content, dict), result
        return result.structured_content


@asynccontextmanager
async def open_team(folder: Path, *, clock: Clock | None = None, **changes: Any) -> AsyncIterator[Team]:
    """Serve a team on a sandbox of its own."""
    async with (
        open_sandbox() as sandbox,
        open_harness(sandbox, folder / "server", clock=clock, **changes) as harness,
        AsyncExitStack() as servers,
    ):
        listener = servers.enter_context(listen(Address("127.0.0.1", 0)))
        address = Address(*listener.getsockname()[:2])
        workspace = harness.assembly.workspace
        nothing = Authenticator(workspace.store, workspace.clock.now, is_on=False)
        site = build_site(harness.assembly, address, EndOfTest(), nothing)
        app = OwnerByHeader(build_app(harness.server, address, site))
        web = HttpServer(app, log_level=logging.CRITICAL, lifespan="on")
        tasks = await servers.enter_async_context(anyio.create_task_group())
        tasks.start_soon(web.serve, [listener])
        async with (
            httpx2.AsyncClient(base_url=address.origin, trust_env=False, timeout=60) as http,
            AsyncExitStack() as people,
        ):
            yield Team(harness, site, address.origin, http, people)
        harness.server.close_streams()
        web.should_exit = True
