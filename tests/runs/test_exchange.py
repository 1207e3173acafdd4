"""What is told of an answer, in whatever order a transport reports."""

from collections.abc import Callable

import pytest

from flowport.runs.calls import Exchange

WRITTEN, CANCELLED, DISCONNECTED = Exchange.note_written, Exchange.note_cancelled, Exchange.note_disconnected


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note_written(self) -> None:
        """Hear that the answer was written."""
        self.told.append("written")

    def note_cancelled(self) -> None:
        """Hear that the request was cancelled after that."""
        self.told.append("cancelled")

    def note_left(self) -> None:
        """Hear that the client has left."""
        self.told.append("left")


@pytest.mark.parametrize(
    ("reports", "told"),
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
def test_a_listener_is_told_once_what_became_of_the_answer(
    reports: list[Callable[[Exchange], None]], told: list[str]
) -> None:
    """A delivery stands, however the connection ends afterwards; nothing is delivered to a client that has gone."""
    exchange, listener = Exchange(1), Listener()
    exchange.expect(listener)
    assert exchange.is_open
    for report in reports:
        report(exchange)
    assert listener.told == told
    assert not exchange.is_open


def test_an_answer_that_is_replaced_delivers_nothing() -> None:
    """A handler that fails after its answer was made gives an error instead."""
    exchange, listener = Exchange(1), Listener()
    exchange.expect(listener)
    exchange.withdraw()
    exchange.note_written()
    exchange.withdraw()
    assert listener.told == ["left"]


@pytest.mark.parametrize("report", [CANCELLED, DISCONNECTED])
def test_who_carries_out_a_request_is_told_once_that_its_client_has_left(report: Callable[[Exchange], None]) -> None:
    """At once, not between two changes of a run; and also when it comes too late to be told."""
    exchange, left = Exchange(1), list[int]()
    exchange.set_on_left(lambda: left.append(1))
    report(exchange)
    report(exchange)
    exchange.set_on_left(lambda: left.append(2))
    assert (left, exchange.is_disconnected) == ([1, 2], True)


def test_a_client_that_has_its_answer_has_not_left() -> None:
    """Connections are closed after the answer, and that is no reason to stop anything."""
    exchange, left = Exchange(1), list[int]()
    exchange.set_on_left(lambda: left.append(1))
    exchange.note_written()
    exchange.note_disconnected()
    assert (left, exchange.is_disconnected) == ([], False)
