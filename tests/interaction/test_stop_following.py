"""`stop_following` in real processes: the run stays unpolled until a new call asks for it."""

import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.patience import poll_until
from tests.support.provider_process import ProviderProcess, open_provider

PROGRESS = {"_meta": {"progressToken": 1}}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ProviderProcess]:
    """Run a sandbox whose next run continues until it is released."""
    with open_provider(tmp_path / "sandbox") as found:
        found.ask("next_run", {"hold": True})
        yield found


def read_run(home: Path) -> dict[str, Any]:
    """Return the newest run as the store on disk has it."""
    with closing(sqlite3.connect(home / "store.sqlite3")) as connection:
        connection.row_factory = sqlite3.Row
        return dict(connection.execute("SELECT * FROM runs ORDER BY accepted_at DESC LIMIT 1").fetchone())


def count_runs(home: Path, state: str) -> int:
    """Return how many runs the store on disk has in a state."""
    with closing(sqlite3.connect(home / "store.sqlite3")) as connection:
        return int(connection.execute("SELECT count(*) FROM runs WHERE state = ?", (state,)).fetchone()[0])


def send_call(child: Child, tool: str, **arguments: Any) -> int:
    """Send a call without waiting for its answer, and return its id once its run is at the provider."""
    number = child.send("tools/call", {"name": tool, "arguments": arguments, **PROGRESS})
    while "running" not in (message := child.read()).get("params", {}).get("message", ""):
        assert message.get("id") != number, message
    return number


def read_answers(child: Child, *numbers: int) -> list[dict[str, Any]]:
    """Return the facts of the answers to these requests."""
    found: dict[int, dict[str, Any]] = {}
    while set(numbers) - set(found):
        message = child.read()
        if message.get("id") in numbers:
            found[message["id"]] = message["result"]["structuredContent"]
    return [found[number] for number in numbers]


def check_unpolled(home: Path, before: dict[str, Any]) -> None:
    """Check that a run is no longer polled, and that no process has claimed it since."""
    after = read_run(home)
    names = ("state", "is_followed", "lease", "process_id")
    assert [after[name] for name in names] == ["running", 0, before["lease"], before["process_id"]]


def test_a_waiting_call_does_not_resume_the_run(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """The call that waits is answered with the run's present state; it must not undo what its own client asked for."""
    home = tmp_path / "f/home"
    with open_child(tmp_path / "f", environment=sandbox.environment) as child:
        child.greet()
        waiting = send_call(child, "text_to_picture", prompt="a lake")
        before = read_run(home)
        arguments = {"run_id": before["id"], "stop_following": True}
        stopping = child.send("tools/call", {"name": "cancel_run", "arguments": arguments})
        first, stopped = read_answers(child, waiting, stopping)
        assert (first["state"], stopped["outcome"]) == ("running", "unfollowed")
        check_unpolled(home, before)
        # A new call resumes it.
        sandbox.ask(f"runs/{before['provider_run_id']}", {"release": True})
        assert child.call("get_run", run_id=before["id"])["state"] == "succeeded"


def test_another_process_stops_polling_too(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """The process that polls the run learns from the store that another one was asked to stop."""
    home = tmp_path / "f/home"
    with (
        open_child(tmp_path / "f", environment=sandbox.environment) as first,
        open_child(tmp_path / "f", environment=sandbox.environment) as second,
    ):
        first.greet()
        second.greet()
        waiting = send_call(first, "text_to_picture", prompt="a lake")
        before = read_run(home)
        watching = send_call(second, "get_run", run_id=before["id"])
        arguments = {"run_id": before["id"], "stop_following": True}
        stopping = second.send("tools/call", {"name": "cancel_run", "arguments": arguments})
        watched, stopped = read_answers(second, watching, stopping)
        (answer,) = read_answers(first, waiting)
        assert (watched["state"], stopped["outcome"], answer["state"]) == ("running", "unfollowed", "running")
        check_unpolled(home, before)
        sandbox.ask(f"runs/{before['provider_run_id']}", {"release": True})
        assert first.call("get_run", run_id=before["id"])["state"] == "succeeded"


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be paused there")
def test_a_stopped_start_of_a_killed_process_becomes_unknown(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """A start without a reply keeps its reservation, so a run that is not polled is settled like any other."""
    if sys.platform == "win32":
        raise NotImplementedError
    home = tmp_path / "f/home"
    environment = {**sandbox.environment, "FLOWPORT_MAX_CREDITS_PER_DAY": "100"}
    with open_child(tmp_path / "f", environment=environment) as child:
        child.greet()
        child.ask("tools/list")
        sandbox.process.send_signal(signal.SIGSTOP)
        child.send("tools/call", {"name": "text_to_picture", "arguments": {"prompt": "a lake"}})
        poll_until(lambda: count_runs(home, "starting") == 1)
        before = read_run(home)
        stopped = child.call("cancel_run", run_id=before["id"], stop_following=True)
        assert (before["state"], stopped["outcome"], read_run(home)["is_followed"]) == ("starting", "unfollowed", 0)
        child.process.kill()
        child.wait()
    sandbox.process.kill()
    with open_child(tmp_path / "f", environment=environment) as child:
        child.greet()
        poll_until(lambda: read_run(home)["state"] != "starting")
        after = read_run(home)
    assert (after["state"], after["reserved_credits"]) == ("unknown", 0.0)
    assert after["spent_credits"] == before["reserved_credits"] > 0
