"""Reading request bodies."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from flowport.sandbox.web import MAX_BODY_BYTES, Refused, read_object


def build_request(chunk: bytes, count: int) -> Request:
    """Build a request whose body comes in equal pieces."""
    left = [count]

    async def receive() -> MutableMapping[str, Any]:
        """Hand out one piece."""
        left[0] -= 1
        return {"type": "http.request", "body": chunk, "more_body": left[0] > 0}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_an_object_is_read_from_its_pieces() -> None:
    """A body rarely comes at once."""
    assert await read_object(build_request(b"{}", 1)) == {}


async def test_a_body_without_end_is_refused() -> None:
    """As soon as it is too large, not after it was all kept."""
    chunk = b" " * 4_000_000
    with pytest.raises(Refused) as caught:
        await read_object(build_request(chunk, MAX_BODY_BYTES // len(chunk) + 1))
    assert caught.value.status == 413
