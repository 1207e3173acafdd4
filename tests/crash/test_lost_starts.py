"""A server killed between `starting` and the provider's id: a witness settles the run, and nothing is started twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from flowport.runtime.failpoints import Failpoint
from tests.crash.benches import Bench, open_bench
from tests.crash.sessions import SETTINGS, TOOL, ask_until_death, build_arguments, open_session
from tests.support.children import Child

_KILLED: Final = -9
"""The exit code of a process that SIGKILL ended; Windows, where these tests are left out, has no such signal."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Run both providers."""
    with open_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def photo(bench: Bench, tmp_path: Path) -> Path:
    """Return a picture in the folder of the person, on a provider without runs."""
    bench.switch("reset")
    Image.effect_noise((640, 480), 80).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def kill_while_starting(bench: Bench, folder: Path, provider: str, photo: Path, point: Failpoint) -> None:
    """Let a server be killed between `starting` and the id of the run."""
    with open_session(folder, bench.environment, f"kill={point}") as child:
        assert ask_until_death(child, TOOL, build_arguments(provider, photo)) is None
        assert child.process.wait() == _KILLED


def wait_for_state(child: Child, run_id: str, wanted: str) -> dict[str, Any]:
    """Ask for a run until it is in a state; the session is ended from outside when it never is."""
    while child.call("get_run", run_id=run_id, wait=False)["state"] != wanted:
        pass
    # Once more, when its outputs are saved.
    return child.call("get_run", run_id=run_id)


def find_run(child: Child) -> dict[str, Any]:
    """Return the only run on record."""
    [run] = child.call("list_runs")["runs"]
    found: dict[str, Any] = run
    return found


@pytest.mark.parametrize("point", [Failpoint.AFTER_PROVIDER_ACCEPTED, Failpoint.AFTER_REPLY])
def test_the_next_server_finds_the_run_in_the_list_of_its_provider(
    bench: Bench, tmp_path: Path, photo: Path, point: Failpoint
) -> None:
    """Without a public address: it becomes unknown, the list is its witness, and its result is saved and delivered."""
    bench.switch_magica(run_list="values")
    kill_while_starting(bench, tmp_path, "magica", photo, point)
    assert bench.count_starts() == 1
    with open_session(tmp_path, bench.environment, "") as child:
        run_id = find_run(child)["run_id"]
        facts = wait_for_state(child, run_id, "succeeded")
        assert Path(facts["outputs"][0]["saved_path"]).is_file()
    shown = run_command(bench, tmp_path, "show", run_id)
    receipt = shown["receipt"]
    assert (receipt["request"], receipt["witness"]) == ("POST /v1/runs", "run list")
    states = [one["state"] for one in receipt["states"]]
    assert states[:3] == ["accepted", "starting", "unknown"]
    assert states[-1] == "succeeded"
    assert "answered_at" not in receipt
    assert bench.count_starts() == 1


def test_a_start_that_never_left_is_never_found(bench: Bench, tmp_path: Path, photo: Path) -> None:
    """The list shows nothing, and a person gives it up; nothing counts as spent."""
    bench.switch_magica(run_list="values")
    kill_while_starting(bench, tmp_path, "magica", photo, Failpoint.AFTER_STARTING)
    with open_session(tmp_path, bench.environment, "") as child:
        run_id = find_run(child)["run_id"]
        assert wait_for_state(child, run_id, "unknown")["decision"].endswith(f"flowport settle {run_id}")
        offered = run_command(bench, tmp_path, "settle", run_id)
        settled = run_command(bench, tmp_path, "settle", run_id, "--lost", "--not-charged")
        assert child.call("get_run", run_id=run_id)["state"] == "failed"
        again = run_command(bench, tmp_path, "settle", run_id, "--lost", code=3)
    assert offered["candidates"] == []
    assert (settled["state"], settled["receipt"]["charged_credits"]) == ("failed", 0)
    assert again["error"]["kind"] == "RunNotUnknown"
    assert bench.count_starts() == 0


def test_a_person_recognizes_the_result_of_a_run_that_no_list_shows(bench: Bench, tmp_path: Path, photo: Path) -> None:
    """Magnific lists files alone; beside a running server the person takes the right one, and it is saved."""
    kill_while_starting(bench, tmp_path, "magnific", photo, Failpoint.AFTER_REPLY)
    with open_session(tmp_path, bench.environment, "") as child:
        run_id = find_run(child)["run_id"]
        wait_for_state(child, run_id, "unknown")
        offered: list[dict[str, Any]] = []
        while not offered:
            offered = run_command(bench, tmp_path, "settle", run_id)["candidates"]
        refused = run_command(bench, tmp_path, "settle", run_id, "--take", "nothing", code=2)
        foreign = run_command(bench, tmp_path, "settle", run_id, "--provider-run", "nothing", code=2)
        settled = run_command(bench, tmp_path, "settle", run_id, "--take", offered[0]["id"])
        facts = child.call("get_run", run_id=run_id)
    assert [one["kind"] for one in offered] == ["image"]
    assert "--take" in refused["error"]["message"]
    assert "--provider-run" in foreign["error"]["message"]
    assert Path(settled["files"][0]).is_file()
    assert (settled["receipt"]["witness"], facts["state"]) == ("person", "succeeded")
    assert bench.count_starts() == 1


def test_a_person_who_knows_the_id_has_the_run_followed(bench: Bench, tmp_path: Path, photo: Path) -> None:
    """The website shows it; from then on the run is as any other, and its result is waited for."""
    kill_while_starting(bench, tmp_path, "magnific", photo, Failpoint.AFTER_REPLY)
    [provider_run_id] = bench.get_runs()
    with open_session(tmp_path, bench.environment, "") as child:
        run_id = find_run(child)["run_id"]
        wait_for_state(child, run_id, "unknown")
        settled = run_command(bench, tmp_path, "settle", run_id, "--provider-run", provider_run_id)
        facts = wait_for_state(child, run_id, "succeeded")
    assert (settled["receipt"]["provider_run_id"], settled["receipt"]["witness"]) == (provider_run_id, "person")
    assert len(facts["outputs"]) == 1
    assert bench.count_starts() == 1


def run_command(bench: Bench, folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command of the person beside the server, and return its JSON."""
    home = {"FLOWPORT_HOME": str(folder / "home"), "FLOWPORT_OUTPUT_DIR": str(folder / "outputs")}
    done = subprocess.run(
        [sys.executable, "-m", "flowport", *words, "--json"],
        env={**os.environ, **SETTINGS, **bench.environment, **home},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr + done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found
