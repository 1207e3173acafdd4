"""Requests, readers and waits that the tests of this folder share."""

import json
from typing import Any

import anyio
import mcp.types as t

from tests.support.harness import Harness

TOOL = "text_to_picture"
FAILING = "always_fails"


def build_rows(count: int, word: str = "lake") -> list[dict[str, Any]]:
    """Return rows that all differ."""
    return [{"prompt": f"{word} {n}"} for n in range(1, count + 1)]


async def read(flowport: Harness, uri: str) -> dict[str, Any]:
    """Read a resource of JSON."""
    found = (await flowport.client.read_resource(uri)).contents[0]
    assert isinstance(found, t.TextResourceContents)
    facts: dict[str, Any] = json.loads(found.text)
    return facts


async def wait_until_started(flowport: Harness, count: int) -> None:
    """Wait until the provider has had a number of start requests."""
    with anyio.fail_after(60):
        while await flowport.count("run") < count:
            await anyio.lowlevel.checkpoint()
