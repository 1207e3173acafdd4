"""One cell of the matrix, played with real processes, and its outcome."""

import contextlib
import hashlib
import json
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.crash.benches import Bench
from tests.crash.cells import AFTER_ANSWER, ANSWERED, DAY_SECONDS, Cell, Trouble
from tests.crash.sessions import (
    TOOL,
    Learnt,
    ask_until_death,
    build_arguments,
    fill_disk,
    open_session,
    persist,
    read_until_death,
    take_room,
)
from tests.support.children import Child

GRACE_SECONDS = 1.0
"""How long a process may continue with a full disk."""
OUTAGE_SECONDS = 2.0
"""How long the network is disconnected in the next session: longer than all tries of one start request."""
_SHIFTS = {Trouble.CLOCK_FORWARD: f"clock={DAY_SECONDS}", Trouble.CLOCK_BACK: f"clock=-{DAY_SECONDS}"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a trial, by the sandbox's own count and by the files on the disk."""

    cell: Cell
    intended: int
    """The number of runs that the client wanted."""
    faces: frozenset[str]
    """The sandbox's APIs that were used."""
    started: int
    delivered: int
    unknown: int
    """Runs shown as unknown, whether they were started or not."""
    refusals: tuple[str, ...]
    """Why the same call was refused after a run had become unknown."""
    half_written: tuple[str, ...]
    """Incomplete files under a final name."""
    saved: int
    """Complete files."""
    leaked_credits: float
    """Still reserved when nothing was live any more."""

    @property
    def duplicates(self) -> int:
        """Return the number of starts beyond the intended ones."""
        return max(0, self.started - self.intended)

    @property
    def lost(self) -> int:
        """Return the number of started runs that the client neither received nor saw as unknown."""
        return max(0, self.started - self.delivered - self.unknown)


def play(cell: Cell, bench: Bench, folder: Path) -> Outcome:
    """Run a session, kill it at the cell's point, run another one, and let the client repeat its call."""
    folder.mkdir()
    bench.switch("reset")
    Image.effect_noise(cell.photo_size, 80).save(folder / "photo.png")
    arguments = build_arguments(cell.provider, folder / "photo.png")
    learnt = Learnt()
    is_answered = _run_and_kill(cell, bench, folder, arguments, learnt)
    with (
        _outage(cell, bench) as is_restored,
        open_session(folder, bench.environment, _SHIFTS.get(cell.trouble, "")) as child,
    ):
        persist(child, learnt, TOOL, arguments, is_restored)
        is_restored.wait()
        unknown, reserved = _look_around(child)
        child.close_input()
        assert child.wait() == 0
    half_written, saved = check_files(folder / "outputs")
    return Outcome(
        cell=cell,
        intended=1 + is_answered,
        faces=bench.get_apis(),
        started=bench.count_starts(),
        delivered=len(learnt.delivered),
        unknown=len(learnt.unknown | unknown),
        refusals=tuple(learnt.refusals),
        half_written=half_written,
        saved=saved,
        leaked_credits=reserved,
    )


def _run_and_kill(cell: Cell, bench: Bench, folder: Path, arguments: dict[str, Any], learnt: Learnt) -> bool:
    """Play the first session; return whether its client got a result, so that a repeated call wants another run."""
    trap = "halt" if cell.trouble is Trouble.DISK_FULL else "kill"
    rehearsal = "" if cell.point == AFTER_ANSWER else f"{trap}={cell.point}"
    with open_session(folder, bench.environment, rehearsal) as child:
        if cell.switch is not None:
            bench.switch("faults", **cell.switch)
        if rehearsal and trap == "halt":
            facts = _go_on_without_room(child, arguments)
        else:
            facts = ask_until_death(child, TOOL, arguments)
            is_read = cell.point in ANSWERED
            assert (facts is not None) is is_read, f"the point was not reached; the answer was {facts}"
            if trap == "halt":
                take_room(child)
                child.ask("tools/list")
            child.process.kill()
        code = child.process.wait()
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals and limits")
    assert code == -signal.SIGKILL
    return facts is not None and learnt.record(facts) in {"succeeded", "partial"}


def _go_on_without_room(child: Child, arguments: dict[str, Any]) -> dict[str, Any] | None:
    number = child.send("tools/call", {"name": TOOL, "arguments": arguments})
    fill_disk(child)
    death = threading.Timer(GRACE_SECONDS, child.process.kill)
    death.start()
    try:
        return read_until_death(child, number)
    finally:
        death.join()


@contextlib.contextmanager
def _outage(cell: Cell, bench: Bench) -> Iterator[threading.Event]:
    """Disconnect the network for a while, if the cell says so; the event is set when it is back."""
    is_restored = threading.Event()
    if cell.trouble is not Trouble.NETWORK_GONE:
        is_restored.set()
        yield is_restored
        return

    def restore() -> None:
        bench.restore()
        is_restored.set()

    bench.cut()
    timer = threading.Timer(OUTAGE_SECONDS, restore)
    timer.start()
    try:
        yield is_restored
    finally:
        timer.join()


def _look_around(child: Child) -> tuple[set[str], float]:
    """Return the runs that are listed as unknown, and what is still reserved once nothing is live."""
    while True:
        rows = child.call("list_runs", limit=50)["runs"]
        going = [row["run_id"] for row in rows if row["state"] in {"accepted", "starting", "queued", "running"}]
        if not going:
            break
        child.call("get_run", run_id=going[0])
    balance = child.call("get_balance")
    reserved = sum(account["reserved_credits"] for account in balance["accounts"])
    return {row["run_id"] for row in rows if row["state"] == "unknown"}, reserved


def check_files(folder: Path) -> tuple[tuple[str, ...], int]:
    """Return the incomplete files under a final name, and the number of complete ones."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    broken = tuple(str(path) for path in found if not _is_whole(path))
    return broken, sum(path.suffix != ".json" for path in found) - len(broken)


def _is_whole(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            record = json.loads(path.read_text(encoding="utf-8"))
            return bool(record["sha256"] == hashlib.sha256(path.with_suffix("").read_bytes()).hexdigest())
        with Image.open(path) as picture:
            picture.load()
    except (OSError, ValueError, KeyError):
        return False
    return True
