"""Flowport as a person uses it: commands in a clean home, on pipes and on a pseudo-terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.children import ROOT
from tests.support.patience import PATIENCE_SECONDS

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves the cursor or sets a colour."""


@dataclass
class TerminalSession:
    """A command that runs on a pseudo-terminal."""

    process: "subprocess.Popen[bytes]"
    descriptor: int
    text: str = ""
    """Everything that was shown so far, with its escape sequences."""

    def read_until(self, wanted: str) -> str:
        """Read until a text is shown; fail when the command ends without it."""
        while wanted not in self.text:
            assert self._read(), f"{wanted!r} was never shown: {self.text}"
        return self.text

    def type(self, keys: str) -> None:
        """Send keys, such as `y` and Return."""
        os.write(self.descriptor, keys.encode())

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=PATIENCE_SECONDS)

    @property
    def plain(self) -> str:
        """What was shown, without escape sequences."""
        return ESCAPES.sub("", self.text).replace("\r\n", "\n")

    def _read(self) -> bool:
        try:
            data = os.read(self.descriptor, 65_536)
        except OSError:  # the end, on Linux
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


@dataclass(frozen=True)
class Person:
    """A person with a home of their own."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of each command."""
        kept = {name: value for name, value in os.environ.items() if not re.match("FLOWPORT_|MAGNIFIC_|MAGICA_", name)}
        ours = {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "FLOWPORT_HOME": str(self.folder / "home"),
            "FLOWPORT_OUTPUT_DIR": str(self.folder / "outputs"),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }
        return {**kept, **ours, **self.variables}

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "flowport", *arguments],
            env={**self.environment, **(environment or {})},
            cwd=cwd or self.folder,
            input=stdin,
            capture_output=True,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextmanager
    def open_terminal(
        self, *arguments: str, columns: int = 80, environment: Mapping[str, str] | None = None
    ) -> Iterator[TerminalSession]:
        """Run a command on a pseudo-terminal, as its own foreground process, and kill it afterwards."""
        if sys.platform == "win32":
            raise NotImplementedError  # it has no pseudo-terminals
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        inherited = {name: text for name, text in self.environment.items() if name not in {"COLUMNS", "NO_COLOR"}}
        process = subprocess.Popen(
            ["setsid", "-c", sys.executable, "-m", "flowport", *arguments],
            env={**inherited, **(environment or {})},
            cwd=self.folder,
            stdin=child,
            stdout=child,
            stderr=child,
        )
        os.close(child)
        try:
            yield TerminalSession(process, parent)
        finally:
            process.kill()
            process.wait()
            os.close(parent)
