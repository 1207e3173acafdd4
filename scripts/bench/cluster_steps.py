"""What a team pays for its database: steps by one worker against bare jobs, and whole runs against the embedded store.

Both are ratios within one run, on a real PostgreSQL whose commits wait for the disk. A run has three steps: its start, its
poll and its download, each of which is a request and at least one change that is committed. A bare job sends no request, so the
steps are measured twice: on a provider that answers within the worker's process, and on one that answers over HTTP.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import psycopg
from figures import Figure
from instant import TOOL_NAME, Client, open_provider, open_team
from store_cost import RUNS, open_timed, time_burst

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from local_postgres import PostgresServer, find_programs, run_postgres

STEPS: Final = 3
QUEUED_RUNS: Final = 600
ROUNDS: Final = 3
CONCURRENCY: Final = 500
MIN_STEPS_RATIO: Final = 0.7
MIN_RUNS_RATIO: Final = 0.4
_LOOK_SECONDS: Final = 0.02
_DONE: Final = (
    "SELECT count(*) FROM runs WHERE state = 'succeeded' AND NOT EXISTS "
    "(SELECT FROM outputs WHERE run_id = runs.id AND saved_path = '')"
)
_BEGUN: Final = "SELECT min(starting_at) FROM runs"
_ACCEPTED: Final = "SELECT count(*) FROM runs WHERE state = 'accepted'"


def measure_cluster_steps() -> list[Figure]:
    """Compare the medians of a few rounds of each."""
    if find_programs() is None:
        return [Figure("steps of a team: PostgreSQL is not installed here", "left out", "", is_reached=True)]
    steps, steps_over_http, bare, team, embedded = [list[float]() for _ in range(5)]
    with (
        tempfile.TemporaryDirectory(prefix="flowport-pg-", ignore_cleanup_errors=True) as folder,
        run_postgres(Path(folder)) as postgres,
        open_provider("--pictures") as url,
    ):
        for _ in range(ROUNDS):
            bare.append(time_bare_jobs(postgres, STEPS * QUEUED_RUNS))
            steps.append(STEPS * QUEUED_RUNS / anyio.run(partial(time_worker, postgres, url, is_in_process=True)))
            steps_over_http.append(STEPS * QUEUED_RUNS / anyio.run(time_worker, postgres, url))
            embedded.append(RUNS / anyio.run(time_burst, open_timed, url)[0])
            team.append(RUNS / anyio.run(time_team, postgres, url))
    return [
        build_ratio("steps/s by one worker, against bare jobs/s of Procrastinate", steps, bare, MIN_STEPS_RATIO),
        build_ratio("the same with requests over HTTP", steps_over_http, bare, None),
        build_ratio(
            "runs/s of a replica and a worker, against one process with SQLite", team, embedded, MIN_RUNS_RATIO
        ),
    ]


def build_ratio(what: str, measured: list[float], against: list[float], limit: float | None) -> Figure:
    """Return the line of a comparison; None for one without a limit."""
    one, other = statistics.median(measured), statistics.median(against)
    is_reached = limit is None or one / other >= limit
    wanted = "" if limit is None else f"{limit} x"
    return Figure(f"{what} ({one:.0f} to {other:.0f})", f"{one / other:.2f} x", wanted, is_reached=is_reached)


def time_bare_jobs(postgres: PostgresServer, count: int) -> float:
    """Return how many jobs that do nothing one worker of Procrastinate executes in a second."""
    script = str(Path(__file__).with_name("bare_jobs.py"))
    command = [sys.executable, script, postgres.create_database(), str(count), str(CONCURRENCY)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return count / float(json.loads(done.stdout)["seconds"])


@contextmanager
def open_worker(home: Path, url: str, database_url: str, *, saves: bool, is_in_process: bool = False) -> Iterator[None]:
    """Run a worker, which has begun."""
    command = [sys.executable, str(Path(__file__).with_name("team_worker.py")), str(home), url, database_url]
    with subprocess.Popen(
        [*command, *("yes" if flag else "no" for flag in (saves, is_in_process))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if next(iter(process.stdout or ()), "") != "ready\n":
                raise RuntimeError("the worker did not begin")
            yield
            process.communicate(timeout=30)
        finally:
            process.kill()


def make_home(folder: Path) -> Path:
    """Return a new folder that replicas and workers share.

    It stays until all is measured: after the removal of hundreds of files ext4 makes new ones slowly for some seconds.
    """
    home = Path(tempfile.mkdtemp(prefix="home-", dir=folder)) / "home"
    home.mkdir(mode=0o700)
    return home


def look_up(database_url: str, statement: str) -> Any:
    """Return the first value of a statement's answer."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
        return None if row is None else row[0]


def wait_until(database_url: str, statement: str, value: int) -> float:
    """Look again and again until the answer is a number, and return when it was."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        while connection.execute(statement.encode()).fetchone() != (value,):
            time.sleep(_LOOK_SECONDS)
    return time.time()


async def time_worker(postgres: PostgresServer, url: str, *, is_in_process: bool = False) -> float:
    """Return how long one worker takes for the steps of runs that wait for it, from the first start to the last file."""
    database_url = postgres.create_database()
    home = make_home(postgres.folder)
    async with (
        open_team(home, url, database_url, should_save_outputs=True) as workspace,
        anyio.create_task_group() as tasks,
    ):
        client = Client(workspace)
        for number in range(QUEUED_RUNS):
            tasks.start_soon(lambda n: client.call(TOOL_NAME, prompt=f"a lake, {n}"), number)
        await anyio.to_thread.run_sync(wait_until, database_url, _ACCEPTED, QUEUED_RUNS)
        tasks.cancel_scope.cancel()
    with open_worker(home, url, database_url, saves=True, is_in_process=is_in_process):
        ended_at = await anyio.to_thread.run_sync(wait_until, database_url, _DONE, QUEUED_RUNS)
    return ended_at - float(look_up(database_url, _BEGUN))


async def time_team(postgres: PostgresServer, url: str) -> float:
    """Return how long runs side by side take whose callers wait at a replica, and which a worker carries out."""
    database_url = postgres.create_database()
    home = make_home(postgres.folder)
    with open_worker(home, url, database_url, saves=False):
        async with open_team(home, url, database_url) as workspace:
            client, states = Client(workspace), list[str]()

            async def run_one(number: int) -> None:
                """Start one run and wait for its end."""
                states.append((await client.call(TOOL_NAME, prompt=f"a lake, {number}"))["state"])

            await run_one(0)
            began = time.perf_counter()
            async with anyio.create_task_group() as group:
                for number in range(1, RUNS + 1):
                    group.start_soon(run_one, number)
            seconds = time.perf_counter() - began
    if states != ["succeeded"] * (RUNS + 1):
        raise RuntimeError(f"the runs are {sorted(set(states))}")
    return seconds
