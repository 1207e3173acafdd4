"""Flowport as a real child process, with hand-written messages, so the SDK's client cannot hide a fault."""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "flowport"
CONDITIONS = "TESTS_CRASH_CONDITIONS"
"""The variable of `tests.crash.child`, which is named here so that no test imports Flowport for it."""
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@dataclass
class Child:
    """One process and its pipes."""

    process: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)
    """Everything read from standard output so far."""
    numbers: int = 0

    def send(self, method: str, params: Mapping[str, Any] | None = None, *, is_request: bool = True) -> int:
        """Send a message and return its id."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if is_request:
            self.numbers += 1
            message["id"] = self.numbers
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        return self.numbers

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line, "the process ended"
        self.lines.append(line)
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return the result of its answer."""
        number = self.send(method, params)
        while (message := self.read()).get("id") != number:
            pass
        result: dict[str, Any] = message["result"]
        return result

    def greet(self) -> None:
        """Do the handshake."""
        self.ask("initialize", HELLO)
        self.send("notifications/initialized", is_request=False)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return the facts of its answer."""
        facts: dict[str, Any] = self.ask("tools/call", {"name": tool, "arguments": arguments})["structuredContent"]
        return facts

    def close_input(self) -> None:
        """Close standard input, as a client does when it disconnects."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        """Wait for the end and return the exit code; fail after `PATIENCE_SECONDS`.

        The machine's load decides how long an end takes here; the deadline of `flowport.server.shutdown` has its own tests.
        """
        return self.process.wait(timeout=PATIENCE_SECONDS)


def is_of_python(noise: str) -> bool:
    """Return whether Python itself reports an interrupt, which arrived before it ran a line of Flowport."""
    return "KeyboardInterrupt" in noise and str(PACKAGE) not in noise


def _build_command(command: str, environment: Mapping[str, str]) -> list[str]:
    """Return Python's arguments: Flowport, or its entry point under the conditions of a crash test."""
    if command == "fakes":
        return ["-m", "tests.fakes"]
    return ["-m", "tests.crash.child"] if CONDITIONS in environment else ["-m", "flowport", command]


@contextmanager
def open_child(
    folder: Path,
    *arguments: str,
    command: str = "serve",
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    without: Collection[str] = (),
    errors: int | None = None,
) -> Iterator[Child]:
    """Start `flowport` with a home and an output folder of its own, and kill it afterwards.

    Args:
        prefix: A program with its arguments that starts Flowport, such as `strace`.
        without: Inherited variables to remove; those in `environment` are set in any case.
        errors: A descriptor for its standard error; None for the file `stderr.txt`.
    """
    folder.mkdir(exist_ok=True)
    ours = {
        "FLOWPORT_HOME": str(folder / "home"),
        "FLOWPORT_OUTPUT_DIR": str(folder / "outputs"),
        "FLOWPORT_FILE_ROOTS": str(folder),
    }
    # For the modules of the tests.
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), **(ours if command == "serve" else {})}
    for name in without:
        inherited.pop(name, None)
    with (
        (folder / "stderr.txt").open("wb") as error_file,
        subprocess.Popen(
            [*prefix, sys.executable, *_build_command(command, environment or {}), *arguments],
            env={**inherited, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=error_file if errors is None else errors,
        ) as process,
    ):
        try:
            yield Child(process)
        finally:
            process.kill()
