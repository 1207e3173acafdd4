"""Two processes of one home: the same call at the same moment, each killed in turn."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.crash.benches import Bench, open_bench
from tests.crash.sessions import TOOL, build_arguments, open_session
from tests.support.children import Child

RETRIES = 3


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Run one sandbox for the tests of this module."""
    with open_bench(tmp_path_factory.mktemp("racing") / "sandbox") as opened:
        yield opened


@pytest.fixture
def folder(bench: Bench, tmp_path: Path) -> Path:
    """Give a test the sandbox in its initial state, and a folder with a photograph."""
    bench.switch("reset")
    Image.effect_noise((160, 120), 80).save(tmp_path / "photo.png")
    return tmp_path


def build_call(folder: Path) -> dict[str, Any]:
    """Return the call that both processes make."""
    return {"name": TOOL, "arguments": build_arguments("magnific", folder / "photo.png")}


def get_states(child: Child) -> set[str]:
    """Return the states of all runs, as a process lists them."""
    return {row["state"] for row in child.call("list_runs")["runs"]}


def hold_runs(bench: Bench, count: int) -> None:
    """Hold the next runs until they are released: a delivered one would rightly be paid for again."""
    for _ in range(count):
        bench.switch("next_run", hold=True)


def release_when_joined(bench: Bench, folder: Path, earlier: set[str], count: int) -> None:
    """End all runs once a number of calls of a new process wait for them."""
    while len([process_id for process_id in get_callers(folder) if process_id not in earlier]) < count:
        pass
    for run_id in bench.get_runs():
        bench.switch(f"runs/{run_id}", release=True)


def get_callers(folder: Path) -> list[str]:
    """Return the processes of the waiting calls, by the store."""
    with closing(sqlite3.connect(folder / "home" / "store.sqlite3")) as store:
        return [process_id for (process_id,) in store.execute("SELECT process_id FROM waiting_calls")]


def read_until_gone(child: Child) -> None:
    """Read a process's messages until it closes its output."""
    assert child.process.stdout is not None
    while child.process.stdout.readline():
        pass


@pytest.mark.parametrize("victim", [0, 1])
def test_two_concurrent_equal_calls_start_one_run(bench: Bench, folder: Path, victim: int) -> None:
    """Whichever was first, the other joins; and whichever is killed, the remaining one returns the result."""
    hold_runs(bench, 1)
    with ExitStack() as stack:
        children = [stack.enter_context(open_session(folder, bench.environment, "")) for _ in range(2)]
        ready = threading.Barrier(2)

        def send(child: Child) -> int:
            ready.wait()
            return child.send("tools/call", build_call(folder))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(send, children))
        # Before the provider's id is written, a kill would leave the run unknown.
        while "running" not in get_states(children[1 - victim]):
            pass
        children[victim].process.kill()
        read_until_gone(children[victim])
        earlier = set(get_callers(folder))
        with open_session(folder, bench.environment, "") as heir:
            heir.send("tools/call", build_call(folder))
            release_when_joined(bench, folder, earlier, 1)
            facts = read_answer(heir)

    assert (bench.count_starts(), facts["state"]) == (1, "succeeded")


def test_each_retry_joins_its_own_run(bench: Bench, folder: Path) -> None:
    """Three equal calls started three variations; after a crash the client's three retries join them."""
    hold_runs(bench, RETRIES)
    with open_session(folder, bench.environment, "") as child:
        for _ in range(RETRIES):
            child.send("tools/call", build_call(folder))
        while bench.count_starts() < RETRIES:
            pass
        while get_states(child) != {"running"}:
            pass
        child.process.kill()
    earlier = set(get_callers(folder))
    with open_session(folder, bench.environment, "") as child:
        numbers = [child.send("tools/call", build_call(folder)) for _ in range(RETRIES)]
        release_when_joined(bench, folder, earlier, RETRIES)
        found = [read_answer(child) for _ in numbers]

    assert bench.count_starts() == RETRIES
    assert len({facts["run_id"] for facts in found}) == RETRIES
    assert {facts["state"] for facts in found} == {"succeeded"}


def read_answer(child: Child) -> dict[str, Any]:
    """Return the structured content of the next answer, to whichever call."""
    while "result" not in (message := child.read()):
        pass
    facts: dict[str, Any] = message["result"]["structuredContent"]
    return facts
