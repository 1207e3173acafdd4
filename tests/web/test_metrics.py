"""What `/metrics` says, to whom, and what it never names."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from flowport.web import metrics
from tests.support.callers import ERAS, HttpCaller
from tests.support.children import open_child
from tests.support.patience import PATIENCE_SECONDS
from tests.support.people import open_team
from tests.web.test_http import open_http_child

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Run a server, a run on it and a wrong path, and return its metrics and the run's id."""
    with open_http_child(tmp_path_factory.mktemp("m")) as (_, url), ExitStack() as stack:
        call = HttpCaller(url, ERAS[1], stack).call("sandbox_text_to_picture", {"prompt": "a lake"})
        run_id = call.read()[1]["result"]["structuredContent"]["run_id"]
        httpx2.get(url.replace("/mcp", "/secret-path"), trust_env=False, timeout=PATIENCE_SECONDS)
        yield httpx2.get(url.replace("/mcp", "/metrics"), trust_env=False, timeout=PATIENCE_SECONDS).text, run_id


def test_the_state_of_the_server_is_measured(served: tuple[str, str]) -> None:
    """An operator sees load, waits and failures without reading the log."""
    samples = {
        (found[1], found[2] or ""): float(found[3]) for found in map(SAMPLE.fullmatch, served[0].splitlines()) if found
    }
    names = {name for name, _ in samples}

    assert samples["flowport_http_requests_total", 'method="POST",route="/mcp",status="200"'] == 1
    assert samples["flowport_http_requests_total", 'method="GET",route="other",status="404"'] == 1
    assert samples["flowport_starts_total", 'outcome="started"'] == 1
    assert samples["flowport_waiting_calls", ""] == 0
    assert any(name == "flowport_provider_requests_total" and 'status="2xx"' in labels for name, labels in samples)
    assert names >= {
        "flowport_http_connections",
        "flowport_http_sessions",
        "flowport_http_request_duration_seconds_bucket",
        "flowport_event_loop_lag_seconds",
        "flowport_store_read_seconds",
        "flowport_limiter_queue",
        "flowport_polls_total",
    }


def test_no_run_person_or_path_is_named(served: tuple[str, str]) -> None:
    """Labels that grow with use fill the memory of the scraper, and reveal who works on what."""
    text, run_id = served
    assert run_id not in text
    assert "secret-path" not in text
    assert "local" not in text


def test_a_request_that_a_proxy_passed_on_needs_a_token(tmp_path: Path) -> None:
    """Otherwise the proxy would open the metrics to everyone."""
    token_file = tmp_path / "f/home/http-token"
    with open_child(tmp_path / "f", "--http", "127.0.0.1:0") as child:
        assert child.process.stdout is not None
        found = re.search(r"http://\S+", child.process.stdout.readline().decode())
        assert found
        address = found[0].replace("/mcp", "/metrics")
        here = httpx2.get(address, trust_env=False, timeout=PATIENCE_SECONDS)
        passed_on = httpx2.get(
            address, headers={"x-forwarded-for": "127.0.0.1"}, trust_env=False, timeout=PATIENCE_SECONDS
        )
        headers = {"x-forwarded-for": "127.0.0.1", "authorization": f"Bearer {token_file.read_text().strip()}"}
        known = httpx2.get(address, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)

    assert (here.status_code, passed_on.status_code, known.status_code) == (200, 401, 200)


def test_a_name_that_leads_to_this_computer_needs_a_token(tmp_path: Path) -> None:
    """A web page may have it (DNS rebinding), and a scraper in another container asks under the name of the service."""
    token_file = tmp_path / "f/home/http-token"
    with open_child(tmp_path / "f", "--http", "127.0.0.1:0") as child:
        assert child.process.stdout is not None
        found = re.search(r"http://[^/]+", child.process.stdout.readline().decode())
        assert found
        port = found[0].rpartition(":")[2]
        proof = {"authorization": f"Bearer {token_file.read_text().strip()}"}
        codes = [
            httpx2.get(f"{found[0]}/metrics", headers=headers, trust_env=False, timeout=PATIENCE_SECONDS).status_code
            for headers in (
                {"host": f"localhost:{port}"},
                {"host": f"[::1]:{port}"},
                {"host": f"flowport:{port}"},
                {"host": f"localhost.example.com:{port}"},
                {"host": f"flowport:{port}", **proof},
            )
        ]

    assert codes == [200, 200, 401, 401, 200]


async def test_without_the_extra_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other parts of the server work without it."""
    monkeypatch.setattr(metrics, "_LIBRARY", "no_such_library")
    async with open_team(tmp_path) as team:
        answer = await team.http.get("/metrics")

    assert (answer.status_code, answer.text) == (501, "Metrics need the extra `team`, which is not installed.\n")
