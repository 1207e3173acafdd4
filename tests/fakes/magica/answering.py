"""What every answer of Magica's face goes through: the key, the count, the limits, the faults, the form of a refusal."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flowport.sandbox.web import MAX_BODY_BYTES, Refused, answer_refused, get_message, read_bytes
from tests.fakes.magica.refusals import Denied, build_denial, build_status_body
from tests.fakes.magnific.faults import Fault, FaultKind, enact
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation

FACE: Final = "magica"
"""Under which the requests of this face are counted, beside the path families of the other."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request with a valid key."""

    key: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = field(default=None, repr=False)
    """None for no body or one that is not JSON."""

    def get_object(self) -> dict[str, Any]:
        """Return the body; raises `Denied` with 400 when it is not a JSON object."""
        if not isinstance(self.body, dict):
            raise Denied(400, "The request body must be a JSON object", "VALIDATION_ERROR")
        return self.body


Handler: TypeAlias = Callable[[SandboxState, Call], Awaitable[Response]]
"""What an operation does when nothing goes wrong; may raise `Denied`."""


async def read_call(state: SandboxState, request: Request) -> Call:
    """Read a request; raises `Denied` with 401 for a wrong key, and `Refused` with 413 for too large a body."""
    key = state.magica.accounts.find_key(request)
    return Call(key, request.path_params, request.query_params, _parse(await read_bytes(request, MAX_BODY_BYTES)))


async def perform(
    state: SandboxState,
    call: Call,
    operation: Operation,
    handler: Handler,
    app_id: str | None = None,
    *,
    face: str = FACE,
) -> Response:
    """Count a request, hold it to its key's limits, and do its work or what a fault makes of it."""
    state.traffic.count(operation, face)
    allowance = state.magica.limits.take(call.key)
    if allowance is not None and not allowance.is_allowed:
        response = build_denial(Denied(429, get_message(429)), state.magica.dialect.error_body)
    else:
        fault = state.faults.take(operation, app_id)

        async def work() -> Response:
            """Do the work, or refuse."""
            return await _answer(state, call, handler)

        response = await work() if fault is None else await enact(_translate(state, fault), work)
    if allowance is not None:
        response.headers.update(allowance.headers)
    state.traffic.count_answer(response.status_code)
    return response


def build_exception_handlers(state: SandboxState) -> dict[Any, Any]:
    """Build the handlers of what no operation has answered: keys, unknown paths, wrong methods, and the switches'."""

    async def answer(request: Request, error: Exception) -> Response:
        """Turn an exception into a response."""
        shape = state.magica.dialect.error_body
        match error:
            case Denied():
                return build_denial(error, shape)
            case HTTPException(status_code=status):
                return build_denial(Denied(status, get_message(status)), shape)
            case Refused():
                return await answer_refused(request, error)
            case _:
                return build_denial(Denied(500, get_message(500)), shape)

    return dict.fromkeys((Denied, HTTPException, Refused, Exception), answer)


def build_json(value: Any, status: int = 200) -> Response:
    """Build an answer."""
    return JSONResponse(value, status)


async def _answer(state: SandboxState, call: Call, handler: Handler) -> Response:
    try:
        return await handler(state, call)
    except Denied as denied:
        return build_denial(denied, state.magica.dialect.error_body)


def _translate(state: SandboxState, fault: Fault) -> Fault:
    """Give a status without a body of its own the body that this face has for it."""
    if fault.kind not in {FaultKind.STATUS, FaultKind.STATUS_AFTER} or fault.body is not None:
        return fault
    return replace(fault, body=build_status_body(fault.status, state.magica.dialect.error_body))


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
