"""What reverse proxies do to headers that clients forge, to clients that leave, and to a browser at the gallery."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.crash.benches import KEY, open_bench
from tests.verify.clones import ROOT
from tests.verify.test_proxies import PROXIES, TOOL, World, open_client

sys.path.insert(0, str(ROOT / "scripts"))
from loopback import HOST, build_context, find_proxy, reserve_port, run_proxy, run_server, write_certificate

from tests.support.patience import PATIENCE_SECONDS

FORGED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "203.0.113.7",
    "Forwarded": "for=203.0.113.7;host=evil.example;proto=http",
}
IGNORING = {
    "nginx that buffers everything and ignores clients that left": (
        "nginx",
        {
            "proxy_buffering off;": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
            "proxy_ignore_client_abort off;": "proxy_ignore_client_abort on;",
        },
    )
}
"""A proxy that takes the whole answer in the place of its client."""


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers of the request."""

    def do_GET(self) -> None:
        """Answer one request."""
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def open_echo(kind: str, folder: Path) -> Iterator[httpx2.Client]:
    """Run a proxy in front of a server that answers with what it receives."""
    if find_proxy(kind) is None:
        pytest.skip(f"{kind} is not installed: `apt-get install {kind}` provides it")
    certificate = write_certificate(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server, reserve_port() as held:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = held.getsockname()[1]
        with (
            run_proxy(kind, folder, port, f"127.0.0.1:{server.server_port}"),
            httpx2.Client(
                base_url=f"https://{HOST}:{port}", verify=build_context(certificate), trust_env=False, timeout=60
            ) as http,
        ):
            yield http
        server.shutdown()


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_a_proxy_passes_on_nothing_that_a_client_claims_about_itself(kind: str, tmp_path: Path) -> None:
    """The server behind it gets the client's real address and scheme, and the name that was asked for."""
    with open_echo(kind, tmp_path) as http:
        found = http.get("/mcp", headers=FORGED).json()

    assert found["x-forwarded-for"] == "127.0.0.1"
    assert found["x-forwarded-proto"] == "https"
    assert found["host"] == f"{HOST}:{http.base_url.port}"
    assert not [name for name, value in found.items() if "203.0.113.7" in value or "evil" in value]


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_what_is_for_the_inside_is_not_served_outside(kind: str, tmp_path: Path) -> None:
    """Metrics and readiness name accounts and faults."""
    with open_echo(kind, tmp_path) as http:
        codes = [http.get(path).status_code for path in ("/metrics", "/readyz", "/healthz")]

    assert codes == [404, 404, 200]


@pytest.fixture(scope="module", params=[*PROXIES, *IGNORING])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a provider, the server and a proxy."""
    kind, changes = {**PROXIES, **IGNORING}[request.param]
    if find_proxy(kind) is None:
        pytest.skip(f"{kind} is not installed: `apt-get install {kind}` provides it")
    folder = tmp_path_factory.mktemp("edges")
    with open_bench(folder / "sandbox") as bench:
        settings = {
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": bench.url,
            "MAGNIFIC_FILE_ORIGINS": bench.files_url,
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "1000000",
        }
        with run_server(folder / "flowport", kind=kind, changes=changes, settings=settings) as server:
            yield World(bench, server, request.param)


def count_requests(world: World) -> int:
    """Return how many requests the server has finished, by its log."""
    return world.server.home.with_name("flowport.log").read_text(encoding="utf-8").count('"flowport.access"')


def wait_for_requests(world: World, count: int) -> None:
    """Wait until the server has finished so many requests."""
    while count_requests(world) < count:
        pass


def test_a_result_is_undelivered_when_its_client_left(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A proxy reports that a client left, also one that buffers; one that is set to go on takes the answer in its place.

    Then Flowport cannot know that the answer reached no client, so the examples do not set these options.
    """
    world.bench.switch("reset")
    world.bench.switch("next_run", hold=True)
    with open_client("python auto", world, tmp_path_factory) as reader:
        reader.do("list", "tools")
        with open_client("python auto", world, tmp_path_factory, is_killed=True) as client:
            client.do("list", "tools")
            client.send("call", tool=TOOL, arguments={"prompt": f"a lake for {world.proxy}"})
            world.wait_for_run()
            finished = count_requests(world)
        is_noticed = world.proxy not in IGNORING
        if is_noticed:
            wait_for_requests(world, finished + 1)
        world.release()
        if not is_noticed:
            wait_for_requests(world, finished + 1)
        run: dict[str, Any] = {"state": "", "is_seen": False}
        # That an answer was delivered is recorded after it was written.
        while run["state"] != "succeeded" or not (run["is_seen"] or is_noticed):
            run = reader.do("ask", "answer", tool="list_runs", arguments={"limit": 1})["facts"]["runs"][0]

    assert run["is_seen"] is not is_noticed


def test_a_browser_signs_in_to_the_gallery_through_the_proxy(world: World) -> None:
    """The cookie is for TLS alone, and forms are taken from the public origin."""
    server = world.server
    with httpx2.Client(
        base_url=server.url, verify=build_context(server.certificate), trust_env=False, timeout=PATIENCE_SECONDS
    ) as browser:
        start = browser.get("/gallery", follow_redirects=True)
        origin = {"origin": server.url}
        signed = browser.post("/gallery/sign-in", data={"token": server.token}, headers=origin)
        page = browser.get("/gallery/")
        listed = browser.get("/gallery/api/runs")
        foreign = browser.post("/gallery/sign-out", headers={"origin": "https://evil.example"})
        out = browser.post("/gallery/sign-out", headers=origin)

    assert (start.status_code, 'name="token"' in start.text) == (200, True)
    assert (signed.status_code, "secure" in signed.headers["set-cookie"].lower()) == (303, True)
    assert (page.status_code, "Signed in as you" in page.text) == (200, True)
    assert listed.status_code == 200
    assert [foreign.status_code, out.status_code] == [403, 303]
