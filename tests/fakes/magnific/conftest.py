"""What the tests of this folder upload."""

import pytest

from tests.fakes.client import build_photo, encode


@pytest.fixture
def photo() -> str:
    """Give a test a photograph in base64."""
    return encode(build_photo())
