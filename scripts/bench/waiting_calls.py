"""Calls that wait side by side in one server over HTTP: the memory of each, and how soon the tools are listed meanwhile."""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from figures import Figure
from instant import save_app
from wire import build_environment, get_cpu_seconds

from flowport.providers.registry import ProviderSettings

CALLS: Final = 2_000
MAX_KILOBYTES: Final = 75.0
MAX_LIST_SECONDS: Final = 0.1
ERAS: Final = ("2025-11-25", "2026-07-28")
STARTS_PER_MINUTE: Final = 0
"""No limit, so that all calls wait for runs at the provider."""


def measure_waiting_calls() -> list[Figure]:
    """Hold so many calls in each era, each for a run of its own that does not end."""
    if not Path("/proc/self/status").exists():
        print("waiting calls are not measured: this system does not report the memory of a process")
        return []
    return [figure for era in ERAS for figure in _measure(era)]


def _measure(era: str) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="flowport-bench-") as name,
        _open_provider() as api,
        _open_server(Path(name), api) as (server, url),
        _open_clients(url, era) as clients,
    ):
        _read_line(clients, "warm")
        before = _get_memory(server.pid)
        _go_on(clients)
        opened_seconds = float(_read_line(clients, "open"))
        time.sleep(2)
        after, cpu_before, at = _get_memory(server.pid), get_cpu_seconds(server.pid), time.perf_counter()
        _go_on(clients)
        taken = json.loads(_read_line(clients, ""))
        load = (get_cpu_seconds(server.pid) - cpu_before) / (time.perf_counter() - at)
    kilobytes = (after - before) / CALLS / 1000
    p95 = statistics.quantiles(taken, n=20)[-1]
    where = f"{CALLS} waiting calls, {era}"
    print(
        f"{where}: opened in {opened_seconds} s, {load:.0%} of a core meanwhile, median list {statistics.median(taken) * 1000:.1f} ms"
    )
    return [
        Figure(
            f"memory of each of {where}", f"{kilobytes:.1f} KB", f"{MAX_KILOBYTES:.0f} KB", kilobytes <= MAX_KILOBYTES
        ),
        Figure(
            f"tools/list beside {where}, 95th percentile of {len(taken)}",
            f"{p95 * 1000:.1f} ms",
            f"{MAX_LIST_SECONDS * 1000:.0f} ms",
            p95 <= MAX_LIST_SECONDS,
        ),
    ]


@contextmanager
def _open_provider() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("instant_provider.py")), "--running"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(iter(process.stdout or ())).strip()
        finally:
            process.kill()


@contextmanager
def _open_server(folder: Path, api: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    given = {
        "FLOWPORT_HOME": str(folder / "home"),
        "FLOWPORT_OUTPUT_DIR": str(folder / "outputs"),
        "FLOWPORT_WAIT_SECONDS": "600",
        "FLOWPORT_REQUESTS_PER_MINUTE": str(STARTS_PER_MINUTE),
        "FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "1000000",
        "MAGNIFIC_BASE_URL": api,
        "MAGNIFIC_API_KEY": "bench-key",
        "MAGNIFIC_API_STYLE": "flows",
    }
    (folder / "home").mkdir()
    save_app(
        folder / "home", ProviderSettings("magnific", api, "bench-key", {"api_style": "flows"}), urlsplit(api).netloc
    )
    command = [sys.executable, "-m", "flowport", "serve", "--http", "127.0.0.1:0", "--no-auth"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, env=build_environment(given), stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            found = re.search(r"http://\S+", process.stdout.readline() if process.stdout else "")
            if found is None:
                raise RuntimeError("Flowport does not listen")
            yield process, found[0]
        finally:
            process.kill()


@contextmanager
def _open_clients(url: str, era: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("waiting_clients.py")), url, era, str(CALLS), ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_line(process: subprocess.Popen[str], word: str) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith(word) or not line:
        raise RuntimeError(f"the clients have failed: {line!r}")
    return line.removeprefix(word).strip()


def _go_on(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.write("\n")
        process.stdin.flush()


def _get_memory(process_id: int) -> int:
    """Return the bytes of a process that are in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process_id}/status").read_text("ascii"))
    if found is None:
        raise RuntimeError("the process has ended")
    return int(found[1]) * 1024
