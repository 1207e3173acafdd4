"""Two Flowports of one home as real processes, one of which is killed."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.provider_process import ProviderProcess, open_provider

GIVE_UP_SECONDS = 30.0
"""When a test stops asking; what it waits for comes within ten."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ProviderProcess]:
    """Run a sandbox whose next run goes on until it is released."""
    with open_provider(tmp_path / "sandbox") as found:
        found.ask("next_run", {"hold": True})
        yield found


def start_run(child: Child) -> str:
    """Start a run that is handed over at once, and return its id when the provider has it."""
    child.greet()
    run_id: str = child.call("text_to_picture", prompt="a lake")["run_id"]
    ask_until(lambda: child.call("get_run", run_id=run_id, wait=False)["state"] == "running")
    return run_id


def ask_until(condition: Callable[[], bool]) -> None:
    """Ask again and again until something is so."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at


def find_remote_id(home: Path, run_id: str) -> str:
    """Return the provider's id of a run, as the store on disk has it."""

    connection = sqlite3.connect(home / "store.sqlite3")
    (remote,) = connection.execute("SELECT provider_run_id FROM runs WHERE id = ?", (run_id,)).fetchone()
    connection.close()
    return str(remote)


def check_saved(facts: dict[str, Any]) -> None:
    """Check that the one output lies on the disk, whole, and nothing half-written beside it."""
    (output,) = facts["outputs"]
    path = Path(output["saved_path"])
    data = path.read_bytes()
    assert (facts["state"], len(data)) == ("succeeded", output["size_bytes"])
    assert data.startswith(b"\x89PNG")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.json"]


def test_whoever_waits_gets_the_result_of_a_killed_process(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """The run is asked for in the editor while the desktop client, which started it, is killed."""
    environment = {**sandbox.environment, "FLOWPORT_WAIT_SECONDS": "0"}
    with open_child(tmp_path / "f", environment=environment) as first:
        run_id = start_run(first)
        with open_child(tmp_path / "f", environment=sandbox.environment) as second:
            second.greet()
            asked = {"name": "get_run", "arguments": {"run_id": run_id}, "_meta": {"progressToken": 1}}
            number = second.send("tools/call", asked)
            while (message := second.read()).get("method") != "notifications/progress":
                pass
            assert "running" in message["params"]["message"]
            first.process.kill()
            first.process.wait()
            sandbox.ask(f"runs/{find_remote_id(tmp_path / 'f/home', run_id)}", {"release": True})
            while (message := second.read()).get("id") != number:
                pass
            check_saved(message["result"]["structuredContent"])

    assert sandbox.ask("counts")["runs_accepted"] == 1


def test_a_killed_processs_run_is_saved_without_being_asked_for(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """Links expire after hours; the person may look for the picture tomorrow."""
    environment = {**sandbox.environment, "FLOWPORT_WAIT_SECONDS": "0"}
    with open_child(tmp_path / "f", environment=environment) as first:
        run_id = start_run(first)
        with open_child(tmp_path / "f", environment=environment) as second:
            second.greet()
            first.process.kill()
            first.process.wait()
            sandbox.ask(f"runs/{find_remote_id(tmp_path / 'f/home', run_id)}", {"release": True})
            # No look at the run itself, which would have it taken up at once.
            ask_until(lambda: second.call("list_runs")["runs"][0]["state"] == "succeeded")
            ask_until(lambda: any((tmp_path / "f/outputs").glob("*/*.json")))
            # The file is there a moment before its record.
            ask_until(lambda: "saved_path" in second.call("get_run", run_id=run_id)["outputs"][0])
            check_saved(second.call("get_run", run_id=run_id))

    assert sandbox.ask("counts")["runs_accepted"] == 1


def test_what_a_killed_process_left_is_picked_up_at_the_next_start(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """The usual case: the client crashes and is started again."""
    environment = {**sandbox.environment, "FLOWPORT_WAIT_SECONDS": "0"}
    with open_child(tmp_path / "f", environment=environment) as first:
        run_id = start_run(first)
        first.process.kill()
        first.process.wait()
    sandbox.ask(f"runs/{find_remote_id(tmp_path / 'f/home', run_id)}", {"release": True})
    with open_child(tmp_path / "f", environment=sandbox.environment) as second:
        second.greet()
        check_saved(second.call("get_run", run_id=run_id))
