"""Two real processes of one home, one of which is killed."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.patience import poll_until
from tests.support.provider_process import ProviderProcess, open_provider


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ProviderProcess]:
    """Run a sandbox whose next run continues until it is released."""
    with open_provider(tmp_path / "sandbox") as found:
        found.ask("next_run", {"hold": True})
        yield found


def start_run(child: Child) -> str:
    """Start a run, let the call end before the run, and return the run's id once the provider has acknowledged it."""
    child.greet()
    run_id: str = child.call("text_to_picture", prompt="a lake")["run_id"]
    poll_until(lambda: child.call("get_run", run_id=run_id, wait=False)["state"] == "running")
    return run_id


def find_remote_id(home: Path, run_id: str) -> str:
    """Return the provider's id of a run from the store on disk."""

    connection = sqlite3.connect(home / "store.sqlite3")
    (remote,) = connection.execute("SELECT provider_run_id FROM runs WHERE id = ?", (run_id,)).fetchone()
    connection.close()
    return str(remote)


def check_saved(facts: dict[str, Any]) -> None:
    """Check that the one output was saved completely and that no partial file is left."""
    (output,) = facts["outputs"]
    path = Path(output["saved_path"])
    data = path.read_bytes()
    assert (facts["state"], len(data)) == ("succeeded", output["size_bytes"])
    assert data.startswith(b"\x89PNG")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.json"]


def test_a_waiting_process_gets_the_result_of_a_killed_one(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """A call in the editor gets the run's result although the desktop client that started the run was killed."""
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


def test_the_run_of_a_killed_process_is_saved_without_a_request(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """Another process saves the outputs unasked: links expire after hours, and the user may return tomorrow."""
    environment = {**sandbox.environment, "FLOWPORT_WAIT_SECONDS": "0"}
    with open_child(tmp_path / "f", environment=environment) as first:
        run_id = start_run(first)
        with open_child(tmp_path / "f", environment=environment) as second:
            second.greet()
            first.process.kill()
            first.process.wait()
            sandbox.ask(f"runs/{find_remote_id(tmp_path / 'f/home', run_id)}", {"release": True})
            # The run itself is not requested here, because that would claim it at once.
            poll_until(lambda: second.call("list_runs")["runs"][0]["state"] == "succeeded")
            poll_until(lambda: any((tmp_path / "f/outputs").glob("*/*.json")))
            # The file is written a moment before its record.
            poll_until(lambda: "saved_path" in second.call("get_run", run_id=run_id)["outputs"][0])
            check_saved(second.call("get_run", run_id=run_id))

    assert sandbox.ask("counts")["runs_accepted"] == 1


def test_the_next_start_resumes_the_run_of_a_killed_process(tmp_path: Path, sandbox: ProviderProcess) -> None:
    """The next start resumes the run: the usual case is a client that crashes and is started again."""
    environment = {**sandbox.environment, "FLOWPORT_WAIT_SECONDS": "0"}
    with open_child(tmp_path / "f", environment=environment) as first:
        run_id = start_run(first)
        first.process.kill()
        first.process.wait()
    sandbox.ask(f"runs/{find_remote_id(tmp_path / 'f/home', run_id)}", {"release": True})
    with open_child(tmp_path / "f", environment=sandbox.environment) as second:
        second.greet()
        check_saved(second.call("get_run", run_id=run_id))
