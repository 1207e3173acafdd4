"""A fresh demo for each test of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.client import build_photo, encode
from tests.sandbox.client import Client, open_sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Client]:
    """Run a demo in memory."""
    async with open_sandbox() as client:
        yield client


@pytest.fixture
def photo() -> str:
    """Give a test a photograph in base64."""
    return encode(build_photo())
