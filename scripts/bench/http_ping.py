"""The duration of a free request over HTTP on a kept connection."""

import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from figures import Figure
from wire import HELLO, build_environment

PINGS: Final = 300
MAX_SECONDS: Final = 0.003
"""Without TCP_NODELAY it is 0.044, because small parts wait for an acknowledgement."""


def measure_http_ping() -> list[Figure]:
    """Ping a Flowport that serves HTTP, one request after the other."""
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        environment = build_environment({"FLOWPORT_HOME": str(Path(name) / "home"), "FLOWPORT_OUTPUT_DIR": name})
        command = [sys.executable, "-m", "flowport", "serve", "--http", "127.0.0.1:0", "--no-auth"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                seconds = _ping(_read_url(process))
            finally:
                process.terminate()
    what = f"a ping over HTTP on a kept connection, median of {PINGS}"
    return [Figure(what, f"{seconds * 1000:.2f} ms", f"{MAX_SECONDS * 1000:.0f} ms", is_reached=seconds <= MAX_SECONDS)]


def _read_url(process: subprocess.Popen[str]) -> str:
    found = re.search(r"http://\S+", process.stdout.readline() if process.stdout else "")
    if found is None:
        raise RuntimeError("Flowport does not listen")
    return found[0]


def _ping(url: str) -> float:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    session = _post(connection, parts.path, {"id": 1, "method": "initialize", "params": HELLO}, {})
    headers = {"mcp-session-id": session, "mcp-protocol-version": str(HELLO["protocolVersion"])}
    _post(connection, parts.path, {"method": "notifications/initialized"}, headers)
    taken = []
    for number in range(PINGS):
        began = time.perf_counter()
        _post(connection, parts.path, {"id": number + 2, "method": "ping"}, headers)
        taken.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(taken)


def _post(connection: http.client.HTTPConnection, path: str, message: dict[str, Any], headers: dict[str, str]) -> str:
    """Send a message, and return the session of the response."""
    common = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    connection.request("POST", path, json.dumps({"jsonrpc": "2.0", **message}), {**common, **headers})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status >= http.client.BAD_REQUEST:
        raise RuntimeError(f"{answer.status}: {body!r}")
    return answer.headers.get("mcp-session-id", "")
