"""A Flowport over HTTP that a provider reaches at a public address, and that can be killed and started again."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.callers import MODERN, HttpCaller
from tests.support.children import ROOT, Child, open_child
from tests.support.doorway import Doorway, open_doorway


@dataclass
class PublicServer:
    """One home, served by one process at a time behind one address."""

    folder: Path
    doorway: Doorway
    environment: Mapping[str, str]
    stack: ExitStack
    token: str = ""
    child: Child | None = None
    _life: ExitStack = field(default_factory=ExitStack)

    @property
    def home(self) -> Path:
        """Where its store is."""
        return self.folder / "home"

    @property
    def url(self) -> str:
        """The MCP endpoint as clients reach it."""
        return f"{self.doorway.url}/mcp"

    def start(self) -> None:
        """Start a process, and lead the public address to it."""
        self.child = self._life.enter_context(
            open_child(self.folder, "--http", "127.0.0.1:0", environment=self.environment)
        )
        assert self.child.process.stdout is not None
        found = re.search(r"http://\S+", self.child.process.stdout.readline().decode())
        assert found, (self.folder / "stderr.txt").read_text()
        self.doorway.lead_to(found[0])

    def kill(self) -> None:
        """End the process as the system does that has no memory left; nothing listens afterwards."""
        self.doorway.lead_to(None)
        if self.child is not None:
            self.child.process.kill()
        self._life.close()

    def connect(self, era: str = MODERN) -> HttpCaller:
        """Return a client of the person whose token was made."""
        return HttpCaller(self.url, era, self.stack, self.token)


def add_token(home: Path, name: str) -> str:
    """Return a token of a person."""
    environment = {**os.environ, "FLOWPORT_HOME": str(home)}
    words = [sys.executable, "-m", "flowport", "token", "add", name, "--json"]
    made = subprocess.run(words, env=environment, cwd=ROOT, check=True, capture_output=True)
    token: str = json.loads(made.stdout)["token"]
    return token


@contextmanager
def open_public_server(folder: Path, environment: Mapping[str, str]) -> Iterator[PublicServer]:
    """Run a Flowport that uses a provider which reaches it."""
    with ExitStack() as stack:
        doorway = stack.enter_context(open_doorway())
        whole = {"FLOWPORT_PUBLIC_URL": doorway.url, **environment}
        server = PublicServer(folder, doorway, whole, stack)
        stack.callback(server.kill)
        server.token = add_token(server.home, "anna")
        server.start()
        yield server
