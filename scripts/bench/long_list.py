"""The duration of `list_runs` with a hundred thousand runs in the store."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import anyio
from figures import Figure
from instant import Client, open_workspace

from flowport.domain.models import LOCAL_OWNER, Output, OutputKind, Run, RunState
from flowport.store.rows import build_output_values, build_run_values
from flowport.store.sqlite.connection import STORE_NAME, open_connection
from flowport.store.sqlite.store import open_sqlite_store

RUNS: Final = 100_000
CALLS: Final = 50
MAX_SECONDS: Final = 0.020
SECONDS_APART: Final = 60.0


def measure_long_list() -> list[Figure]:
    """Measure with few undelivered runs, as usual, and with all of them undelivered."""
    return [measure_list("1 % unseen", unseen_every=100), measure_list("all unseen", unseen_every=1)]


def measure_list(what: str, *, unseen_every: int) -> Figure:
    """Return the line of one store."""
    seconds = anyio.run(time_lists, unseen_every)
    usual = statistics.quantiles(seconds, n=20)[-1]
    median = statistics.median(seconds)
    return Figure(
        f"list_runs with {RUNS:,} runs, {what}, 95th percentile of {CALLS} (median {median * 1000:.1f} ms)",
        f"{usual * 1000:.1f} ms",
        f"{MAX_SECONDS * 1000:.0f} ms",
        usual <= MAX_SECONDS,
    )


async def time_lists(unseen_every: int) -> list[float]:
    """Return the duration of each call."""
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        path = Path(name) / "home" / STORE_NAME
        fill(path, unseen_every)
        seconds: list[float] = []
        async with open_workspace(path.parent, open_sqlite_store(path)) as workspace:
            for number in range(CALLS + 1):
                began = time.perf_counter()
                facts = await Client(workspace).call("list_runs")
                if number:
                    seconds.append(time.perf_counter() - began)
        if len(facts["runs"]) != 10 or str(RUNS // unseen_every) not in facts["summary"]:  # noqa: PLR2004 - the default
            raise RuntimeError(f"the list is {facts['summary']!r}")
    return seconds


def fill(path: Path, unseen_every: int) -> None:
    """Write the runs, each with one output; every n-th is undelivered."""
    connection = open_connection(path)
    runs = [build_run(number, is_seen=number % unseen_every != 0) for number in range(RUNS)]
    connection.execute("BEGIN")
    insert(connection, "runs", [build_run_values(run) for run in runs])
    insert(connection, "outputs", [build_output_values(run.id, run.outputs[0]) for run in runs])
    connection.execute("COMMIT")
    connection.close()


def insert(connection: Any, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows with equal columns."""
    columns = list(rows[0])
    values = ", ".join(f":{column}" for column in columns)
    connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows)  # noqa: S608 - ours


def build_run(number: int, *, is_seen: bool) -> Run:
    """Return a run like those that people make."""
    accepted_at = time.time() - (RUNS - number) * SECONDS_APART
    return Run(
        id=f"run_{number:010}",
        account_id="magnific:127.0.0.1:9:bench",
        owner=LOCAL_OWNER,
        provider="magnific",
        app_id=f"app{number % 50}",
        app_name="Sketch to Realism",
        tool_name=f"sketch_to_realism_{number % 50}",
        arguments_json='{"prompt": "a quiet harbour at dawn, with boats and gulls and a lighthouse in the fog"}',
        raw_digest=f"{number:064x}",
        canonical_digest=f"{number:064x}",
        state=RunState.FAILED if number % 20 == 0 else RunState.SUCCEEDED,
        accepted_at=accepted_at,
        process_id="0" * 16,
        price_credits=5.0,
        spent_credits=5.0,
        provider_run_id=f"remote-{number}",
        starting_at=accepted_at,
        started_at=accepted_at,
        finished_at=accepted_at + 30,
        reported_at=accepted_at,
        delivered_at=accepted_at + 30 if is_seen else None,
        outputs=(Output(1, OutputKind.IMAGE, f"https://cdn.example/{number}.png", saved_path=f"/p/{number}.png"),),
    )
