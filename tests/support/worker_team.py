"""Workers as real processes on one database."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.patience import poll_until
from tests.support.queue import connect

ROOT = Path(__file__).resolve().parents[2]
DEAD_SECONDS: Final = 2.0
"""Instead of ten, for tests that would wait alone."""


@dataclass(frozen=True)
class Team:
    """The database of some workers."""

    url: str

    @contextmanager
    def start_worker(
        self, *, hold_seconds: float, dead_seconds: float = DEAD_SECONDS
    ) -> "Iterator[subprocess.Popen[str]]":
        """Start a worker, and kill it on the way out."""
        command = [sys.executable, "-m", "tests.support.queue_worker", self.url, str(dead_seconds), str(hold_seconds)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
            try:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
                yield worker
            finally:
                worker.kill()

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement."""
        with connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def wait_for(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        """Wait until a statement has these rows."""
        poll_until(lambda: self.ask(statement) == rows)


def pause(worker: "subprocess.Popen[str]") -> None:
    """Stop a process as it stands; where there is a PostgreSQL of the system, there is such a signal."""
    if sys.platform != "win32":
        worker.send_signal(signal.SIGSTOP)


def resume(worker: "subprocess.Popen[str]") -> None:
    """Let a process that was paused go on."""
    if sys.platform != "win32":
        worker.send_signal(signal.SIGCONT)
