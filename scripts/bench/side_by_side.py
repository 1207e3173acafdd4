"""Five hundred concurrent runs: their cost for Flowport, and whether it still answers meanwhile."""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench_app import INPUTS, RUN_SECONDS, SANDBOX_SECONDS, TOOL_NAME
from figures import Figure
from wire import ROOT, Conversation, build_environment, exchange, get_cpu_seconds, greet

RUNS: Final = 500
ROUNDS: Final = 3
KEY: Final = "bench-key"
MAX_RATIO: Final = 3.0
MAX_RATIO_WITH_PREVIEWS: Final = 4.0
MAX_USUAL_LIST_SECONDS: Final = 0.020
MAX_WORST_LIST_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.05
SETTLING_SECONDS: Final = 1.0
"""The burst counts as over this long after its last start."""


@dataclass(frozen=True)
class Burst:
    """The outcome."""

    cpu_seconds: float
    requests: str
    """The requests that the sandbox had, with their numbers."""
    lists: tuple[tuple[float, float], ...] = ()
    """When each tool list was requested, and its duration; empty when none was."""
    started_at: float = 0.0
    """When the provider had the last start."""


@dataclass(frozen=True)
class Sandbox:
    """A provider in a separate process."""

    api_url: str
    files_url: str
    process_id: int

    def request(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Set a switch, or read the state."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api_url + path, data, {"x-magnific-api-key": KEY})  # noqa: S310 - ours
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own sandbox
            values: dict[str, Any] = json.load(answer)
        return values

    def prepare(self) -> None:
        """Reset the sandbox, and let the first run, which only warms up, end at once."""
        self.request("/_sandbox/reset", {})
        self.request("/_sandbox/next_run", {"seconds": 0})

    def format_requests(self) -> str:
        """Return the number of requests of each kind."""
        counts = self.request("/_sandbox/counts")
        return ", ".join(f"{counts[name]} {name}" for name in ("run", "status", "files"))


def measure_side_by_side() -> list[Figure]:
    """Compare with the bare client, first without previews, then with; then measure tool lists meanwhile."""
    with open_sandbox("--requests-per-minute", "0", "--speed", str(RUN_SECONDS / SANDBOX_SECONDS)) as sandbox:
        rounds = [run_round(sandbox) for _ in range(ROUNDS)]
        probed = run_flowport(sandbox, has_previews=True, is_probed=True)
    bare, plain, full = (choose_median(bursts) for bursts in zip(*rounds, strict=True))
    print(f"requests: bare {bare.requests}; without previews {plain.requests}; with {full.requests}")
    return [
        build_ratio("without previews", plain, bare, MAX_RATIO),
        build_ratio("with previews", full, bare, MAX_RATIO_WITH_PREVIEWS),
        *build_list_figures(probed),
    ]


def run_round(sandbox: Sandbox) -> tuple[Burst, Burst, Burst]:
    """Run the bare client, and Flowport without previews and with, in turn, because the machine's speed changes."""
    return run_bare(sandbox), run_flowport(sandbox, has_previews=False), run_flowport(sandbox, has_previews=True)


def choose_median(bursts: Sequence[Burst]) -> Burst:
    """Return the median burst, by its cost."""
    return sorted(bursts, key=lambda burst: burst.cpu_seconds)[len(bursts) // 2]


def build_ratio(what: str, ours: Burst, bare: Burst, limit: float) -> Figure:
    """Return the line for one comparison."""
    ratio = ours.cpu_seconds / bare.cpu_seconds
    seconds = f"{ours.cpu_seconds:.2f} s; bare {bare.cpu_seconds:.2f} s"
    return Figure(
        f"CPU of {RUNS} runs side by side, {what} ({seconds})", f"{ratio:.2f} x", f"{limit} x", ratio <= limit
    )


def build_list_figures(burst: Burst) -> list[Figure]:
    """Return the lines for the tool lists."""
    settled_at = burst.started_at + SETTLING_SECONDS
    after = [seconds for asked_at, seconds in burst.lists if asked_at >= settled_at]
    during = [seconds for asked_at, seconds in burst.lists if asked_at < settled_at]
    usual, worst = statistics.quantiles(after, n=20)[-1], max(during)
    return [
        Figure(
            f"tools/list from 1 s after the last start, 95th percentile of {len(after)} (median "
            f"{statistics.median(after) * 1000:.0f} ms, worst {max(after) * 1000:.0f} ms)",
            f"{usual * 1000:.0f} ms",
            f"{MAX_USUAL_LIST_SECONDS * 1000:.0f} ms",
            usual <= MAX_USUAL_LIST_SECONDS,
        ),
        Figure(
            f"tools/list before that, worst of {len(during)}",
            f"{worst * 1000:.0f} ms",
            f"{MAX_WORST_LIST_SECONDS * 1000:.0f} ms",
            worst <= MAX_WORST_LIST_SECONDS,
        ),
    ]


@contextmanager
def open_sandbox(*options: str) -> Iterator[Sandbox]:
    """Run the sandbox with these options."""
    command = [sys.executable, "-m", "tests.fakes", "--key", KEY, *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            values: dict[str, str] = {}
            while "MAGNIFIC_FILE_ORIGINS" not in values and process.stdout is not None:
                name, _, value = process.stdout.readline().strip().partition("=")
                values[name] = value
            yield Sandbox(values["MAGNIFIC_BASE_URL"], values["MAGNIFIC_FILE_ORIGINS"], process.pid)
        finally:
            process.terminate()


def run_bare(sandbox: Sandbox) -> Burst:
    """Let the bare client carry out the runs."""
    sandbox.prepare()
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as folder:
        script = str(Path(__file__).with_name("bare_runs.py"))
        command = [sys.executable, script, sandbox.api_url, KEY, str(RUNS), folder]
        values = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Burst(values["cpu_seconds"], sandbox.format_requests())


def run_flowport(sandbox: Sandbox, *, has_previews: bool, is_probed: bool = False) -> Burst:
    """Let Flowport carry out the runs, each started by a call of its own."""
    sandbox.prepare()
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as folder:
        environment = build_environment(
            {
                "FLOWPORT_HOME": f"{folder}/home",
                "FLOWPORT_OUTPUT_DIR": f"{folder}/outputs",
                "FLOWPORT_PREVIEWS": str(has_previews).lower(),
                "FLOWPORT_REQUESTS_PER_MINUTE": "0",
                "FLOWPORT_WAIT_SECONDS": "120",
                "MAGNIFIC_API_KEY": KEY,
                "MAGNIFIC_BASE_URL": sandbox.api_url,
                "MAGNIFIC_FILE_ORIGINS": sandbox.files_url,
            }
        )
        command = [sys.executable, "-m", "flowport"]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            greet(process)
            exchange(process, "tools/list", {}, number=2)
            exchange(process, "tools/call", {"name": TOOL_NAME, "arguments": INPUTS}, number=3)
            burst = carry_out(process, sandbox, is_probed=is_probed)
            process.stdin.close()  # type: ignore[union-attr]  # both pipes are open
            process.wait(timeout=10)
    return burst


def carry_out(process: subprocess.Popen[bytes], sandbox: Sandbox, *, is_probed: bool) -> Burst:
    """Start all runs at once and wait for every answer."""
    conversation = Conversation(process)
    before = get_cpu_seconds(process.pid)
    lists: list[tuple[float, float]] = []
    over = threading.Event()
    prober = threading.Thread(target=probe, args=(conversation, lists, over))
    watcher = _StartWatcher(sandbox)
    if is_probed:
        prober.start()
        watcher.start()
    numbers = [conversation.ask("tools/call", {"name": TOOL_NAME, "arguments": INPUTS}) for _ in range(RUNS)]
    lines = [conversation.wait_for(number)[1] for number in numbers]
    used = get_cpu_seconds(process.pid) - before
    over.set()
    if is_probed:
        prober.join()
        watcher.join()
    check_answers(lines)
    return Burst(used, sandbox.format_requests(), tuple(lists), watcher.started_at)


class _StartWatcher(threading.Thread):
    """Records when the sandbox has had the last start."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox
        self.started_at = 0.0

    def run(self) -> None:
        """Poll until all starts have arrived, the warm-up included."""
        while self._sandbox.request("/_sandbox/counts")["run"] <= RUNS:
            time.sleep(PROBE_SECONDS)
        self.started_at = time.perf_counter()


def probe(conversation: Conversation, lists: list[tuple[float, float]], over: threading.Event) -> None:
    """Request the tool list continuously."""
    while not over.wait(PROBE_SECONDS):
        asked_at = time.perf_counter()
        came_at, _ = conversation.wait_for(conversation.ask("tools/list", {}))
        lists.append((asked_at, came_at - asked_at))


def check_answers(lines: list[bytes]) -> None:
    """Refuse to measure runs without their file."""
    for line in lines:
        facts = json.loads(line)["result"]["structuredContent"]
        if facts["state"] != "succeeded" or not facts["outputs"][0].get("saved_path"):
            raise RuntimeError(f"a run went wrong: {facts}")
