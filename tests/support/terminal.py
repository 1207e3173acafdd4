"""Run Flowport's commands as a person does: a child process in a home of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        """Both outputs."""
        return self.out + self.err

    def read_json(self) -> Any:
        """Return the document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A user's home, and the environment of their shell."""

    folder: Path
    variables: Mapping[str, str]

    @property
    def config_folder(self) -> Path:
        """Where the configuration of Flowport is."""
        return self.folder / ".config" / "flowport"

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
        folders = {"HOME": "", "XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share"}
        own = {name: str(self.folder / below) for name, below in folders.items()}
        return {**kept, **own, **self.variables}

    def run(self, *arguments: str, text: str = "", **more: str) -> Ran:
        """Run a command.

        Args:
            text: For its standard input.
            more: Further variables of the environment.
        """
        done = subprocess.run(
            [sys.executable, "-m", "flowport", *arguments],
            check=False,
            input=text.encode(),
            capture_output=True,
            env={**self.environment, **more},
            cwd=self.folder,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
