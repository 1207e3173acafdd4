"""Real clients use the team server through real reverse proxies, with the configurations of `deploy/`.

nginx and Caddy come from Debian; `.ci/run` installs them. The Python clients are the official SDK and fastmcp, which has an
environment of its own; the TypeScript ones are packages of npm.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.benches import KEY, Bench, open_bench
from tests.verify.clones import ROOT
from tests.verify.converters.environment import provide_python
from tests.verify.test_clients import MODULES, find_node

sys.path.insert(0, str(ROOT / "scripts"))
from loopback import Server, find_proxy, run_server

TOOL = "text_to_picture"
CLIENT = Path(__file__).parent / "remote" / "client.py"
SDK = Path(__file__).parent / "clients" / "remote.mjs"
BUFFERING = {"proxy_buffering off;": "proxy_buffering on;"}
PROXIES = {
    "nginx": ("nginx", {}),
    "nginx that buffers": ("nginx", BUFFERING),
    "nginx that buffers everything": (
        "nginx",
        {"proxy_buffering off;": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"},
    ),
    "caddy": ("caddy", {}),
}
"""Proxies with the parts of their configuration that are replaced."""

HOLDS_BACK = {"nginx that buffers everything"}
"""Proxies from which an event stream comes only when it has ended."""

CLIENTS = ("python auto", "python legacy", "fastmcp", "typescript v1", "typescript v2-legacy", "typescript v2-modern")


@dataclass(frozen=True, slots=True)
class World:
    """A provider, and a server behind a proxy."""

    bench: Bench
    server: Server
    proxy: str

    @property
    def streams(self) -> bool:
        """Whether events arrive when they are sent."""
        return self.proxy not in HOLDS_BACK

    def wait_for_run(self) -> str:
        """Return the id of the run that goes on at the provider."""
        while True:
            live = [run_id for run_id, run in self.bench.get_runs().items() if run["completed_at"] is None]
            if live:
                return live[0]

    def release(self) -> None:
        """Let the run end."""
        self.bench.switch(f"runs/{self.wait_for_run()}", release=True)


@pytest.fixture(scope="module", params=PROXIES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a provider, the server and a proxy for the tests of this module."""
    kind, changes = PROXIES[request.param]
    if find_proxy(kind) is None:
        pytest.skip(f"{kind} is not installed: `apt-get install {kind}` provides it")
    folder = tmp_path_factory.mktemp("proxy")
    with open_bench(folder / "sandbox") as bench:
        settings = {
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": bench.url,
            "MAGNIFIC_FILE_ORIGINS": bench.files_url,
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
        }
        with run_server(folder / "flowport", kind=kind, changes=changes, settings=settings) as server:
            yield World(bench, server, request.param)


@dataclass
class Client:
    """A client program, driven line by line."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]]

    def send(self, action: str, **given: Any) -> None:
        """Say what to do next."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"action": action, **given}) + "\n")
        self.process.stdin.flush()

    def wait(self, event: str) -> dict[str, Any]:
        """Return the next event of a kind; those before it are kept."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            found: dict[str, Any] = json.loads(line)
            self.events.append(found)
            if found["event"] == event:
                return found
            assert found["event"] != "failed", found
        raise AssertionError(f"the client ended without {event!r} after {self.events}")

    def do(self, action: str, event: str, **given: Any) -> dict[str, Any]:
        """Have something done and return the event that follows."""
        self.send(action, **given)
        return self.wait(event)


@contextmanager
def open_client(
    name: str, world: World, tmp_path_factory: pytest.TempPathFactory, *, is_killed: bool = False
) -> Iterator[Client]:
    """Start a client and connect it; it ends by itself, or is killed with its connections."""
    language, _, kind = name.partition(" ")
    url = f"{world.server.url}/mcp"
    if language == "typescript":
        if not MODULES.is_dir():
            pytest.skip("the TypeScript SDK is not fetched: `make verify` does it with npm")
        command: Sequence[str | Path] = [find_node(), SDK, kind, url, world.server.token]
    else:
        python = Path(sys.executable) if kind else provide_python(tmp_path_factory)
        command = [python, CLIENT, kind or language, url, world.server.certificate, world.server.token]
    environment = {"PATH": "/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": str(world.server.certificate)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        client = Client(process, [])
        try:
            client.wait("connected")
            yield client
            if is_killed:
                return
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_works_through_the_proxy(name: str, world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It lists tools, sees a run's progress while it goes on, reads its result, leaves a call, and is notified of its end.

    Behind a proxy that holds events back, progress comes with the answer, and no client waits for a notification.
    """
    world.bench.switch("reset")
    with open_client(name, world, tmp_path_factory) as client:
        assert TOOL in client.do("list", "tools")["names"]

        world.bench.switch("next_run", hold=True)
        client.send("call", tool=TOOL, arguments={"prompt": f"a lake for {name}"})
        if world.streams:
            assert client.wait("progress")["message"]
        world.release()
        facts = client.wait("result")["facts"]
        assert facts["state"] == "succeeded"
        assert client.do("read", "content", uri=facts["outputs"][0]["resource"])["size"] > 100

        world.bench.switch("next_run", hold=True)
        client.send("call", tool=TOOL, arguments={"prompt": f"a hill for {name}"})
        if world.streams:
            client.wait("progress")
        world.wait_for_run()
        client.do("cancel", "cancelled")
        left = client.do("ask", "answer", tool="list_runs", arguments={"limit": 1})["facts"]["runs"][0]
        assert left["state"] in {"queued", "running"}
        if world.streams:
            client.do("watch", "watching", uri=f"flowport://runs/{left['run_id']}")
        world.release()
        if world.streams:
            assert client.wait("updated")["uri"] == f"flowport://runs/{left['run_id']}"
        ended = client.do("ask", "answer", tool="get_run", arguments={"run_id": left["run_id"]})["facts"]
        assert ended["state"] == "succeeded"
