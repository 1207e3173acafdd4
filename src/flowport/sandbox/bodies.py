"""Reading request bodies: bounded, and JSON objects where the contract has them."""

import json
from typing import Any, Final

from starlette.requests import Request

from flowport.sandbox.refusals import Refused

MAX_BODY_BYTES: Final = 64_000_000
"""Room for two of the largest pictures in base64."""


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """Read a body; raises `Refused` with 413 when it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise Refused(413, "The request body is too large")
    return bytes(body)


async def read_object(request: Request) -> dict[str, Any]:
    """Read a body that must be a JSON object.

    Raises:
        Refused: 413 when it is too large, 400 when it is something else.
    """
    try:
        value = json.loads(await read_bytes(request, MAX_BODY_BYTES))
    except (ValueError, RecursionError) as exc:
        raise Refused(400, "The request body is not valid JSON") from exc
    if not isinstance(value, dict):
        raise Refused(400, "The request body must be a JSON object")
    return value
