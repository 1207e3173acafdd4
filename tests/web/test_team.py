"""What a replica of a team says of its database and its queue, to a load balancer and to a scraper."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.children import ROOT
from tests.support.patience import PATIENCE_SECONDS, poll_until
from tests.support.postgres import PostgresServer, create_template, open_postgres
from tests.web.test_http import open_http_child

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """Start a server that a test may stop."""
    with open_postgres() as server:
        create_template(server)
        yield server


@pytest.fixture
def url(own_postgres: PostgresServer) -> str:
    """Return the address of a database with our tables."""
    return own_postgres.create_database("flowport_template")


def ask(url: str, path: str) -> httpx2.Response:
    """Ask a replica beside its MCP endpoint."""
    return httpx2.get(url.removesuffix("/mcp") + path, trust_env=False, timeout=PATIENCE_SECONDS)


def read_metrics(url: str) -> dict[tuple[str, str], float]:
    """Return the samples of a replica, by name and labels."""
    found = map(SAMPLE.fullmatch, ask(url, "/metrics").text.splitlines())
    return {(one[1], one[2] or ""): float(one[3]) for one in found if one}


@contextmanager
def open_worker(folder: Path, database_url: str) -> Iterator[None]:
    """Run a worker of the team."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "FLOWPORT_DATABASE_URL": database_url,
        "FLOWPORT_HOME": str(folder / "home"),
        "FLOWPORT_OUTPUT_DIR": str(folder / "outputs"),
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "flowport", "worker"]
    with (folder / "worker.txt").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_a_replica_says_how_its_team_stands(tmp_path: Path, url: str, own_postgres: PostgresServer) -> None:
    """Without a worker it is ready and warns, because what it accepts waits; without the database it is not ready."""
    folder = tmp_path / "f"
    with open_http_child(folder, FLOWPORT_DATABASE_URL=url) as (_, replica):
        poll_until(lambda: ask(replica, "/readyz").status_code == 200)
        poll_until(lambda: len(ask(replica, "/readyz").json()["warnings"]) == 1)
        alone = ask(replica, "/readyz").json()
        assert alone == {
            "status": "ready",
            "warnings": ["No worker is running. Runs are accepted, and wait until one is."],
        }
        assert read_metrics(replica)["flowport_workers_alive", ""] == 0
        with open_worker(folder, url):
            poll_until(lambda: ask(replica, "/readyz").json() == {"status": "ready"})
            samples = read_metrics(replica)
        assert samples["flowport_workers_alive", ""] == 1
        assert samples["flowport_news_connected", ""] == 1
        assert samples["flowport_queue_jobs", 'state="waiting"'] == 0
        assert samples["flowport_queue_jobs", 'state="running"'] == 0
        assert samples["flowport_queue_jobs", 'state="stalled"'] == 0
        assert samples["flowport_stale_leases_total", ""] == 0
        assert samples["flowport_reconciled_jobs_total", 'kind="missing"'] == 0
        assert samples["flowport_database_connections_max", ""] > 1
        assert samples["flowport_database_connections", 'state="idle"'] >= 1
        assert samples["flowport_database_waiting", ""] == 0
        assert ("flowport_step_delay_seconds_count", "") in samples

        # A database that hangs does not hold up the answer.
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE")
            hanging = ask(replica, "/readyz")
        assert (hanging.status_code, hanging.json()["parts"]) == (503, ["database"])
        poll_until(lambda: ask(replica, "/readyz").status_code == 200)

        own_postgres.stop()
        try:
            poll_until(lambda: ask(replica, "/readyz").status_code == 503)
            gone = ask(replica, "/readyz")
            health = ask(replica, "/healthz")
            samples = read_metrics(replica)
        finally:
            own_postgres.start()
        assert gone.json()["parts"] == ["database"]
        assert gone.json()["problems"] == ["The database cannot be reached. The log says why."]
        assert str(own_postgres.folder) not in gone.text
        assert health.json() == {"status": "ok"}
        # What needs no database is still measured.
        assert ("flowport_queue_jobs", 'state="waiting"') not in samples
        assert ("flowport_database_connections_max", "") in samples
        poll_until(lambda: ask(replica, "/readyz").status_code == 200)
    log = (folder / "stderr.txt").read_text(encoding="utf-8")
    lines = [line for line in log.splitlines() if str(own_postgres.folder) in line]
    assert lines == []
    assert json.dumps(url) not in log


def test_no_line_of_a_worker_names_the_database(tmp_path: Path, url: str, own_postgres: PostgresServer) -> None:
    """The driver and the queue report each attempt to connect with the address; an outage is a few lines of ours."""
    folder = tmp_path / "f"
    folder.mkdir()
    log = folder / "worker.txt"
    with open_worker(folder, url):
        poll_until(lambda: own_postgres.execute(COUNT_WORKERS, name_of(url)) == [(1,)])
        own_postgres.stop()
        try:
            poll_until(lambda: "cannot" in log.read_text(encoding="utf-8"))
        finally:
            own_postgres.start()
        poll_until(lambda: own_postgres.execute(COUNT_WORKERS, name_of(url)) == [(1,)])
    text = log.read_text(encoding="utf-8")
    assert str(own_postgres.folder) not in text
    assert url not in text
    assert "procrastinate.worker" not in text
    assert "psycopg.pool" not in text
    assert "Traceback" not in text


COUNT_WORKERS = "SELECT count(*) FROM processes WHERE ended_at IS NULL AND kind = 'worker' AND beat_at > now() - interval '9 seconds'"


def name_of(url: str) -> str:
    """Return the name of a database."""
    return str(conninfo_to_dict(url)["dbname"])
