"""What a worker answers to monitoring: whether it lives and takes jobs, and its metrics."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.support.callers import ERAS, HttpCaller
from tests.support.children import ROOT
from tests.support.patience import PATIENCE_SECONDS, poll_until
from tests.support.postgres import PostgresServer
from tests.web.test_http import open_http_child
from tests.web.test_team import ask, own_postgres, read_metrics, url

__all__ = ["own_postgres", "url"]

LOCK = "LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE"
FAMILIES_OF_CLIENTS = {"flowport_http_sessions", "flowport_waiting_calls"}
"""Metrics of what a worker does not serve."""


@dataclass(frozen=True, slots=True)
class MonitoredWorker:
    """A worker with an address."""

    process: "subprocess.Popen[str]"
    url: str
    log: Path

    def ask(self, path: str, **headers: str) -> httpx2.Response:
        """Ask it."""
        return httpx2.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)


@contextmanager
def open_monitored_worker(
    folder: Path, database_url: str, address: str = "127.0.0.1:0", **settings: str
) -> Iterator[MonitoredWorker]:
    """Run a worker that answers at an address, and end it by SIGTERM."""
    folder.mkdir(exist_ok=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "FLOWPORT_DATABASE_URL": database_url,
        "FLOWPORT_HOME": str(folder / "home"),
        "FLOWPORT_OUTPUT_DIR": str(folder / "outputs"),
        "HOME": str(folder),
        **settings,
    }
    command = [sys.executable, "-m", "flowport", "worker", "--http", address]
    log = folder / "worker.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            found = re.search(r"(http://\S+)/readyz", lines[1])
            assert found, (lines, log.read_text())
            yield MonitoredWorker(process, found[1], log)
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


def read_families(url: str) -> set[str]:
    """Return the names of all metrics, those without a sample yet too."""
    return set(re.findall(r"(?m)^# TYPE (\S+)", ask(url, "/metrics").text))


def test_a_worker_measures_what_it_executes_under_the_names_of_a_replica(tmp_path: Path, url: str) -> None:
    """An administrator sees the delay of steps, starts and stale leases where they happen."""
    with (
        open_monitored_worker(tmp_path / "f", url) as worker,
        open_http_child(tmp_path / "f", FLOWPORT_DATABASE_URL=url) as (_, replica),
    ):
        poll_until(lambda: worker.ask("/readyz").status_code == 200)
        assert worker.ask("/readyz").json() == {"status": "ready"}
        assert worker.ask("/healthz").json() == {"status": "ok"}
        assert read_metrics(worker.url)["flowport_step_delay_seconds_count", ""] == 0
        with ExitStack() as stack:
            call = HttpCaller(replica, ERAS[1], stack).call("sandbox_text_to_picture", {"prompt": "a lake"})
            assert call.read()[1]["result"]["structuredContent"]["state"] == "succeeded"
        its_own = read_metrics(worker.url)
        assert its_own["flowport_step_delay_seconds_count", ""] >= 1
        assert its_own["flowport_starts_total", 'outcome="started"'] == 1
        assert its_own["flowport_workers_alive", ""] == 1
        assert ("flowport_stale_leases_total", "") in its_own
        assert read_families(replica) - read_families(worker.url) == FAMILIES_OF_CLIENTS
        assert read_families(worker.url) <= read_families(replica)
        assert [worker.ask(path).status_code for path in ("/mcp", "/gallery/", "/uploads/x", "/")] == [404] * 4
    assert "Traceback" not in worker.log.read_text()


def test_a_worker_without_its_database_is_not_ready_and_lives(
    tmp_path: Path, url: str, own_postgres: PostgresServer
) -> None:
    """A container is not killed for an outage that it outlives."""
    with open_monitored_worker(tmp_path / "f", url) as worker:
        poll_until(lambda: worker.ask("/readyz").status_code == 200)
        own_postgres.stop()
        try:
            poll_until(lambda: worker.ask("/readyz").status_code == 503)
            gone, health, metrics = worker.ask("/readyz"), worker.ask("/healthz"), worker.ask("/metrics")
        finally:
            own_postgres.start()
        assert "database" in gone.json()["parts"]
        assert (health.status_code, metrics.status_code) == (200, 200)
        poll_until(lambda: worker.ask("/readyz").status_code == 200)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGTERM")
def test_a_worker_that_drains_is_not_ready_and_answers_to_its_end(tmp_path: Path, url: str) -> None:
    """What starts the next one sees that this one still gives its jobs back."""
    with open_monitored_worker(tmp_path / "f", url) as worker:
        poll_until(lambda: worker.ask("/readyz").status_code == 200)
        # It looks for jobs every second, and cannot end in the middle of a look.
        with psycopg.connect(url) as other:
            other.execute(LOCK)
            poll_until(lambda: worker.ask("/readyz").status_code == 503)
            worker.process.send_signal(signal.SIGTERM)
            poll_until(lambda: "process" in worker.ask("/readyz").json()["parts"])
            assert worker.ask("/readyz").status_code == 503
            assert worker.ask("/healthz").status_code == 200


def test_other_computers_read_the_metrics_of_a_worker_with_a_token(tmp_path: Path, url: str) -> None:
    """They find it by any name that leads there; a name of a web page that leads to this computer opens nothing."""
    with open_monitored_worker(tmp_path / "f", url) as worker:
        by_name, by_address = worker.ask("/metrics", host="worker:8766"), worker.ask("/metrics")
        health = worker.ask("/readyz", host="worker:8766")
        passed_on = worker.ask("/metrics", **{"x-forwarded-for": "127.0.0.1"})
        assert not (tmp_path / "f/home/http-token").exists()
        command = [sys.executable, "-m", "flowport", "token", "add", "prometheus"]
        environment = {
            "PATH": "/usr/bin:/bin",
            "FLOWPORT_DATABASE_URL": url,
            "FLOWPORT_HOME": str(tmp_path / "f/home"),
        }
        printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        found = re.search(r"fp_\S+", printed)
        assert found
        known = worker.ask("/metrics", host="worker:8766", authorization=f"Bearer {found[0]}")
    assert [one.status_code for one in (by_address, by_name, passed_on, known)] == [200, 401, 401, 200]
    assert health.status_code in {200, 503}
