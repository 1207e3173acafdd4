"""Magica's face of the sandbox that all tests share."""

import pytest

from tests.fakes.client import Client
from tests.fakes.magica.client import MagicaClient


@pytest.fixture
def magica(sandbox: Client) -> MagicaClient:
    """Give a test the face as it was at the start."""
    return MagicaClient(sandbox)
