"""The end of the process: asked for once, by a client that leaves or by a signal, and held to a time.

A thread of its own watches for it, so that the promised time holds even while the event loop is busy or stuck.
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
"""How long the clean-up may take before the process ends without it; the store is whole either way."""


PARENT_SECONDS = 5.0
"""How often to look whether the program that started us is still there. Other programs that it started may hold its ends
of our pipes, so that neither closes when it is killed."""


class End:
    """The end that everything waits for."""

    def __init__(self, client_fd: int | None = None) -> None:
        """Begin the watch; call it on the running event loop, once in a process.

        Args:
            client_fd: Where the client is written to; the end comes when its reading end is closed, or when the program
                that started us has ended. None for nowhere.
        """
        self.asked = anyio.Event()
        self.code = 0
        self._loop = asyncio.get_running_loop()
        self._wake, self._alarm = os.pipe()
        threading.Thread(target=self._watch, args=(client_fd, os.getppid()), daemon=True).start()

    def ask(self, code: int = 0) -> None:
        """Begin the clean-up, and see to it that it does not take for ever."""
        if not self.asked.is_set():
            self.code = code
            self.asked.set()
            self.hurry()

    def hurry(self) -> None:
        """Ask for the end from anywhere: a thread, a signal handler. Nothing here may wait for a lock."""
        os.write(self._alarm, b"\0")

    def _watch(self, client_fd: int | None, parent_id: int) -> None:
        if cause := _wait(self._wake, client_fd, parent_id):
            logger.warning("%s: Flowport ends", cause)
        self._loop.call_soon_threadsafe(self.ask)
        time.sleep(CLOSING_SECONDS)
        os._exit(self.code)


def listen_for_signals(end: End) -> None:
    """Ask for the end at each signal that means it. By plain handlers: they run while the event loop does not."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.hurry())


def open_client_fd() -> int | None:
    """Return a descriptor of standard output to watch, or None when it is closed or cannot be watched here."""
    try:
        # The protocol's library moves the first one away.
        return os.dup(1) if hasattr(select, "poll") else None
    except OSError:
        return None


def _wait(wake: int, client_fd: int | None, parent_id: int) -> str:
    """Wait for a byte, or until the client is gone; return how that is known, nothing for the former."""
    if sys.platform == "win32" or client_fd is None:
        os.read(wake, 1)
        return ""
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    # No event is asked for: that the other end is gone is told unasked.
    poller.register(client_fd, 0)
    while os.getppid() == parent_id:
        found = {descriptor for descriptor, _ in poller.poll(PARENT_SECONDS * 1000)}
        if client_fd in found:
            return "the client has closed our standard output"
        if found:
            return ""
    return "the program that started us has ended"
