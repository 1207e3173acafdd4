"""One sandbox for all tests of this folder; `sandbox` gives it to each as it was at its start."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.client import Client, build_photo, encode, open_sandbox


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[Client]:
    """Run the sandbox."""
    async with open_sandbox() as client:
        yield client


@pytest.fixture
def photo() -> str:
    """Give a test a photograph in base64."""
    return encode(build_photo())
