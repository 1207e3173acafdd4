"""The ways in which a request can be made to go wrong, each queued for a number of matching requests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias, assert_never

import anyio
from starlette.responses import Response

from flowport.sandbox.web import Refused, build_refusal, get_message
from tests.fakes.magnific.traffic import Operation
from tests.fakes.magnific.wire import RawAnswer, truncate

Work: TypeAlias = Callable[[], Awaitable[Response]]
"""What an operation does when nothing goes wrong; may raise `Refused`."""


class FaultKind(StrEnum):
    """What goes wrong."""

    DELAY = "delay"
    """The right answer, late."""
    LATE = "late"
    """The work is done; its answer comes late."""
    RESET = "reset"
    """The connection is reset; nothing is done."""
    STATUS = "status"
    """An error status; nothing is done."""
    STATUS_AFTER = "status_after"
    """An error status, although the work is done."""
    DROP = "drop"
    """The work is done and the connection closed without a word."""
    TRUNCATE = "truncate"
    """The work is done; half of the answer arrives."""
    GARBAGE = "garbage"
    """The right status with a body that is not JSON."""
    EMPTY = "empty"
    """The right status without a body."""
    NOT_HTTP = "not_http"
    """The work is done; the answer is not HTTP."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and the requests that it waits for."""

    operation: Operation
    kind: FaultKind
    app_id: str | None = None
    """Only requests about this app; None: any."""
    status: int = 500
    """For the two status faults."""
    body: str | None = None
    """The raw body that goes with the status; None: the contract's message."""
    retry_after_seconds: float | None = None
    """Sent as `Retry-After`; None: no such header."""
    location: str | None = None
    """Sent as `Location`, for redirects; None: no such header."""
    delay_seconds: float = 0.0


_AfterWork: TypeAlias = Literal[
    FaultKind.STATUS_AFTER,
    FaultKind.DROP,
    FaultKind.TRUNCATE,
    FaultKind.GARBAGE,
    FaultKind.EMPTY,
    FaultKind.NOT_HTTP,
]


class FaultQueue:
    """The faults still to happen, in the order in which they were asked for."""

    def __init__(self) -> None:
        """Start with none."""
        self._faults: list[Fault] = []

    def add(self, fault: Fault, times: int) -> None:
        """Queue a fault for that many matching requests."""
        self._faults.extend([fault] * times)

    def take(self, operation: Operation, app_id: str | None) -> Fault | None:
        """Remove and return the first fault that fits the request, or None."""
        for index, fault in enumerate(self._faults):
            if fault.operation is operation and fault.app_id in {None, app_id}:
                return self._faults.pop(index)
        return None

    def clear(self) -> None:
        """Forget the faults that have not happened."""
        self._faults.clear()


async def enact(fault: Fault, work: Work) -> Response:
    """Answer a request with this fault, doing the work where the fault says so."""
    match fault.kind:
        case FaultKind.DELAY:
            await anyio.sleep(fault.delay_seconds)
            return await work()
        case FaultKind.LATE:
            answer = await _settle(work)
            await anyio.sleep(fault.delay_seconds)
            return answer
        case FaultKind.RESET:
            return RawAnswer(is_reset=True)
        case FaultKind.STATUS:
            return _build_status(fault)
        case _:
            return _spoil(fault, fault.kind, await _settle(work))


def _spoil(fault: Fault, kind: _AfterWork, response: Response) -> Response:
    match kind:
        case FaultKind.STATUS_AFTER:
            return _build_status(fault)
        case FaultKind.DROP:
            return RawAnswer()
        case FaultKind.TRUNCATE:
            return truncate(response)
        case FaultKind.GARBAGE:
            return Response("<html>Bad gateway</html>", response.status_code, media_type="text/html")
        case FaultKind.EMPTY:
            return Response(b"", response.status_code, media_type="application/json")
        case FaultKind.NOT_HTTP:
            return RawAnswer(b"220 mail.example.test ESMTP ready\r\n\r\n")
        case _:
            assert_never(kind)


async def _settle(work: Work) -> Response:
    """Do the work; a refusal is an answer like any other, to be spoilt likewise."""
    try:
        return await work()
    except Refused as refusal:
        return build_refusal(refusal.status, refusal.message)


def _build_status(fault: Fault) -> Response:
    headers = {}
    if fault.retry_after_seconds is not None:
        headers["retry-after"] = f"{fault.retry_after_seconds:g}"
    if fault.location is not None:
        headers["location"] = fault.location
    if fault.body is None:
        return build_refusal(fault.status, get_message(fault.status), headers)
    return Response(fault.body, fault.status, headers, media_type="application/json")
