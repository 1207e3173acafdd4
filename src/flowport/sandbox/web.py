"""Requests and refusals: the API key, the Host header, bounded bodies, and the documented error bodies."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

# Magnific API 1.0.0, the examples under each error; 402, 422 and 429 are not documented for flows.
MESSAGES: Final[Mapping[int, str]] = {
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
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
MAX_BODY_BYTES: Final = 64_000_000  # room for two of the largest pictures in base64

# The second is the header of the time when the service had another name; clients still send it.
KEY_HEADERS: Final = ("x-magnific-api-key", "x-freepik-api-key")


@dataclass(eq=False)
class Refused(Exception):
    """A request is answered with an error status."""

    status: int
    message: str


def get_message(status: int) -> str:
    """Return the documented message of a status, or the status's own name."""
    return MESSAGES.get(status) or _PHRASES.get(status, "No known reason")


def build_refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build the documented error body, `{"message": ...}`."""
    return JSONResponse({"message": message}, status_code=status, headers=headers)


async def answer_refused(_request: Request, error: Exception) -> Response:
    """Turn an exception of a route into a response; one that was not raised on purpose is a 500."""
    match error:
        case Refused(status=status, message=message):
            return build_refusal(status, message)
        case HTTPException(status_code=status, headers=headers):
            return build_refusal(status, get_message(status), headers)
        case _:
            return build_refusal(500, get_message(500))


EXCEPTION_HANDLERS: Final[dict[Any, Any]] = dict.fromkeys((Refused, HTTPException, Exception), answer_refused)


def check_key(request: Request, key: str) -> None:
    """Check the API key of a request; raises `Refused` with 401."""
    given = next((request.headers[name] for name in KEY_HEADERS if request.headers.get(name)), None)
    if given is None:
        raise Refused(401, "Missing API key")
    if not hmac.compare_digest(given.encode(), key.encode()):
        raise Refused(401, "Invalid API key")


def guard(app: ASGIApp, port: int, key: str = "") -> ASGIApp:
    """Answer 403 to requests that name another host than the loopback interface, and 401 to those without a key.

    A page of another site can have its name resolve to 127.0.0.1; the Host header then still has the site's name.
    """
    allowed = {f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        answer: ASGIApp = app
        if len(hosts) != 1 or hosts[0].lower() not in allowed:
            answer = build_refusal(403, "Host not allowed")
        elif key:
            try:
                check_key(Request(scope), key)
            except Refused as exc:
                answer = build_refusal(exc.status, exc.message)
        await answer(scope, receive, send)

    return guarded


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """Read a body; raises `Refused` with 413 when it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise Refused(413, "The request body is too large")
    return bytes(body)


async def read_object(request: Request) -> dict[str, Any]:
    """Read a body that must be a JSON object; raises `Refused` with 413 or 400."""
    try:
        value = json.loads(await read_bytes(request, MAX_BODY_BYTES))
    except (ValueError, RecursionError) as exc:
        raise Refused(400, "The request body is not valid JSON") from exc
    if not isinstance(value, dict):
        raise Refused(400, "The request body must be a JSON object")
    return value


def format_instant(instant_at: float | None) -> str | None:
    """Format an instant as ISO 8601 with `+00:00`, in whole seconds; None stays None."""
    return None if instant_at is None else datetime.fromtimestamp(instant_at, UTC).isoformat(timespec="seconds")
