"""Graceful shutdown: triggered by a disconnect or a signal, with hard deadlines.

A server of many clients first drains: it takes nothing new, and answers what waits. Then everything is closed. A separate
thread enforces both deadlines, even while the event loop is busy or stuck.
"""

import asyncio
import logging
import os
import select
import signal
import sys
import threading
import time
from typing import Final

import anyio

logger = logging.getLogger(__name__)

CLOSING_SECONDS: Final = 1.6
"""Deadline of the clean-up. The store is consistent if the process is ended before."""

DRAINING_SECONDS: Final = 8.0
"""Deadline of draining. With the clean-up it is less than the 10 s after which container runtimes kill a process."""

_TURN_SECONDS: Final = 0.02
"""Interval at which the thread looks for the end of draining."""


_AT_ONCE: Final = 2
"""The signal that ends draining."""

PARENT_SECONDS = 5.0
"""Interval between checks that the parent process is alive. Other children of it may hold its ends of our pipes, so the
pipes stay open when it is killed."""


class End:
    """The shutdown of this process."""

    def __init__(self, client_fd: int | None = None, *, draining_seconds: float = 0.0) -> None:
        """Start the watching thread; call it on the running event loop, once in a process.

        Args:
            client_fd: The pipe to the client. Shutdown begins when its reading end is closed or when the parent process
                has ended. None to watch neither.
            draining_seconds: How long after a signal the clean-up may be put off; a second signal begins it.
        """
        self.begun = anyio.Event()
        """Set when nothing new may begin."""
        self.asked = anyio.Event()
        """Set when everything has to be closed."""
        self.is_handing_over = False
        """Whether requests of connections that are open are still served, while new ones go to another replica."""
        self.code = 0
        self._draining_seconds = draining_seconds
        self._signals = 0
        self._loop = asyncio.get_running_loop()
        self._wake, self._alarm = os.pipe()
        threading.Thread(target=self._watch, args=(client_fd, os.getppid()), daemon=True).start()

    def ask(self, code: int = 0) -> None:
        """Begin the clean-up and start its deadline."""
        if not self.asked.is_set():
            self.code = code
            self.begun.set()
            self.asked.set()
            self.hurry()

    def hurry(self) -> None:
        """Begin shutdown from any thread or signal handler; the second time without draining. Must not wait for a lock."""
        self._signals += 1
        os.write(self._alarm, b"\0")

    def _watch(self, client_fd: int | None, parent_id: int) -> None:
        if cause := _wait(self._wake, client_fd, parent_id):
            logger.warning("%s: Flowport ends", cause)
        self._loop.call_soon_threadsafe(self.begun.set)
        give_up_at = time.monotonic() + self._draining_seconds
        while self._signals < _AT_ONCE and not self.asked.is_set() and time.monotonic() < give_up_at:
            time.sleep(_TURN_SECONDS)
        self._loop.call_soon_threadsafe(self.ask)
        time.sleep(CLOSING_SECONDS)
        os._exit(self.code)


def listen_for_signals(end: End) -> None:
    """Begin shutdown at SIGINT and SIGTERM. Plain handlers also run while the event loop is blocked."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.hurry())


def open_client_fd() -> int | None:
    """Return a duplicate of standard output to watch, or None if it is closed or the system has no `poll`."""
    try:
        # The protocol's library moves the first one away.
        return os.dup(1) if hasattr(select, "poll") else None
    except OSError:
        return None


def _wait(wake: int, client_fd: int | None, parent_id: int) -> str:
    """Wait for a byte or until the client is gone; return the reason for the latter, empty for the former."""
    if sys.platform == "win32" or client_fd is None:
        os.read(wake, 1)
        return ""
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    # No event is requested: POLLHUP and POLLERR are always reported.
    poller.register(client_fd, 0)
    while os.getppid() == parent_id:
        found = {descriptor for descriptor, _ in poller.poll(PARENT_SECONDS * 1000)}
        if client_fd in found:
            return "the client has closed our standard output"
        if found:
            return ""
    return "the program that started us has ended"
