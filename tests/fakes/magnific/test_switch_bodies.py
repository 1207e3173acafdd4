"""The bodies of switches."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from flowport.sandbox.web import Refused
from tests.fakes.magnific.switch_bodies import Switch, read_switch


class Lamp(Switch):
    """A switch with one field."""

    brightness: float


def build_request(body: bytes) -> Request:
    """Build a request with this body."""

    async def receive() -> MutableMapping[str, Any]:
        """Hand it out."""
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_body_becomes_its_record() -> None:
    """Routes see checked values only."""
    assert await read_switch(build_request(b'{"brightness": 2}'), Lamp) == Lamp(brightness=2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "brightness: Field required"),
        (b'{"brightness": 1, "colour": 2}', "colour: Extra inputs are not permitted"),
        (b'{"brightness": NaN}', "brightness: Input should be a finite number"),
        (b"[]", "The request body must be a JSON object"),
    ],
)
async def test_anything_else_is_a_400_with_a_sentence(body: bytes, message: str) -> None:
    """A test with a misspelt switch must not pass by accident."""
    with pytest.raises(Refused) as caught:
        await read_switch(build_request(body), Lamp)
    assert (caught.value.status, caught.value.message) == (400, message)
