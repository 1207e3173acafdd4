"""Shared by all tests: one event loop library, no configuration of the user, and no network but the loopback interface."""

import gc
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import httpx2
import hypothesis
import pytest

from flowport.network import sandbox_process
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.fakes.magica.client import MagicaClient
from tests.support.harness import MODES, Mode
from tests.support.official_requests import RequestChecker
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import PostgresServer, create_migrated, create_template, empty_database, open_postgres
from tests.support.watched_loop import open_watched_loop

hypothesis.settings.register_profile("flowport", deadline=None, print_blob=True)
hypothesis.settings.register_profile("soak", deadline=None, print_blob=True, max_examples=1000)
hypothesis.settings.load_profile("flowport")

_LOOPBACK = ("127.", "::1", "localhost")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make captured text sendable between processes: hostile names contain lone surrogates."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first, so that the other workers are busy while they run."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of each later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run async tests on asyncio, as the server does. No async fixture lives longer than its module: its loop would too."""
    # On Windows the server's loop has no selector.
    return "asyncio", {} if sys.platform == "win32" else {"loop_factory": open_watched_loop}


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL for the tests of this process; without its programs they are skipped."""
    with open_postgres() as server:
        create_template(server)
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> str:
    """Return the address of a database of this test alone, with our tables."""
    return create_migrated(postgres)


@pytest.fixture(scope="session")
def _emptied_databases() -> list[str]:
    """The databases that the next test may have."""
    return []


@pytest.fixture
def emptied_database_url(postgres: PostgresServer, _emptied_databases: list[str]) -> Iterator[str]:
    """Return the address of a database with our tables, for a test that changes no more than their rows.

    An earlier test may have had it, which saves most of what a database costs.
    """
    url = _emptied_databases.pop() if _emptied_databases else create_migrated(postgres)
    yield url
    empty_database(url)
    _emptied_databases.append(url)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Let a command that a test runs in this process silence the log for that test alone, as its own process would."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True, scope="session")
def _refuse_the_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "127."
        if not str(host).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to connect to {host}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect_here)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _collect_sandboxes() -> Iterator[None]:
    """Wait for sandboxes that outlived the program which started them: they end with the last one that used them."""
    yield
    while sandbox_process._left_running:
        sandbox_process._left_running.pop().wait(PATIENCE_SECONDS)


def build_checked(checker: RequestChecker, handle: Callable[..., Awaitable[httpx2.Response]]) -> Any:
    """Return a method of a transport that checks each request before it is sent."""

    async def check_and_handle(self: httpx2.AsyncBaseTransport, request: httpx2.Request) -> httpx2.Response:
        """Check a request and send it."""
        checker.check(request)
        return await handle(self, request)

    return check_and_handle


@pytest.fixture(autouse=True)
def request_checker(monkeypatch: pytest.MonkeyPatch) -> Iterator[RequestChecker]:
    """Fail a test in which Flowport sent a request that the provider's documentation does not allow."""
    checker = RequestChecker()
    for kind in (httpx2.AsyncHTTPTransport, httpx2.MockTransport):
        monkeypatch.setattr(kind, "handle_async_request", build_checked(checker, kind.handle_async_request))
    yield checker
    assert checker.problems == []


@pytest.fixture(autouse=True)
def _hide_the_person(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a home of its own, without the user's configuration and pictures."""
    for name in list(os.environ):
        if name.startswith(("FLOWPORT_", "MAGNIFIC_", "MAGICA_")):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("person")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local/share"))


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[SandboxClient]:
    """Run one sandbox for the tests of a module that use it."""
    async with open_sandbox() as client:
        yield client


@pytest.fixture
async def sandbox(running: SandboxClient) -> SandboxClient:
    """Return the sandbox in its initial state."""
    await running.switch("reset")
    return running


@pytest.fixture
async def face(running: SandboxClient) -> MagicaClient:
    """Return the Magica fake in its initial state."""
    await running.switch("reset")
    return MagicaClient(running)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each era of the protocol."""
    mode: Mode = request.param
    return mode
