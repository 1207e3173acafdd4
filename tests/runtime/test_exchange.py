"""What a listener receives about an answer, in whatever order a transport reports."""

from collections.abc import Callable

import pytest

from flowport.runtime.exchange import Exchange
from tests.support.scripted import Listener

WRITTEN, CANCELLED, DISCONNECTED = Exchange.note_written, Exchange.note_cancelled, Exchange.note_disconnected


@pytest.mark.parametrize(
    ("reports", "events"),
    [
        ([WRITTEN], ["written"]),
        ([WRITTEN, WRITTEN], ["written"]),
        ([WRITTEN, DISCONNECTED], ["written"]),
        ([WRITTEN, CANCELLED], ["written", "cancelled"]),
        ([CANCELLED, WRITTEN], ["left", "written", "cancelled"]),
        ([CANCELLED, DISCONNECTED, WRITTEN], ["left"]),
        ([DISCONNECTED, WRITTEN], ["left"]),
        ([DISCONNECTED, DISCONNECTED, CANCELLED], ["left"]),
    ],
)
def test_a_listener_receives_each_report_once(reports: list[Callable[[Exchange], None]], events: list[str]) -> None:
    """A delivery stands, however the connection ends afterwards; nothing is delivered to a client that has gone."""
    exchange, listener = Exchange(1), Listener()
    exchange.expect(listener)
    assert exchange.is_open
    for report in reports:
        report(exchange)
    assert listener.events == events
    assert not exchange.is_open


def test_an_answer_that_is_replaced_delivers_nothing() -> None:
    """A handler that fails after its answer was made gives an error instead."""
    exchange, listener = Exchange(1), Listener()
    exchange.expect(listener)
    exchange.withdraw()
    exchange.note_written()
    exchange.withdraw()
    assert listener.events == ["left"]


@pytest.mark.parametrize("report", [CANCELLED, DISCONNECTED])
def test_on_left_is_called_once_when_the_client_leaves(report: Callable[[Exchange], None]) -> None:
    """At once, not between two changes of a run; also when it is set after the client has left."""
    exchange, left = Exchange(1), list[int]()
    exchange.set_on_left(lambda: left.append(1))
    report(exchange)
    report(exchange)
    exchange.set_on_left(lambda: left.append(2))
    assert (left, exchange.is_disconnected) == ([1, 2], True)


def test_a_client_that_has_its_answer_has_not_left() -> None:
    """Connections are closed after the answer, and that is not a reason to stop anything."""
    exchange, left = Exchange(1), list[int]()
    exchange.set_on_left(lambda: left.append(1))
    exchange.note_written()
    exchange.note_disconnected()
    assert (left, exchange.is_disconnected) == ([], False)
