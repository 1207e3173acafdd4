"""Give the store's thread its turns of the interpreter sooner while a request waits for what it writes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

HURRIED_SECONDS: Final = 0.0002
"""How long another thread runs on then, at most: a write takes a turn for each of its statements. Not always, since every
change of turns costs the processor too."""

_hurrying = 0
_usual_seconds = 0.0


@contextmanager
def hurrying() -> Iterator[None]:
    """Let threads take turns more often meanwhile; to be used on the thread of the event loop alone."""
    global _hurrying, _usual_seconds  # noqa: PLW0603 - it is a setting of the whole interpreter
    if not _hurrying:
        _usual_seconds = sys.getswitchinterval()
        sys.setswitchinterval(min(HURRIED_SECONDS, _usual_seconds))
    _hurrying += 1
    try:
        yield
    finally:
        _hurrying -= 1
        if not _hurrying:
            sys.setswitchinterval(_usual_seconds)
