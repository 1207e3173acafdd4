"""Magica's face of the sandbox that all tests share."""

import pytest

from tests.sandbox.client import Client

from .client import MagicaClient


@pytest.fixture
def magica(sandbox: Client) -> MagicaClient:
    """Give a test the face as it was at the start."""
    return MagicaClient(sandbox)
