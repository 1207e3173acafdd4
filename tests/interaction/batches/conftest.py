"""Flowport with a client of each era, for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.client import Client as SandboxClient
from tests.support.harness import Harness, Mode, open_harness


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> AsyncIterator[Harness]:
    """Run Flowport with a client of each era."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as harness:
        yield harness
