"""The event loop of the tests reports files that were closed behind its back, before one of them stops a server."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.watched_loop import StaleFile, open_watched_loop


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would fail the test at the end of the loop."""
    reports: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)
    return reports


@pytest.fixture
def loop(reports: list[Any]) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that the test may close."""
    loop = open_watched_loop()
    yield loop
    loop.close()


def reuse(loop: asyncio.AbstractEventLoop) -> socket.socket:
    """Return a listener with the number of a socket that was closed while the loop waited for it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        loop.add_reader(number := closed.fileno(), print)
    listener = socket.create_server(("127.0.0.1", 0))
    assert listener.fileno() == number
    return listener


def test_a_listener_with_the_number_of_a_closed_file_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio alone would take it and never accept a connection, as in python/cpython#88968."""
    with reuse(loop) as listener, pytest.raises(StaleFile, match="belongs to another file"):
        loop.add_reader(listener, print)


def test_a_late_removal_that_hits_another_file_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    """It would take the other file from the loop, and it names where the first one came from."""
    with reuse(loop) as listener, pytest.raises(StaleFile, match=r"test_watched_loop\.py"):
        loop.remove_reader(listener)


def test_a_file_that_was_closed_and_never_removed_is_reported_at_the_end(
    loop: asyncio.AbstractEventLoop, reports: list[Any]
) -> None:
    """Its number waits for the next file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.add_reader(listener, print)
    loop.close()
    assert [(report.exc_type, "was closed" in str(report.exc_value)) for report in reports] == [(StaleFile, True)]


def test_a_file_that_is_removed_before_it_is_closed_is_fine(
    loop: asyncio.AbstractEventLoop, reports: list[Any]
) -> None:
    """As is one that is open at the end."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        loop.add_reader(first, print)
        loop.remove_reader(first)
    with socket.create_server(("127.0.0.1", 0)) as second:
        loop.add_reader(second, print)
        loop.add_writer(second, print)
        loop.remove_writer(second)
        loop.close()
    assert reports == []
