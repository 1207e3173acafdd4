"""The built-in sandbox behind a whole Flowport over several starts: what it keeps and what it forgets."""

import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import Client

from flowport.bootstrap import Assembly, open_assembly
from flowport.domain.errors import Operation
from flowport.network.sandbox_process import SandboxAccount, keep_tidy
from flowport.providers.interface import ApiRequest
from flowport.runtime.clock import SystemClock
from flowport.server.handlers import build_server
from flowport.store.sqlite.reconnect import open_store
from tests.fakes.client import build_photo, write
from tests.support.harness import QUICK, build_settings, report_written

MONTH_SECONDS = 30 * 86_400
LIST = ApiRequest(Operation.REQUEST_UPLOAD, "GET", "/v1/ai/uploads")


class Session:
    """One start of Flowport without a key, and its client."""

    def __init__(self, client: Client, assembly: Assembly) -> None:
        """Store both."""
        self.client = client
        self.assembly = assembly
        self.account = assembly.workspace.catalogs[0].account

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured answer."""
        facts = (await self.client.call_tool(tool, arguments)).structured_content
        assert isinstance(facts, dict)
        return facts


@asynccontextmanager
async def open_session(folder: Path, **changes: Any) -> AsyncIterator[Session]:
    """Start Flowport without a key on the folder's home."""
    settings = build_settings(folder, "http://127.0.0.1:9", providers=(), requests_per_minute=None, **changes)
    async with open_assembly(settings, pace=QUICK) as assembly:
        server = build_server(assembly.tenants, assembly.file_threads, assembly.first_list)
        server.middleware.insert(0, report_written)
        async with Client(server) as client:
            await client.list_tools()
            yield Session(client, assembly)


async def test_links_with_a_former_port_lead_to_the_same_files(tmp_path: Path) -> None:
    """Another program uses the port the next day: old links still name results, and unsaved outputs are read."""
    folder = tmp_path / "f"
    async with open_session(folder, should_save_outputs=False) as first:
        made = await first.call("sandbox_text_to_picture", prompt="a lake")
    url = made["outputs"][0]["url"]
    with socket.create_server(("127.0.0.1", int(url.split("/")[2].partition(":")[2]))):
        async with open_session(folder, should_save_outputs=False) as second:
            moved = await second.account.localize(url)
            read = await second.client.read_resource(f"flowport://runs/{made['run_id']}/outputs/1")
            answers = [
                await second.call("sandbox_photo_to_pencil_sketch", photo=link, line_strength=strength)
                for link, strength in ((url, 1), (moved, 2))
            ]
            foreign = await second.call("sandbox_photo_to_pencil_sketch", photo="http://127.0.0.1:1/x.png")
    assert (moved != url, moved.split("/", 3)[3]) == (True, url.split("/", 3)[3])
    assert read.contents[0].mime_type == "image/png"
    assert [answer["state"] for answer in answers] == ["succeeded", "succeeded"]
    assert "is a web address" in foreign["message"]


async def test_results_that_the_sandbox_forgot_are_read_from_their_files(tmp_path: Path) -> None:
    """The sandbox keeps runs for a week; undelivered results are kept by Flowport."""
    folder = tmp_path / "f"
    async with open_session(folder) as first:
        old = await first.call("sandbox_text_to_picture", prompt="a lake")
        await first.call("sandbox_text_to_picture", prompt="a hill")
    make_old(folder / "home/sandbox/sandbox.sqlite3")
    async with open_session(folder) as second:
        needed = await second.assembly.workspace.store.get_needed_provider_ids(account_id=second.account.account.id)
        assert isinstance(second.account, SandboxAccount)
        await second.account.tidy(needed)
        left = count_files(folder / "home/sandbox/sandbox.sqlite3")
        answer = await second.call("sandbox_photo_to_pencil_sketch", photo=f"run:{old['run_id']}")
    assert (needed, left, answer["state"]) == (frozenset(), 0, "succeeded")


def make_old(database: Path) -> None:
    """Age everything in a sandbox by a month."""
    with sqlite3.connect(database) as connection:
        connection.execute(f"UPDATE runs SET completed_at = completed_at - {MONTH_SECONDS}")
        connection.execute(f"UPDATE files SET created_at = created_at - {MONTH_SECONDS}")
    connection.close()


def count_files(database: Path) -> int:
    """Return the number of files that a sandbox has."""
    with sqlite3.connect(database) as connection:
        count = connection.execute("SELECT count(*) FROM files").fetchone()[0]
    connection.close()
    return int(count)


class CountingClock(SystemClock):
    """Returns at once from `sleep`, records the durations, and ends the endless loop after some calls."""

    def __init__(self, times: int) -> None:
        """Begin the count."""
        super().__init__()
        self.pauses: list[float] = []
        self.scope = anyio.CancelScope()
        self._times = times

    async def sleep(self, seconds: float) -> None:
        """Record a pause."""
        self.pauses.append(seconds)
        if len(self.pauses) > self._times:
            self.scope.cancel()
        await anyio.lowlevel.checkpoint()


async def test_the_sandbox_is_cleaned_after_a_start_and_at_intervals(tmp_path: Path) -> None:
    """Cleaning begins soon, because processes may live for minutes; an unreadable store stops nothing."""
    folder, clock = tmp_path / "f", CountingClock(3)
    async with open_session(folder) as first:
        await first.call("sandbox_text_to_picture", prompt="a lake")
    make_old(folder / "home/sandbox/sandbox.sqlite3")
    async with open_session(folder) as second:
        with clock.scope:
            await keep_tidy([second.account], second.assembly.workspace.store, clock)
        left = count_files(folder / "home/sandbox/sandbox.sqlite3")
        closed, failing = open_store(tmp_path / "closed.sqlite3"), CountingClock(2)
        await closed.close()
        with failing.scope:
            await keep_tidy([second.account], closed, failing)
    assert (clock.pauses, left, len(failing.pauses)) == ([20.0, 3600.0, 3600.0, 3600.0], 0, 3)


async def test_an_upload_that_the_sandbox_lost_is_made_again(tmp_path: Path) -> None:
    """An upload that the sandbox lost is repeated: Flowport records uploads, and the sandbox's state may be gone."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "me.png").write_bytes(write(build_photo()))
    poster = {"photo": str(folder / "me.png")}
    async with open_session(folder) as first:
        await first.call("sandbox_retro_poster", **poster, title="one")
        again = await first.call("sandbox_retro_poster", **poster, title="two")
        uploads = (await first.account.send_now(LIST)).body
    (folder / "home/sandbox/sandbox.sqlite3").unlink()
    async with open_session(folder) as second:
        answer = await second.call("sandbox_retro_poster", **poster, title="three")
    assert (again["state"], answer["state"], uploads.count(b"file_id")) == ("succeeded", "succeeded", 1)


@pytest.mark.parametrize("value", ["https://x/y.png", "me.png", "", "http://127.0.0.1:5/x"])
async def test_only_links_of_former_ports_are_changed(tmp_path: Path, value: str) -> None:
    """All other text is user data."""
    async with open_session(tmp_path / "f") as session:
        assert await session.account.localize(value) == value
