"""The rate in real processes with an unknown limit of the provider, with time scaled at both ends."""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from figures import Figure
from learning import MAX_REFUSALS_OF_50, MAX_REFUSALS_OF_300, MIN_RATE, MINUTES_OF_50, MINUTES_OF_300
from schedule_sandbox import ask_for_batch, call, plan_runs, read_facts
from side_by_side import KEY, Sandbox, open_sandbox
from wire import ROOT, Conversation, build_environment, exchange, greet

RATE: Final = 5.0
SEED: Final = 5
ROWS: Final = 1500
"""More than are carried out."""
MINUTE_SECONDS: Final = 60.0 / RATE


@dataclass(frozen=True)
class Trial:
    """The outcome."""

    facts: dict[str, Any]
    """The account in the answer of `get_balance` at the end."""
    best_minute: int
    """The most requests that the sandbox accepted in a minute. The last minute may contain the pause after a refusal."""
    refused: int


def measure_learning_sandbox() -> list[Figure]:
    """Carry out rows for as long as learning may take, with either limit."""
    high, low = play(300, MINUTES_OF_300), play(50, MINUTES_OF_50)
    learned, source = high.facts["requests_per_minute"], high.facts["requests_per_minute_source"]
    what = f"sandbox: limit of 300 a minute, {MINUTES_OF_300} minutes of rows"
    return [
        Figure(f"{what}: {source}", f"{learned}", f">= {MIN_RATE}", learned >= MIN_RATE),
        Figure(f"{what}: best minute", f"{high.best_minute}", f">= {MIN_RATE}", high.best_minute >= MIN_RATE),
        _build(f"{what}: requests refused", high.refused, MAX_REFUSALS_OF_300),
        _build(f"sandbox: limit of 50, {MINUTES_OF_50} minutes of rows: refused", low.refused, MAX_REFUSALS_OF_50),
    ]


def play(limit: int, minutes: int) -> Trial:
    """Carry out rows for a number of minutes of the fast clock."""
    options = ["--requests-per-minute", str(limit), "--minute-seconds", str(MINUTE_SECONDS), "--speed", "0"]
    with (
        tempfile.TemporaryDirectory(prefix="flowport-bench-") as name,
        open_sandbox(*options) as sandbox,
        open_flowport(Path(name) / "home", sandbox) as process,
    ):
        conversation = Conversation(process)
        plan_runs(sandbox, Random(SEED), ROWS, rate=RATE)  # noqa: S311 - reproducible on purpose
        ask_for_batch(conversation, ROWS)
        accepted = [0]
        for _ in range(minutes):
            time.sleep(MINUTE_SECONDS)
            accepted.append(count(sandbox))
        refused = sandbox.request("/_sandbox/counts")["refused_429"]
        balance = read_facts(conversation.wait_for(call(conversation, "get_balance"))[1])
        best = max(after - before for before, after in itertools.pairwise(accepted))
        return Trial(balance["accounts"][0], best, refused)


def count(sandbox: Sandbox) -> int:
    """Return the number of requests that the sandbox has accepted."""
    counts = sandbox.request("/_sandbox/counts")
    return int(counts["run"] + counts["status"] - counts["refused_429"])


@contextmanager
def open_flowport(home: Path, sandbox: Sandbox) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Flowport with a fast clock and without a configured limit."""
    environment = build_environment(
        {
            "FLOWPORT_HOME": str(home),
            "FLOWPORT_OUTPUT_DIR": str(home.with_name("outputs")),
            "FLOWPORT_PREVIEWS": "false",
            "FLOWPORT_SAVE_OUTPUTS": "false",
            "FLOWPORT_SOURCE": "own",
            "TESTS_CRASH_CONDITIONS": f"rate={RATE:g}",
            "FLOWPORT_WAIT_SECONDS": "600",
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": sandbox.api_url,
            "MAGNIFIC_FILE_ORIGINS": sandbox.files_url,
        }
    )
    command = [sys.executable, "-m", "tests.crash.child"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            greet(process)
            exchange(process, "tools/list", {}, number=2)
            yield process
        finally:
            process.terminate()


def _build(what: str, refused: int, most: int) -> Figure:
    return Figure(what, str(refused), f"<= {most}", is_reached=refused <= most)
