"""The steps of the guide of the team server, done on a real server: backup, restore, upgrade, rotation."""

import json
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.domain.models import RunState
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.reconnect import open_store
from tests.crash.benches import KEY, Bench, open_bench
from tests.store.samples import build_run
from tests.verify.clones import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from loopback import FLOWPORT, add_token, build_environment, run_process

TOOL = "text_to_picture"


@dataclass
class Operator:
    """The person who runs a server, and the folder of it."""

    folder: Path
    bench: Bench

    @property
    def home(self) -> Path:
        """FLOWPORT_HOME."""
        return self.folder / "home"

    @contextmanager
    def serve(self, key: str = KEY) -> Iterator[str]:
        """Run the server and return its address."""
        environment = build_environment(
            self.home,
            PYTHONUNBUFFERED="1",
            MAGNIFIC_API_KEY=key,
            MAGNIFIC_BASE_URL=self.bench.url,
            MAGNIFIC_FILE_ORIGINS=self.bench.files_url,
            FLOWPORT_REQUESTS_PER_MINUTE="0",
        )
        command = [str(FLOWPORT), "serve", "--http", "127.0.0.1:0"]
        with run_process(command, environment, self.folder / "flowport.log") as process:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1].removesuffix("/mcp")

    def run(self, *words: str) -> Any:
        """Run a command of Flowport on the folder and return its facts."""
        done = subprocess.run(
            [FLOWPORT, *words, "--json"], env=build_environment(self.home), check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """Run a provider for the server of a test."""
    (tmp_path / "team").mkdir()
    with open_bench(tmp_path / "sandbox") as bench:
        yield Operator(tmp_path / "team", bench)


async def call(url: str, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool as the owner of a token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60, headers=headers) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        facts = (await client.call_tool(tool, arguments)).structured_content
        assert isinstance(facts, dict)
        return facts


def get(url: str, token: str = "") -> int:
    """Return the status of a request."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.get(url, headers=headers, trust_env=False, timeout=60).status_code


def move(link: str, url: str) -> str:
    """Return a link of an earlier start at the address of this one: without a proxy each start has another port."""
    parts = urlsplit(link)
    return f"{url}{parts.path}?{parts.query}"


async def test_a_backup_of_a_running_server_has_its_runs_its_tokens_and_its_links(operator: Operator) -> None:
    """It is taken while a batch is written, and unpacked where the lost folder was: people notice nothing."""
    token = add_token(operator.home, "anna")
    archive = operator.folder.with_name("backup.tar.gz")
    with operator.serve() as url:
        first = await call(url, token, TOOL, prompt="a lake")
        rows = [{"prompt": f"hill {n}"} for n in range(20)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(call, url, token, "run_batch", app=TOOL, rows=rows))
            await anyio.to_thread.run_sync(back_up, operator.folder, archive)
    link = first["outputs"][0]["url"]

    operator.folder.rename(operator.folder.with_name("lost"))
    with tarfile.open(archive) as found:
        assert found.getmember(operator.home.name).mode == stat.S_IRWXU
        found.extractall(operator.folder, filter="data")
    assert [path for path in operator.folder.rglob("*") if path.suffix in {".lock", ".part"}] == []
    with operator.serve() as url:
        runs = (await call(url, token, "list_runs", limit=50))["runs"]
        assert first["run_id"] in [run["run_id"] for run in runs]
        assert get(move(link, url)) == 200
        assert get(f"{url}/healthz") == 200
        again = await call(url, token, TOOL, prompt="another lake")

    assert again["state"] == "succeeded"


def back_up(folder: Path, archive: Path) -> None:
    """Write the backup of a folder to a file."""
    with archive.open("wb") as file:
        subprocess.run([sys.executable, ROOT / "deploy/backup.py", folder], check=True, stdout=file)


async def test_a_token_is_replaced_without_a_restart(operator: Operator) -> None:
    """The new one shows the same runs, and the old one is refused from the next request on."""
    old = add_token(operator.home, "anna")
    with operator.serve() as url:
        made = await call(url, old, TOOL, prompt="a lake")
        new = add_token(operator.home, "anna-2", "--owner", "anna")
        operator.run("token", "revoke", "anna")
        listed = await call(url, new, "list_runs")

        assert [run["run_id"] for run in listed["runs"]] == [made["run_id"]]
        assert [get(f"{url}/gallery/api/runs", token) for token in (old, new)] == [401, 200]


async def test_web_secrets_are_replaced_in_two_steps(operator: Operator) -> None:
    """A new line on top signs from the next start on, and the old line verifies until it is removed."""
    token = add_token(operator.home, "anna")
    with operator.serve() as url:
        link = (await call(url, token, TOOL, prompt="a lake"))["outputs"][0]["url"]
    secrets = operator.home / "web-secrets"
    old = secrets.read_text()
    secrets.write_text("f" * 64 + "\n" + old)
    with operator.serve() as url:
        assert get(move(link, url)) == 200
        new_link = (await call(url, token, "get_run", run_id="last"))["outputs"][0]["url"]
    secrets.write_text("f" * 64 + "\n")
    with operator.serve() as url:
        codes = [get(move(one, url)) for one in (link, new_link)]

    assert codes == [404, 200]


async def test_a_provider_key_is_replaced_and_earlier_runs_stay(operator: Operator) -> None:
    """The runs of the old key are still listed and shown, and the new key starts the next ones."""
    token = add_token(operator.home, "anna")
    with operator.serve() as url:
        made = await call(url, token, TOOL, prompt="a lake")
    with operator.serve(key=f"{KEY}-2") as url:
        listed = await call(url, token, "list_runs")
        shown = await call(url, token, "get_run", run_id=made["run_id"])

    assert [run["run_id"] for run in listed["runs"]] == [made["run_id"]]
    assert shown["state"] == "succeeded"
    assert shown["outputs"]


async def test_what_a_backup_shows_as_not_begun_can_be_cancelled_without_a_key(operator: Operator) -> None:
    """It may have been started after the backup; without its provider's key nothing is started again."""
    token = add_token(operator.home, "anna")
    store = open_store(operator.home / STORE_NAME)
    await store.accept(replace(build_run("run_waits", RunState.ACCEPTED), owner="anna", account_id="magnific:old:key"))
    await store.close()
    with operator.serve(key="") as url:
        before = (await call(url, token, "list_runs"))["runs"][0]
        answer = await call(url, token, "cancel_run", run_id="run_waits")

    assert (before["state"], answer["state"]) == ("accepted", "cancelled")
    assert operator.bench.count_requests() == 0
