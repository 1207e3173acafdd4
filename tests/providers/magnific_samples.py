"""Magnific, one of its flows, an instant, and answers made of literals, for the tests of what it answers."""

import json

from flowport.domain.models import App
from flowport.providers.interface import ApiAnswer
from flowport.providers.magnific.api import Magnific

MAGNIFIC = Magnific()
NOW = 1_772_020_920.0  # 2026-02-25T12:02:00Z, when the example's run was completed
SKETCH = App("magnific", "uqzQLDr2Aw", "Sketch to Realism", is_own=False, price_credits=5.0)


def answer(body: object = None, status: int = 200, **headers: str) -> ApiAnswer:
    """Return an answer; text and bytes are sent as they are, everything else as JSON."""
    raw = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else json.dumps(body).encode()
    return ApiAnswer(status, headers, raw)
