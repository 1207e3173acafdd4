"""A team as real processes: PostgreSQL, replicas, workers, a provider and a reverse proxy.

Each replica keeps its port when it is killed and started again, so the proxy needs no new configuration. Everything that is
started is ended by its process id.
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2
import psycopg
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.store import PostgresStore
from tests.support.children import ROOT
from tests.support.harness import Mode
from tests.support.postgres import PostgresServer, open_postgres
from tests.support.provider_process import ProviderProcess
from tests.support.tokens import build_token

sys.path.insert(0, str(ROOT / "scripts"))
from loopback import build_context, find_proxy, reserve_port, run_proxy, write_certificate

HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 60.0
END_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 90.0
"""Longer than a call waits for its run."""
_STEP_SECONDS: Final = 0.02
MEMBER: Final = "team.member"
"""The setting of each database connection that names the process whose it is, such as `worker-1.2`."""
_NOT_OURS: Final = ("FLOWPORT_", "MAGNIFIC_", "MAGICA_")
SPREADING: Final = {
    "upstream flowport {": 'map $http_mcp_protocol_version $replica_key { "2026-07-28" $request_id; '
    "default $http_authorization; }\nupstream flowport {",
    "hash $http_authorization consistent;": "hash $replica_key consistent;",
}
"""Changes of the proxy: each request of the newest era goes to any replica, and sessions of the older one stay at theirs."""


@dataclass
class Member:
    """A replica or a worker: one process at a time, which can be killed, paused and started again."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    port: int = 0
    """Where it listens; 0 for a worker."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What it prints, of all its processes."""
        return self.folder / f"{self.name}.log"

    @property
    def process_name(self) -> str:
        """The name of the present process, or of the last one."""
        return f"{self.name}.{self.starts}"

    def start(self) -> None:
        """Start a process; `wait_until_ready` waits for it."""
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flowport", *self.words],
                env={**self.environment, "PGOPTIONS": f"-c {MEMBER}={self.process_name}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def restart(self) -> None:
        """Kill the process, and start another at once."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the process as the system does that has no memory left."""
        # At first, so that it does not count as one that has ended by itself.
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(END_SECONDS)

    def replace(self, **changes: str) -> None:
        """End the process in order, and start one with other variables, as `docker compose up -d --wait` does."""
        code = self.stop()
        assert code == 0, self.log.read_text(errors="replace")[-4000:]
        self.environment = {**self.environment, **changes}
        self.start()
        if self.port:
            self.wait_until_ready()

    def stop(self) -> int:
        """End the process in order and return its exit code."""
        process, self.process = self.process, None
        assert process is not None
        process.terminate()
        return process.wait(END_SECONDS)

    def pause(self) -> None:
        """Let the process stand still, as on a machine that swaps or is moved."""
        if self.process is not None and sys.platform != "win32":
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on, if it is still the one that was paused."""
        if self.process is not None and sys.platform != "win32":
            self.process.send_signal(signal.SIGCONT)

    def ask(self, path: str, *, timeout: float = 10.0) -> tuple[int, str]:
        """Ask a replica directly; 0 where it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=timeout) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode()
        except OSError:
            return 0, ""

    def wait_until_ready(self, path: str = "/healthz") -> None:
        """Wait until a replica answers."""
        deadline = time.monotonic() + READY_SECONDS
        while self.ask(path)[0] != httpx2.codes.OK:
            self._check(deadline)
            time.sleep(_STEP_SECONDS)

    def _check(self, deadline: float) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.log.read_text(errors='replace')[-4000:]}"


@dataclass
class Team:
    """The processes of a team."""

    folder: Path
    postgres: PostgresServer
    database_url: str
    environment: Mapping[str, str]
    """Of every member."""
    provider: ProviderProcess | None
    url: str
    """Where clients reach the proxy, without a slash at the end."""
    certificate: Path | None
    """What the proxy's connections are encrypted with; None without a proxy."""
    replicas: list[Member] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    """Of each person, by name."""

    @property
    def members(self) -> list[Member]:
        """Every replica and worker."""
        return [*self.replicas, *self.workers]

    @property
    def home(self) -> Path:
        """The folder that all members share."""
        return self.folder / "home"

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement in the team's database."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def find_in_state(self, *states: str) -> set[str]:
        """Return the ids of the runs in some states."""
        return {row[0] for row in self.query("SELECT id FROM runs WHERE state = ANY(%s)", [list(states)])}

    def find_prompts(self, *states: str) -> list[str]:
        """Return the prompts of the runs in some states, batches themselves left out."""
        rows = self.query("SELECT arguments_json FROM runs WHERE state = ANY(%s) AND row_count = 0", [list(states)])
        return [str(json.loads(row[0])["prompt"]) for row in rows]

    def add_token(self, name: str, *flags: str) -> str:
        """Return a new token, made by the command."""
        token: str = json.loads(self.run_command("token", "add", name, "--json", *flags))["token"]
        return token

    def run_command(self, *words: str) -> str:
        """Return what a command of Flowport prints."""
        done = subprocess.run(
            [sys.executable, "-m", "flowport", *words],
            env=dict(self.environment),
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have shown that they live."""
        deadline = time.monotonic() + READY_SECONDS
        alive = "SELECT count(*) FROM processes WHERE ended_at IS NULL AND beat_at > now() - interval '5 s'"
        while int(self.query(alive)[0][0]) < count + len(self.replicas):
            for one in self.members:
                assert one.process is not None
                assert one.process.poll() is None, one.log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < deadline, self.query("SELECT * FROM processes")
            time.sleep(_STEP_SECONDS)

    def build_context(self) -> ssl.SSLContext | bool:
        """Return what trusts the proxy."""
        return False if self.certificate is None else build_context(self.certificate)

    @asynccontextmanager
    async def connect(
        self, token: str, mode: Mode = "auto", *, url: str = "", context: Any = None
    ) -> AsyncIterator[Client]:
        """Connect the official SDK's client; through the proxy unless it is given the address of a replica."""
        async with (
            httpx2.AsyncClient(
                verify=self.build_context() if context is None else context,
                headers={"authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=ANSWER_SECONDS,
            ) as http,
            Client(streamable_http_client(f"{url or self.url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield client


async def add_tokens(database_url: str, people: Sequence[str]) -> dict[str, str]:
    """Give people tokens, and return them by name."""
    database = Database(database_url, prepare=migrate)
    store = PostgresStore(database)
    made = {name: build_token(name) for name in people}
    try:
        for _, record in made.values():
            assert await store.add_token(record)
    finally:
        await store.close()
    return {name: token for name, (token, _) in made.items()}


@contextmanager
def hold_port() -> Iterator[int]:
    """Give a port that no other program is given meanwhile; a server that allows reuse can listen there."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        yield held.getsockname()[1]


def build_environment(folder: Path, database_url: str, **changes: str) -> dict[str, str]:
    """Return the environment of every member: this one without its settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "FLOWPORT_DATABASE_URL": database_url,
        "FLOWPORT_HOME": str(folder / "home"),
        "FLOWPORT_OUTPUT_DIR": str(folder / "outputs"),
        "FLOWPORT_FILE_ROOTS": str(folder),
        **changes,
    }


@contextmanager
def open_team(
    folder: Path,
    provider: ProviderProcess | None,
    *,
    people: Sequence[str] = ("anna",),
    replicas: int = 3,
    workers: int = 2,
    proxy: str = "nginx",
    is_working: bool = False,
    postgres: PostgresServer | None = None,
    settings: Mapping[str, str] | None = None,
    database_url: str = "",
) -> Iterator[Team]:
    """Run a team, and end it on the way out.

    Args:
        people: Who has a token.
        proxy: The program in front; empty for none.
        is_working: Whether replicas are workers too.
        postgres: The database server; None for one of its own, whose commits wait for the disk.
        settings: Further variables of all members.
        database_url: Of a database that is there already; a new one otherwise.
    """
    if sys.platform == "win32":
        pytest.skip("processes cannot be paused here")
    if proxy and find_proxy(proxy) is None:
        pytest.skip(f"{proxy} is not installed: `apt-get install {proxy}` provides it")
    (folder / "home").mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        postgres = postgres or stack.enter_context(open_postgres(is_synced=True))
        url, certificate, held = "", None, None
        if proxy:
            held = stack.enter_context(reserve_port())
            url, certificate = f"https://localhost:{held.getsockname()[1]}", write_certificate(folder)
        given = {
            **(provider.environment if provider else {}),
            **({"FLOWPORT_PUBLIC_URL": url, "FLOWPORT_TRUSTED_PROXIES": HOST} if proxy else {}),
            **(settings or {}),
        }
        environment = build_environment(folder, database_url or postgres.create_database(), **given)
        team = Team(folder, postgres, environment["FLOWPORT_DATABASE_URL"], environment, provider, url, certificate)
        with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop of its own
            team.tokens |= thread.submit(anyio.run, add_tokens, team.database_url, people).result()
        for number in range(1, replicas + 1):
            port = stack.enter_context(hold_port())
            words = ["serve", "--http", f"{HOST}:{port}", *(["--worker"] if is_working else [])]
            team.replicas.append(Member(f"replica-{number}", words, environment, folder, port))
        team.workers += [Member(f"worker-{n}", ["worker"], environment, folder) for n in range(1, workers + 1)]
        stack.callback(end_all, team)
        for member in team.members:
            member.start()
        for member in team.replicas:
            member.wait_until_ready()
        team.wait_for_workers(workers)
        if proxy and held is not None:
            upstreams = [urlsplit(one.url).netloc for one in team.replicas]
            stack.enter_context(run_proxy(proxy, folder, held.getsockname()[1], *upstreams, changes=SPREADING))
        yield team


def end_all(team: Team) -> None:
    """Kill every process that is left."""
    for member in team.members:
        with contextlib.suppress(ProcessLookupError):
            member.resume()
        member.kill()
