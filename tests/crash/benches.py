"""A sandbox as a separate process, and the counts that only it can provide."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.crash.proxy import Proxy, open_proxies
from tests.fakes.magnific.serve import MAGICA_PREFIX
from tests.support.provider_process import open_provider

KEY = "a-key-of-the-crash-tests"


@dataclass(frozen=True, slots=True)
class Bench:
    """A sandbox and the proxies that lead to it."""

    url: str
    magica_key: str
    files_url: str
    api: Proxy
    files: Proxy

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which Flowport uses it, as both providers at once."""
        api_url = f"http://127.0.0.1:{self.api.port}"
        return {
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": api_url,
            "MAGNIFIC_FILE_ORIGINS": f"http://127.0.0.1:{self.files.port}",
            "MAGICA_API_KEY": self.magica_key,
            "MAGICA_BASE_URL": f"{api_url}{MAGICA_PREFIX}",
            "MAGICA_FILE_ORIGINS": f"http://127.0.0.1:{self.files.port}",
        }

    def cut(self) -> None:
        """Disconnect the network."""
        self.api.cut()
        self.files.cut()

    def restore(self) -> None:
        """Reconnect the network."""
        self.api.restore()
        self.files.restore()

    def switch(self, name: str, **body: Any) -> None:
        """Set a switch of the sandbox."""
        _ask(self.url, name, body)

    def switch_magica(self, **body: Any) -> None:
        """Change the form of Magica's API; after a reset it is the usual one."""
        _ask(f"{self.url}{MAGICA_PREFIX}", "magica", body)

    def count_starts(self) -> int:
        """Return the number of started runs."""
        return int(_ask(self.url, "counts")["runs_accepted"])

    def get_apis(self) -> frozenset[str]:
        """Return which of its APIs were used."""
        return frozenset(_ask(self.url, "counts")["families"])

    def get_runs(self) -> dict[str, dict[str, Any]]:
        """Return when each run started and ended, by its id at the provider."""
        runs: dict[str, dict[str, Any]] = _ask(self.url, "runs")["runs"]
        return runs

    def count_polls(self) -> int:
        """Return the number of polls of a run."""
        return int(_ask(self.url, "counts")["status"])

    def count_requests(self) -> int:
        """Return the number of start requests that arrived."""
        return int(_ask(self.url, "counts")["run"])


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    """Run a sandbox whose runs end at once."""
    with open_provider(folder, "--key", KEY) as provider:
        variables = provider.variables
        url, files_url = variables["MAGNIFIC_BASE_URL"], variables["MAGNIFIC_FILE_ORIGINS"]
        with open_proxies(urlsplit(url).port or 0, urlsplit(files_url).port or 0) as (api, files):
            yield Bench(url, variables["MAGICA_API_KEY"], files_url, api, files)


def _ask(url: str, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-magnific-api-key": KEY, "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/_sandbox/{name}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
