"""A session of Flowport in a trial: a real process, a persistent client, and a kill at the chosen point."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import CONDITIONS, Child, open_child
from tests.support.patience import PATIENCE_SECONDS

SETTINGS = {
    "FLOWPORT_REQUESTS_PER_MINUTE": "0",
    "FLOWPORT_MAX_TOOLS": "1",
    "FLOWPORT_APPS": "*sketch*",
    "FLOWPORT_PREVIEWS": "false",
}
TOOL = "run_app"
"""Both providers have every app of the sandbox; the first one has the plain tool, so an app is called by its id."""
_SKETCHES = {"magnific": ("pK3sNc81Td", "photo"), "magica": ("photo-to-pencil-sketch", "your_photo")}
"""The id of the app that is run, and the name of its picture input, at each provider."""
LIVE = {"accepted", "starting", "queued", "running"}
MAX_TRIES = 8


@dataclass
class Learnt:
    """What the client has learnt, over all sessions."""

    delivered: set[str] = field(default_factory=set)
    """Runs whose outputs it received."""
    unknown: set[str] = field(default_factory=set)
    """Runs that were reported as unknown."""
    refusals: list[str] = field(default_factory=list)
    """Why the same call was refused after that."""

    def record(self, facts: Mapping[str, Any]) -> str:
        """Take an answer in and return its run's state; empty when it has no run."""
        state = str(facts.get("state", ""))
        if state in {"succeeded", "partial"} and facts.get("outputs"):
            self.delivered.add(facts["run_id"])
        if state == "unknown":
            self.unknown.add(facts["run_id"])
        if facts.get("error") == "UncertainStart":
            self.refusals.append(facts["message"])
        return state


def build_arguments(provider: str, photo: Path) -> dict[str, Any]:
    """Return the arguments of the call of `TOOL`."""
    app_id, name = _SKETCHES[provider]
    return {"app": app_id, "arguments": {name: str(photo)}}


@contextmanager
def open_session(folder: Path, environment: Mapping[str, str], rehearsal: str) -> Iterator[Child]:
    """Start Flowport on the home of the earlier sessions, and initialise the connection."""
    named = {**SETTINGS, **environment, CONDITIONS: f"pace=0.05 {rehearsal}"}
    with open_child(folder, environment=named) as child:
        watchdog = threading.Timer(PATIENCE_SECONDS, child.process.kill)
        watchdog.start()
        try:
            child.greet()
            child.ask("tools/list")
            yield child
        finally:
            watchdog.cancel()


def ask_until_death(child: Child, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Call a tool and return its structured answer, or None when the process has died during the call."""
    number = child.send("tools/call", {"name": tool, "arguments": arguments})
    return read_until_death(child, number)


def read_until_death(child: Child, number: int) -> dict[str, Any] | None:
    """Return the structured answer to a request, or None when the process has died before it."""
    try:
        while (message := child.read()).get("id") != number:
            pass
    except AssertionError:
        return None
    facts: dict[str, Any] = message["result"]["structuredContent"]
    return facts


def fill_disk(child: Child) -> None:
    """Wait until the process has halted at its point; then forbid it to write to files, and let it continue."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process be limited or watched from outside")
    pid = child.process.pid
    found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert found is not None
    assert found.si_code == os.CLD_STOPPED, "the point was not reached"
    take_room(child)
    os.kill(pid, signal.SIGCONT)


def take_room(child: Child) -> None:
    """Forbid the process to write to files, as if the disk were full."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process be limited or watched from outside")
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (0, 0))


def persist(
    child: Child, learnt: Learnt, tool: str, arguments: Mapping[str, Any], is_restored: threading.Event
) -> None:
    """Do as a client does that wants a result: call again, and ask for the run while it is live."""
    state = ""
    for _ in range(MAX_TRIES):
        facts = child.call(tool, **arguments)
        while (state := learnt.record(facts)) in LIVE:
            facts = child.call("get_run", run_id=facts["run_id"])
        if learnt.refusals or state in {"succeeded", "partial", "unknown"}:
            break
        # Whatever failed, nothing was started; with the network back it may succeed.
        is_restored.wait(PATIENCE_SECONDS)
    if state == "unknown":
        # People and models do not always read: the same call once more.
        learnt.record(child.call(tool, **arguments))
