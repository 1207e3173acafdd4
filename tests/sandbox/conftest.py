"""One sandbox for all tests, reset before each."""

from collections.abc import AsyncIterator

import pytest

from .client import Client, build_photo, encode, open_sandbox


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Name the event loop; for the session, because the sandbox lives that long."""
    return "asyncio"


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[Client]:
    """Run the sandbox."""
    async with open_sandbox() as client:
        yield client


@pytest.fixture
async def sandbox(running: Client) -> Client:
    """Give a test the sandbox as it was at its start."""
    await running.switch("reset")
    return running


@pytest.fixture
def photo() -> str:
    """Give a test a photograph in base64."""
    return encode(build_photo())
