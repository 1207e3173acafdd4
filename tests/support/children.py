"""Flowport as a real child process, spoken to by hand, so that nothing of the SDK's client helps it along."""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONDITIONS = "TESTS_CRASH_CONDITIONS"
"""The variable of `tests.crash.child`, which is named here so that nobody imports Flowport for it."""
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
GIVE_UP_SECONDS = 60.0
"""When a test gives up on a process that does not end. How long an end takes here depends on what else runs here; that
Flowport ends it in time is the task of `flowport.server.shutdown`, and is checked there."""


@dataclass
class Child:
    """One process and its pipes."""

    process: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)
    """Everything that came on standard output so far."""
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
        assert line, "the process has ended"
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
        """End standard input, as a client does that leaves."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        """Return the exit code; an end that never comes is a failure."""
        return self.process.wait(timeout=GIVE_UP_SECONDS)


def _build_command(command: str, environment: Mapping[str, str]) -> list[str]:
    """Return what Python runs: Flowport itself, or as it serves under the conditions of a crash test."""
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
    """Start `flowport` with a home and an output folder of its own; it is gone afterwards, whatever happened.

    Args:
        prefix: A program that starts another, with its own arguments, to be started in the place of it.
        without: Variables that the child does not have, unless they are given to it here.
        errors: A descriptor for its standard error; None for a file.
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
