"""The first thing that a process does: exit quietly on a signal. It imports little, so that it comes before what is slow."""

import gc
import os
import signal
from collections.abc import Sequence
from typing import Final

SERVING: Final = frozenset({"serve", "worker", "sandbox", "gallery"})
"""What a signal ends as it is meant to; any other command is interrupted by it."""
INTERRUPTED: Final = 130


def get_signal_code(words: Sequence[str]) -> int:
    """Return the exit code of a command that a signal ends before it handles signals itself."""
    return 0 if not words or words[0] in SERVING or words[0].startswith("-") else INTERRUPTED


def prepare_process(code: int = 0) -> None:
    """Exit quietly on a signal until a command handles signals itself, and disable garbage collection until it serves."""
    # A start creates many objects and no garbage; collecting takes a sixth of the time to the first tool list.
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))
