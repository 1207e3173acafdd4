"""Streams of changes end with the token that opened them, and begin again for a client that lost one."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from flowport.runtime.http_server import HttpServer
from flowport.web import auth
from flowport.web.app import build_app, build_site
from flowport.web.auth import Authenticator
from flowport.web.listen_address import Address, listen
from tests.fakes.client import open_sandbox
from tests.runs.samples import NOW
from tests.support.end_of_test import EndOfTest
from tests.support.harness import Harness, open_harness
from tests.support.tokens import build_token, show_token
from tests.web.test_http import ACCEPTED, build_legacy, build_listen, change_tools


@asynccontextmanager
async def open_server(folder: Path) -> AsyncIterator[tuple[Harness, str]]:
    """Serve a Flowport of this process with authentication."""
    async with open_sandbox() as sandbox, open_harness(sandbox, folder) as harness:
        with listen(Address("127.0.0.1", 0)) as listener:
            address = Address(*listener.getsockname()[:2])
            authenticator = Authenticator(harness.assembly.workspace.store, lambda: NOW)
            site = build_site(harness.assembly, address, EndOfTest(), authenticator)
            app = build_app(harness.server, address, site)
            web = HttpServer(app.serve, log_level=logging.CRITICAL, lifespan="off")
            async with anyio.create_task_group() as tasks, app.sessions.run():
                tasks.start_soon(web.serve, [listener])
                yield harness, f"{address.origin}/mcp"
                harness.server.close_streams()
                web.should_exit = True


@pytest.mark.parametrize("what", ["listen", "get"])
async def test_a_stream_ends_when_its_token_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It may last for hours, and a person who left must not learn of changes meanwhile."""
    monkeypatch.setattr(auth, "RECHECK_SECONDS", 0.0)
    async with open_server(tmp_path / "f") as (harness, url):
        store = harness.assembly.workspace.store
        await harness.client.list_tools()
        token, record = build_token("anna")
        await store.add_token(record)
        headers = {**ACCEPTED, **show_token(token)}
        async with httpx2.AsyncClient(trust_env=False, timeout=60, headers=headers) as http:
            request = build_listen(http, url) if what == "listen" else await build_legacy(http, url, what)
            answer = await http.send(request, stream=True)
            assert answer.status_code == 200
            received = bytearray()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(collect, answer, received)
                # The older stream begins without a byte.
                while what == "listen" and b"acknowledged" not in received:
                    await anyio.lowlevel.checkpoint()
                await store.revoke_token(record.id, at=NOW)
                await change_tools(harness)
            again = await http.send(build_listen(http, url))

    assert b"list_changed" not in received
    assert again.status_code == 401


async def test_a_client_that_names_its_last_event_gets_a_stream(tmp_path: Path) -> None:
    """No events are kept here; some clients name one of another server, and all of them need an answer."""
    async with open_server(tmp_path / "f") as (harness, url):
        token, record = build_token("anna")
        await harness.assembly.workspace.store.add_token(record)
        headers = {**ACCEPTED, **show_token(token)}
        async with httpx2.AsyncClient(trust_env=False, timeout=60, headers=headers) as http:
            request = await build_legacy(http, url, "get")
            request.headers["last-event-id"] = "7"
            answer = await http.send(request, stream=True)
            await answer.aclose()

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")


async def collect(answer: httpx2.Response, received: bytearray) -> None:
    """Keep what arrives until the stream ends."""
    async for part in answer.aiter_bytes():
        received += part
