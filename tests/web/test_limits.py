"""What one client may ask of a server over HTTP: rates, connections, slow requests."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest

from flowport.settings.http_settings import HttpSettings
from flowport.web.limits import MAX_BUCKETS, RateLimit, build_address_key
from tests.support.callers import ERAS, HttpCaller
from tests.support.patience import PATIENCE_SECONDS, poll_until
from tests.support.people import open_team
from tests.support.scripted import wait_until
from tests.web.test_http import open_http_child


def test_a_rate_gives_a_minute_at_once_and_then_its_pace() -> None:
    """The clock of the test moves by itself, and a key that waits long has no more than a minute."""
    now = [1000.0]
    limit = RateLimit(60, lambda: now[0])
    assert [limit.take("one") for _ in range(60)] == [0.0] * 60
    assert limit.take("one") == pytest.approx(1.0)
    assert limit.take("other") == 0
    now[0] += 1
    assert limit.take("one") == 0
    assert limit.take("one") > 0
    now[0] += 3600
    assert [limit.take("one") for _ in range(60)] == [0.0] * 60
    assert limit.take("one") > 0


def test_a_rate_remembers_a_bounded_number_of_keys() -> None:
    """A client that changes its address must not fill the memory."""
    limit = RateLimit(1, lambda: 0.0)
    for number in range(MAX_BUCKETS + 5):
        limit.take(str(number))
    assert len(limit._buckets) == MAX_BUCKETS


def test_addresses_of_one_network_are_one_client() -> None:
    """A subscriber of IPv6 has more addresses than any table."""
    keys = {build_address_key({"client": (f"2001:db8:0:1::{n:x}", 1)}) for n in range(9)}
    assert len(keys) == 1
    assert build_address_key({"client": ("2001:db8:0:2::1", 1)}) not in keys
    assert build_address_key({"client": ("::ffff:10.0.0.1", 1)}) == "address ::ffff:10.0.0.1"
    assert build_address_key({}) == "address "


def test_requests_above_the_rate_are_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    """Nothing is started by them, and health checks go on."""
    with open_http_child(tmp_path / "f", FLOWPORT_PERSON_REQUESTS_PER_MINUTE="3") as (_, url):
        answers = [httpx2.post(url, json={}, trust_env=False, timeout=PATIENCE_SECONDS) for _ in range(5)]
        health = httpx2.get(url.replace("/mcp", "/healthz"), trust_env=False, timeout=PATIENCE_SECONDS)

    assert [one.status_code == 429 for one in answers] == [False, False, False, True, True]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].text.startswith("There were too many requests in a minute.")
    assert health.status_code == 200


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server that takes three connections and one session."""
    limits = {"FLOWPORT_MAX_CONNECTIONS": "3", "FLOWPORT_MAX_SESSIONS": "1"}
    with open_http_child(tmp_path_factory.mktemp("small"), **limits) as (_, url):
        yield url


def test_a_connection_above_the_limit_is_answered_that_the_server_is_full(small: str) -> None:
    """And there is room again when another one closes."""
    parts = urlsplit(small)
    address = (parts.hostname or "", parts.port or 0)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(address))
        full = http.client.HTTPConnection(*address, timeout=60)
        full.request("GET", "/healthz")
        refused = full.getresponse()
        assert (refused.status, refused.getheader("retry-after")) == (503, "5")
        assert b"as many connections as it takes" in refused.read()
    poll_until(lambda: ask_health(address) == 200)


def ask_health(address: tuple[str, int]) -> int:
    """Return the status of a health check on a new connection."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_session_above_the_limit_is_refused_and_ends_no_other(small: str) -> None:
    """An older client that opens sessions without an end must not fill the memory."""
    with ExitStack() as stack:
        first = HttpCaller(small, ERAS[0], stack)
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": ERAS[0]}}
        headers = {"accept": "application/json, text/event-stream"}
        refused = httpx2.post(small, json=hello, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)
        assert refused.status_code == 503
        assert "result" in first.call("list_runs", {}).read()[1]


async def test_a_person_has_a_number_of_waiting_calls_and_leaves_the_others_theirs(tmp_path: Path) -> None:
    """One assistant that calls in a loop must not take the server from the rest of the team."""
    async with open_team(tmp_path, http=HttpSettings(max_waiting_calls=1)) as team:
        for owner in ("ann", "bob"):
            await team.connect(owner)
        await team.harness.sandbox.switch("next_run", hold=True, pending_seconds=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(team.ask, "ann", "text_to_picture", prompt="a lake"))
            await wait_until(lambda: bool(team.harness.assembly.workspace.waiter.live_runs.count_states()))
            refused = await team.ask("ann", "text_to_picture", prompt="a hill")
            other = await team.ask("bob", "list_runs")
            tasks.cancel_scope.cancel()

    assert refused["error"] == "TooManyCalls"
    assert refused["message"].startswith("Nothing was started: 1 of your calls are waiting already")
    assert other["runs"] == []
