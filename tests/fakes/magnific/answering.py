"""What every answer of the provider goes through: the count, the limit, the faults, and the form of a refusal."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response

from flowport.sandbox.web import Refused, build_refusal, get_message
from tests.fakes.magnific.dialect import ErrorBodies, Family
from tests.fakes.magnific.faults import Work, enact
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation

_WITHOUT_SCHEMA: Final = frozenset({404, 422})
"""Statuses for which run-flow and get-flow give no body."""


async def perform(
    state: SandboxState, operation: Operation, app_id: str | None, work: Work, *, family: Family | None = None
) -> Response:
    """Count a request, hold it to the limit, and do its work or what a fault makes of it."""
    state.traffic.count(operation, family or "")
    if operation.is_limited and not state.traffic.allow():
        response: Response = _build_too_many(state)
    elif family is not None and not state.speech.dialect.speaks(family):
        response = build_refusal(404, get_message(404))
    else:
        fault = state.faults.take(operation, app_id)
        plain = _with_bare_refusals(state, work)
        response = await plain() if fault is None else await enact(fault, plain)
    state.traffic.count_answer(response.status_code)
    return response


def _build_too_many(state: SandboxState) -> Response:
    delay_seconds = state.traffic.get_delay_seconds()
    headers = {} if delay_seconds is None else {"retry-after": str(delay_seconds)}
    return build_refusal(429, get_message(429), headers)


def _with_bare_refusals(state: SandboxState, work: Work) -> Callable[[], Awaitable[Response]]:
    """Return the same work, whose refusals have no body where the present form of the API has none."""

    async def do() -> Response:
        try:
            return await work()
        except Refused as refusal:
            if refusal.status in _WITHOUT_SCHEMA and state.speech.dialect.error_bodies is ErrorBodies.EMPTY:
                return Response(b"", refusal.status)
            raise

    return do
