"""A provider as a process of its own, and its switches."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.children import open_child

_LAST = "Ctrl-C"
"""What the last line of the announcement begins with."""


@dataclass(frozen=True, slots=True)
class ProviderProcess:
    """A provider that runs, and how to reach it."""

    variables: dict[str, str]
    """Every variable of its announcement, for each provider whose API it speaks."""
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """What a Flowport needs to know to use it as Magnific."""
        return {name: value for name, value in self.variables.items() if name.startswith("MAGNIFIC_")}

    def ask(self, path: str, body: Any = None) -> dict[str, Any]:
        """Turn a switch, or read the counts."""
        request = urllib.request.Request(
            f"{self.variables['MAGNIFIC_BASE_URL']}/_sandbox/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-magnific-api-key": self.variables["MAGNIFIC_API_KEY"], "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def open_provider(
    folder: Path, *flags: str, speed: float = 0, requests_per_minute: int = 0
) -> Iterator[ProviderProcess]:
    """Run a provider whose runs end at once, and which refuses no request, unless an option says otherwise."""
    limits = ("--speed", f"{speed:g}", "--requests-per-minute", f"{requests_per_minute}")
    with open_child(folder, *limits, *flags, command="fakes") as child:
        assert child.process.stdout is not None
        lines = [child.process.stdout.readline().decode().strip()]
        while not lines[-1].startswith(_LAST):
            assert lines[-1], "the provider has ended"
            lines.append(child.process.stdout.readline().decode().strip())
        yield ProviderProcess(dict(line.split("=", 1) for line in lines if "=" in line), child.process)
