"""The figures of the schedule in real processes: once over HTTP and the store, with time scaled at both ends.

Flowport's clock runs fast; the sandbox's minute and its runs are shorter by the same factor. All seconds below are of
that clock unless they are called real.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench_app import APP_ID, INPUTS, TOOL_NAME
from figures import Figure
from schedule import ROWS, Outcome, build_batch_figures, build_shared_figures, carry_by_schedule, play_batch
from schedule_world import HISTORY, LIMIT, Job, draw_seconds
from side_by_side import KEY, Sandbox, open_sandbox
from virtual import run_virtually
from wire import ROOT, Conversation, build_environment, exchange, get_cpu_seconds, greet

RATE: Final = 15.0
SEED: Final = 5
"""The seed of the virtual measurement that came nearest to the mean: the worst one takes a third longer."""
REST_SECONDS: Final = 60.0
"""Until the window no longer contains the history."""
EVERY_SECONDS: Final = 60.0
MOST_OTHERS: Final = 30
"""More awaited runs than a batch leaves time for."""


@dataclass(frozen=True)
class Trial:
    """The outcome of one batch."""

    outcome: Outcome
    refused: int
    cpu_seconds: float
    """In real seconds, of both processes."""
    real_seconds: float


def measure_schedule_sandbox() -> list[Figure]:
    """Carry out a batch alone, and one beside awaited runs."""
    print(f"schedule_sandbox: seed {SEED}, {RATE:g} times as fast as real")
    alone, shared = play("alone", 0.0), play("beside runs that are waited for", EVERY_SECONDS)
    virtual = [run_virtually(partial(play_batch, carry_by_schedule, every), SEED) for every in (0.0, EVERY_SECONDS)]
    refused = alone.refused + shared.refused
    return [
        *build_figures("sandbox", alone.outcome, shared.outcome),
        Figure("sandbox: requests refused with 429", str(refused), "0", is_reached=not refused),
        # The same runs: the difference is the cost of HTTP, the store and the machine.
        *(
            replace(figure, limit="-", is_reached=True)
            for figure in build_figures("the same in virtual time", *virtual)
        ),
    ]


def build_figures(where: str, alone: Outcome, shared: Outcome) -> list[Figure]:
    """Return the lines for both batches."""
    figures = [*build_batch_figures([alone]), *build_shared_figures([shared])]
    return [replace(figure, what=f"{where}: {figure.what}") for figure in figures]


def play(what: str, every_seconds: float) -> Trial:
    """Give the app its history, pause, and carry out the batch, beside an awaited run at a fixed interval."""
    options = ["--requests-per-minute", str(LIMIT), "--minute-seconds", str(60.0 / RATE), "--speed", "0"]
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name, open_sandbox(*options) as sandbox:
        home, chance = Path(name) / "home", random.Random(SEED)  # noqa: S311 - reproducible on purpose
        with open_flowport(home, sandbox) as process:
            conversation = Conversation(process)
            plan_runs(sandbox, chance, HISTORY)
            wait_for_batch(conversation, ask_for_batch(conversation, HISTORY))
            plan_runs(sandbox, chance, ROWS + MOST_OTHERS)
            time.sleep(REST_SECONDS / RATE)
            meter = _Meter(process, sandbox)
            callers = _Callers(conversation, every_seconds)
            batch_id = wait_for_batch(conversation, ask_for_batch(conversation, ROWS))
            answers = callers.stop()
            trial = meter.build_trial(*read_jobs(home, sandbox, batch_id, answers))
    report(what, trial)
    return trial


@contextmanager
def open_flowport(home: Path, sandbox: Sandbox) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Flowport with a fast clock, and wait until it is ready."""
    environment = build_environment(
        {
            "FLOWPORT_HOME": str(home),
            "FLOWPORT_OUTPUT_DIR": str(home.with_name("outputs")),
            "FLOWPORT_PREVIEWS": "false",
            "FLOWPORT_REQUESTS_PER_MINUTE": str(LIMIT),
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


def plan_runs(sandbox: Sandbox, chance: random.Random, runs: int, *, rate: float = RATE) -> None:
    """Set the durations of the next runs, in the order of their starts."""
    for _ in range(runs):
        sandbox.request("/_sandbox/next_run", {"app": APP_ID, "seconds": draw_seconds(chance) / rate})


def ask_for_batch(conversation: Conversation, rows: int) -> int:
    """Start a batch of equal rows: the sandbox makes their result once, at no further cost for the machine."""
    return call(conversation, "run_batch", app=TOOL_NAME, rows=[INPUTS] * rows)


def wait_for_batch(conversation: Conversation, number: int) -> str:
    """Return the id of a batch when all of it has succeeded, repeating the call as often as necessary."""
    facts = read_facts(conversation.wait_for(number)[1])
    while facts["state"] == "running":
        facts = read_facts(conversation.wait_for(call(conversation, "get_run", run_id=facts["run_id"]))[1])
    return check(facts)


class _Callers(threading.Thread):
    """Starts a run at a fixed interval and waits for its answer, as a user does."""

    def __init__(self, conversation: Conversation, every_seconds: float) -> None:
        """Begin after half an interval; do nothing for 0."""
        super().__init__(daemon=True)
        self._conversation = conversation
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._asked: list[tuple[float, int]] = []
        if every_seconds:
            self.start()

    def run(self) -> None:
        """Start runs until the end."""
        pause = self._every_seconds / RATE
        began_at = time.perf_counter()
        while not self._over.wait(began_at + pause * (len(self._asked) + 0.5) - time.perf_counter()):
            arguments = {"app": TOOL_NAME, "arguments": INPUTS, "new_run": True}
            self._asked.append((time.perf_counter(), call(self._conversation, "run_app", **arguments)))

    def stop(self) -> dict[str, Job]:
        """Stop, and return the waits by the ids of the runs, when all answers have arrived."""
        self._over.set()
        if self.is_alive():
            self.join()
        jobs: dict[str, Job] = {}
        for asked_at, number in self._asked:
            came_at, line = self._conversation.wait_for(number)
            jobs[check(read_facts(line))] = Job(asked_at * RATE, reported_at=came_at * RATE)
        return jobs


class _Meter:
    """The use of both processes from now on."""

    def __init__(self, process: subprocess.Popen[bytes], sandbox: Sandbox) -> None:
        self._process = process
        self._sandbox = sandbox
        self._began_at = time.perf_counter()
        self._cpu_seconds = self._get_cpu_seconds()
        self._requests = self._count("run", "status")

    def build_trial(self, rows: list[Job], others: list[Job]) -> Trial:
        """Return the outcome so far."""
        requests = self._count("run", "status") - self._requests
        outcome = Outcome(max(job.reported_at for job in rows), rows, others, requests)
        cpu_seconds = self._get_cpu_seconds() - self._cpu_seconds
        return Trial(outcome, self._count("refused_429"), cpu_seconds, time.perf_counter() - self._began_at)

    def _get_cpu_seconds(self) -> float:
        return get_cpu_seconds(self._process.pid) + get_cpu_seconds(self._sandbox.process_id)

    def _count(self, *names: str) -> int:
        counts = self._sandbox.request("/_sandbox/counts")
        return sum(counts[name] for name in names)


def read_jobs(home: Path, sandbox: Sandbox, batch_id: str, answers: dict[str, Job]) -> tuple[list[Job], list[Job]]:
    """Return the rows of a batch by the store's times, counted from its acceptance, and the runs beside it."""
    jobs = sandbox.request("/_sandbox/runs")["runs"]
    took = {name: (run["completed_at"] - run["started_at"]) * RATE for name, run in jobs.items()}
    with closing(sqlite3.connect(f"file:{home / 'store.sqlite3'}?mode=ro", uri=True)) as store:
        began_at = store.execute("SELECT accepted_at FROM runs WHERE id = ?", (batch_id,)).fetchone()[0]
        rows = store.execute(
            "SELECT provider_run_id, accepted_at, started_at, finished_at FROM runs WHERE batch_id = ?", (batch_id,)
        ).fetchall()
        names = dict(store.execute("SELECT id, provider_run_id FROM runs").fetchall())
    jobs = [Job(called - began_at, took[name], start - began_at, end - began_at) for name, called, start, end in rows]
    return jobs, [replace(job, duration_seconds=took[names[run_id]]) for run_id, job in answers.items()]


def report(what: str, trial: Trial) -> None:
    """Print the machine's own part."""
    requests = trial.outcome.requests
    each, busy = trial.cpu_seconds / requests, trial.cpu_seconds / trial.real_seconds / (os.cpu_count() or 1)
    print(
        f"{what}: {trial.real_seconds:.0f} s real for {requests} requests; the machine's own part is {each * 1000:.0f} ms "
        f"of both processes for each, {each * RATE:.2f} s by the fast clock, and {busy:.0%} of its processors"
    )


def call(conversation: Conversation, tool: str, **arguments: Any) -> int:
    """Call a tool and return the number of the request."""
    return conversation.ask("tools/call", {"name": tool, "arguments": arguments})


def read_facts(line: bytes) -> dict[str, Any]:
    """Return the structured content of an answer."""
    facts: dict[str, Any] = json.loads(line)["result"]["structuredContent"]
    return facts


def check(facts: dict[str, Any]) -> str:
    """Return the id of a succeeded run; refuse to measure anything else."""
    if facts["state"] != "succeeded":
        raise RuntimeError(f"a run went wrong: {facts}")
    return str(facts["run_id"])
