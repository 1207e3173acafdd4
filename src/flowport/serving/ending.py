"""The end of the process: asked for once, by a client or a signal, and held to a time."""

import os
import signal
import sys
import threading
from typing import Final

import anyio
import anyio.abc

CLOSING_SECONDS: Final = 1.6
"""How long the clean-up may take before the process ends without it; the ledger is whole either way."""


class End:
    """The end that everything waits for."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.code = 0

    def ask(self, code: int = 0) -> None:
        """Begin the clean-up, and see to it that it does not take for ever."""
        if not self.asked.is_set():
            self.code = code
            self.asked.set()
            watchdog = threading.Timer(CLOSING_SECONDS, os._exit, (code,))
            watchdog.daemon = True
            watchdog.start()


async def listen_for_signals(end: End, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Ask for the end at the first signal. Begun when signals are heard; one that comes before kills the process."""
    if sys.platform == "win32":
        task_status.started()  # there the console's own handler ends the process
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            end.ask()
            return
