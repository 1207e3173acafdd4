"""The commands that read and erase the store of runs, on real files and beside a running Flowport."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flowport.cli.main import main
from flowport.cli.run_records import format_bytes
from flowport.domain.models import Run, RunState
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.store import open_sqlite_store
from tests.store.samples import OUTPUT, build_run
from tests.store.test_maintenance import SECRET, find_text
from tests.support.children import open_child

LIVE = build_run("run_live", RunState.RUNNING)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the configured home, without a store yet."""
    monkeypatch.setenv("FLOWPORT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def save_runs(home: Path, *runs: Run) -> None:
    """Store runs."""

    async def save() -> None:
        """Open, write and close."""
        store = open_sqlite_store(home / STORE_NAME)
        for run in runs:
            await store.accept(run)
        await store.close()

    asyncio.run(save())


def build_saved_run(folder: Path, run_id: str) -> Run:
    """Return a delivered run whose output is in a folder, with its sidecar."""
    file = folder / f"{run_id}.png"
    file.write_bytes(b"picture")
    file.with_name(f"{file.name}.json").write_text(SECRET)
    saved = replace(OUTPUT, saved_path=str(file), size_bytes=1500)
    return build_run(run_id, RunState.SUCCEEDED, delivered_at=1.0, arguments_json=f'"{SECRET}"', outputs=(saved,))


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a child process."""
    return subprocess.run([sys.executable, "-m", "flowport", *arguments], check=False, capture_output=True, text=True)


def test_the_history_is_printed_in_lines(home: Path, tmp_path: Path) -> None:
    """One figure a line."""
    unknown = build_run("run_unknown", RunState.UNKNOWN)
    save_runs(home, LIVE, unknown, build_saved_run(tmp_path, "run_1"))
    done = run_command("history")
    found = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    facts = {name.strip(): value.strip() for name, value in found.items()}
    assert (done.returncode, done.stderr) == (0, "")
    assert facts.pop("record on disk").endswith(" KB")
    assert facts.pop("oldest").startswith("19")
    assert facts == {
        "runs": "3",
        "not delivered": "1",
        "not over": "1",
        "unknown": "1",
        "saved outputs": "1.5 KB in 1 file",
    }


def test_the_oldest_run_has_its_day(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The day is local time, so only the year is equal on every machine."""
    save_runs(home, build_run("run_1", accepted_at=1_785_000_000.0))
    assert main(["history"]) == 0
    assert "oldest          2026-" in capsys.readouterr().out


def test_an_empty_store_has_a_history(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command works before the first run."""
    save_runs(home)
    assert main(["history"]) == 0
    assert "oldest          none\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["history"], ["erase", "--all"], ["erase", "run_1"]])
def test_without_a_store_none_is_created(home: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped home must not be filled with an empty store."""
    assert main([*command, "--home", str(home / "typo")]) == 0
    assert capsys.readouterr().out == f"There is no record of runs in {home / 'typo'}.\n"
    assert not home.exists()


def test_one_run_is_erased(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files stay unless they are named, and it is said what they hold."""
    run = build_saved_run(tmp_path, "run_1")
    save_runs(home, run)
    assert main(["erase", "run_1", "--yes"]) == 0
    told = capsys.readouterr().out
    assert told == (
        "The run run_1 is erased.\n"
        "1 saved file left, with the arguments of the run beside each; --files removes them too.\n"
    )
    assert find_text(home / STORE_NAME, SECRET) == []
    assert Path(run.outputs[0].saved_path).exists()


def test_files_go_on_request_with_what_lies_beside_them(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record beside a picture holds the arguments too; one that cannot be removed is named."""
    stuck = build_saved_run(tmp_path, "run_stuck")
    save_runs(home, build_saved_run(tmp_path, "run_1"), build_saved_run(tmp_path, "run_gone"), stuck, LIVE)
    (tmp_path / "run_gone.png").unlink()
    (tmp_path / "run_stuck.png").unlink()
    (tmp_path / "run_stuck.png").mkdir()
    assert main(["erase", "--all", "--files", "--yes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "3 runs erased.",
        "1 run not over and left on record; erase again when they are.",
        "2 saved files removed.",
    ]
    assert lines[3].startswith(f"{tmp_path / 'run_stuck.png'} could not be removed: ")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("run_")] == ["run_stuck.png"]


def test_records_of_an_older_layout_are_named_when_all_is_erased(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are never deleted by Flowport, so a person who erases everything must learn that they are there."""
    save_runs(home, build_run("run_1", RunState.SUCCEEDED))
    older = home / "ledger.sqlite3.older-1"
    older.write_text(SECRET)
    assert main(["erase", "--all", "--yes"]) == 0
    shown = capsys.readouterr().out
    assert f"An older record is left, with what its runs were given: {older}. Delete the file to remove them." in shown
    assert older.exists()


def test_what_was_never_seen_is_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody paid for it."""
    save_runs(home, build_run("run_1", RunState.SUCCEEDED))
    assert main(["erase", "--all", "--yes"]) == 0
    assert capsys.readouterr().out == "1 run erased, 1 of them never seen.\n"


def test_the_record_of_a_person_is_counted_listed_and_erased_by_the_owner(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator of a server removes one person's runs and files, and nothing of anyone else."""
    mine, hers = build_saved_run(tmp_path, "run_mine"), replace(build_saved_run(tmp_path, "run_hers"), owner="anna")
    save_runs(home, mine, hers, replace(build_run("run_live"), owner="anna"))
    assert main(["history", "--owner", "anna"]) == 0
    assert capsys.readouterr().out.startswith("runs            2\n")
    assert main(["runs", "--owner", "anna", "--json"]) == 0
    assert {run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]} == {"run_hers", "run_live"}
    assert main(["erase", "--all", "--owner", "anna", "--files", "--yes"]) == 0
    assert capsys.readouterr().out == (
        "1 run erased.\n1 run not over and left on record; erase again when they are.\n1 saved file removed.\n"
    )
    assert [Path(run.outputs[0].saved_path).exists() for run in (mine, hers)] == [True, False]
    assert main(["history"]) == 0
    assert capsys.readouterr().out.startswith("runs            1\n")


def test_a_run_of_another_person_is_erased_by_its_id(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An id names one run; the operator need not know whose it is."""
    save_runs(home, replace(build_run("run_hers", RunState.SUCCEEDED), owner="anna"))
    assert main(["erase", "run_hers", "--yes"]) == 0
    assert capsys.readouterr().out == "The run run_hers is erased.\n"
    assert main(["history", "--owner", "anna"]) == 0
    assert capsys.readouterr().out.startswith("runs            0\n")


@pytest.mark.parametrize(
    ("run_id", "words", "code"),
    [("run_live", "The run 'run_live' is not over", 3), ("run_x", "There is no run 'run_x'", 4)],
)
def test_what_cannot_be_erased_is_told(
    home: Path, run_id: str, words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is for scripts, the sentence for people."""
    save_runs(home, LIVE)
    assert main(["erase", run_id, "--yes"]) == code
    told = capsys.readouterr().err
    assert words in told
    # Tools are for assistants: nothing in a terminal can call one.
    assert "list_runs" not in told


@pytest.mark.parametrize("arguments", [[], ["run_1", "--all"]])
def test_erasing_must_say_what(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A slip must not erase everything."""
    assert main(["erase", *arguments]) == 2
    assert "name one run, or give --all" in capsys.readouterr().err


def test_a_wrong_setting_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message is the same as everywhere."""
    monkeypatch.setenv("FLOWPORT_HOME", "relative")
    assert main(["history"]) == 2
    assert "FLOWPORT_HOME is 'relative'" in capsys.readouterr().err


def test_erasing_works_beside_a_running_flowport(tmp_path: Path) -> None:
    """People do not close their assistants for it; the running one goes on and knows."""
    home = tmp_path / "f/home"
    save_runs(home, *(build_run(f"run_{n}", RunState.FAILED, arguments_json=f'"{SECRET}"') for n in range(30)))
    environment = {"MAGNIFIC_API_KEY": "k", "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"}
    with open_child(tmp_path / "f", environment=environment) as child:
        child.greet()
        assert "30 finished runs" in child.call("list_runs")["summary"]
        done = run_command("erase", "--all", "--yes", "--home", str(home))
        assert (done.returncode, done.stdout, done.stderr) == (0, "30 runs erased, 30 of them never seen.\n", "")
        assert find_text(home / STORE_NAME, SECRET) == []
        assert child.call("list_runs")["runs"] == []


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (2.5e6, "2.5 MB"), (3e12, "3000.0 GB")],
)
def test_sizes_are_in_usual_units(size_bytes: float, words: str) -> None:
    """A number of nine digits is hard to read."""
    assert format_bytes(size_bytes) == words
