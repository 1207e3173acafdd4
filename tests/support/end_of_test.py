"""The end of a server that runs inside the test's own process."""

import anyio

from flowport.server.shutdown import End


class EndOfTest(End):
    """An end without the watchdog: its thread would outlive the test, and end the process of all tests."""

    def __init__(self) -> None:
        """Prepare; no thread is started and no pipe is opened."""
        self.begun = anyio.Event()
        self.asked = anyio.Event()
        self.is_handing_over = False
        self.code = 0

    def ask(self, code: int = 0) -> None:
        """Record the first request for the end."""
        if not self.asked.is_set():
            self.code = code
            self.begun.set()
            self.asked.set()

    def hurry(self) -> None:
        """Begin the end at once."""
        self.ask()
