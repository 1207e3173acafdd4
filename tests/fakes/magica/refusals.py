"""How Magica says no: one exception, and the bodies in which an error may come."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from starlette.responses import JSONResponse, Response

from flowport.sandbox.web import get_message
from tests.fakes.magica.dialect import ErrorBody

CODES: Final[Mapping[int, str]] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    402: "INSUFFICIENT_CREDITS",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_SERVER_ERROR",
    503: "PROVIDER_UNAVAILABLE",
}
"""What goes with a status that has no code of its own; 500 and 503 were seen."""


@dataclass(eq=False)
class Denied(Exception):
    """A request is answered with an error status and nothing else."""

    status: int
    message: str
    code: str = ""
    """Empty: the status's own."""
    details: list[dict[str, Any]] = field(default_factory=list)
    """What is wrong with which part of a request, as zod reports it."""


def build_issue(path: list[str], code: str, message: str, **more: Any) -> dict[str, Any]:
    """Build one detail of a 400: live ones have a `code`, a `path`, and what was expected and received."""
    return {"code": code, **more, "path": path, "message": message}


def deny_values(path: list[str], code: str, message: str, **more: Any) -> Denied:
    """Build the 400 for one part of a request."""
    where = ".".join(path)
    return Denied(
        400, f"{where}: {message}" if where else message, "VALIDATION_ERROR", [build_issue(path, code, message, **more)]
    )


def build_denial(denied: Denied, shape: ErrorBody) -> Response:
    """Build the answer to a refused request."""
    code = denied.code or CODES.get(denied.status, "ERROR")
    body = _build_body(denied, code, shape)
    if isinstance(body, str):
        return Response(body, denied.status, media_type="text/plain")
    return JSONResponse(body, denied.status)


def build_status_body(status: int, shape: ErrorBody) -> str:
    """Build the body of a status that has nothing more particular to say."""
    return bytes(build_denial(Denied(status, get_message(status)), shape).body).decode()


def _build_body(  # noqa: PLR0911 - one line for each shape
    denied: Denied, code: str, shape: ErrorBody
) -> dict[str, Any] | str:
    details = {"details": denied.details} if denied.details else {}
    match shape:
        case ErrorBody.FULL:
            trace = secrets.token_hex(8)
            return {"error": code, "message": denied.message, "code": code, "traceId": trace, **details}
        case ErrorBody.MESSAGE:
            return {"message": denied.message, **details}
        case ErrorBody.NESTED:
            return {"error": {"message": denied.message, "code": code, **details}}
        case ErrorBody.ERROR:
            return {"error": denied.message}
        case ErrorBody.CODE:
            return {"code": code}
        case ErrorBody.RAW:
            return denied.message
        case ErrorBody.EMPTY:
            return ""
        case _:
            assert_never(shape)
