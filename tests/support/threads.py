"""Threads of a test, which end before what they use is closed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.patience import PATIENCE_SECONDS


@contextmanager
def running_thread(work: Callable[[], object]) -> Iterator[None]:
    """Do work on a thread inside a block, and wait for its end.

    A thread that goes on after its test would use descriptors that were closed, or that another test has meanwhile.
    """
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the thread of a test does not end"
