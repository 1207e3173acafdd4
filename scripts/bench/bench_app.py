"""The measured run: one of the sandbox's apps, and how often it is polled."""

from typing import Final

from flowport.runs.steps import Pace

APP_ID: Final = "t2P6yGfJ0x"
TOOL_NAME: Final = "text_to_picture"
INPUTS: Final = {"prompt": "a quiet harbour at dawn", "shape": "square"}
"""A PNG of 768 pixels a side and 120 KB: too large to be its own preview, so each is decoded."""

SANDBOX_SECONDS: Final = 2.0
"""How long the app takes at speed 1."""
RUN_SECONDS: Final = 5.0

FIRST_SECONDS: Final = Pace().first_seconds
EVERY_SECONDS: Final = Pace().every_seconds
