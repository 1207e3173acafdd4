"""How the sandbox says no: one exception, and the provider's own words for each status."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

# Magnific API 1.0.0, the examples under each error; 402, 422 and 429 are not documented for flows.
MESSAGES: Mapping[int, str] = {
    400: "Parameter ':attribute' is not valid",
    401: "Invalid API key",
    402: "Not enough credits",
    403: "User is not authorized to access this resource",
    404: "Not found",
    422: "Validation error on input values",
    429: "Too many requests",
    500: "Internal Server Error",
    503: "Service Unavailable. Please try again later.",
}
"""What the provider says with a status when it says nothing more particular."""


@dataclass(eq=False)
class Refused(Exception):
    """A request is answered with an error status and nothing else."""

    status: int
    message: str


def get_message(status: int) -> str:
    """Return the contract's words for a status, or the status's own name."""
    if status in MESSAGES:
        return MESSAGES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "No known reason"


def build_refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build the contract's error body, `{"message": ...}`."""
    return JSONResponse({"message": message}, status_code=status, headers=headers)


async def answer_refused(_request: Request, error: Exception) -> Response:
    """Turn what a route raised into an answer; anything not raised on purpose is a 500."""
    match error:
        case Refused(status=status, message=message):
            return build_refusal(status, message)
        case HTTPException(status_code=status, headers=headers):
            return build_refusal(status, get_message(status), headers)
        case _:
            return build_refusal(500, get_message(500))
