"""Commands whose standard output or standard error cannot be written."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.person import Person
from tests.support.provider_process import ProviderProcess, open_provider


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take a moment, so that their progress is shown."""
    with open_provider(tmp_path_factory.mktemp("slow"), speed=0.05) as provider:
        yield provider


@pytest.fixture
def person(tmp_path: Path, slow: ProviderProcess) -> Person:
    """Return a person."""
    return Person(tmp_path, slow.environment)


def type_line(person: Person, line: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of a shell, where `flowport` is this one; the exit code is that of its last `flowport`."""
    script = f'flowport() {{ "{sys.executable}" -m flowport "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script],
        env=person.environment,
        cwd=person.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def list_runs(person: Person) -> list[tuple[object, object]]:
    """Return the state of each run, and whether its result was delivered."""
    found = json.loads(person.run("runs", "--json").stdout)["runs"]
    return [(run["state"], run["is_seen"]) for run in found]


RUN = "flowport run slow_cinema_still prompt=x"


@pytest.mark.parametrize("stderr", ["2> >(exec true)", "2> >(head -1 >/dev/null)", "2>/dev/full", "2>&-"])
def test_unread_messages_do_not_end_a_run(person: Person, stderr: str) -> None:
    """It is paid for, and its result goes elsewhere."""
    done = type_line(person, f"{RUN} {stderr}")

    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.rstrip("\n")).is_file()
    assert list_runs(person) == [("succeeded", True)]


def test_a_run_is_followed_to_its_end_after_the_reader_left(person: Person) -> None:
    """Only its result counts as not delivered."""
    done = type_line(person, f"{RUN} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}")

    assert done.returncode == 1
    assert list_runs(person) == [("succeeded", False)]


@contextmanager
def open_lost_terminal() -> Iterator[int]:
    """Open a terminal that is closed already: whatever is written to it fails."""
    if sys.platform == "win32":
        raise NotImplementedError  # it has no pseudo-terminals
    parent, child = os.openpty()
    os.close(parent)
    yield child
    os.close(child)


def test_a_terminal_that_was_closed_ends_no_run(person: Person) -> None:
    """Neither the moving line nor a sentence reaches it."""
    with open_lost_terminal() as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "flowport", *RUN.split()[1:]],
            env=person.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    assert done.returncode == 0
    assert list_runs(person) == [("succeeded", True)]


@pytest.mark.parametrize("command", ["apps", "run text_to_picture prompt=x", "--help"])
def test_nothing_is_started_without_standard_output(person: Person, command: str) -> None:
    """What it would show is lost, and a run is paid for."""
    done = type_line(person, f"flowport {command} >&-")
    silent = type_line(person, f"flowport {command} >&- 2>&-")

    assert (done.returncode, silent.returncode) == (1, 1)
    assert done.stderr == "Standard output is closed, so nothing could be shown, and nothing was started.\n"
    assert list_runs(person) == []


@pytest.mark.parametrize(
    "command", ["apps", "apps --json", "runs", "show text_to_picture", "balance", "doctor", "--help", "run --json"]
)
def test_a_full_disk_is_said_in_one_line(person: Person, command: str) -> None:
    """A traceback explains nothing, and both streams may be full."""
    done = type_line(person, f"flowport {command} >/dev/full")
    silent = type_line(person, f"flowport {command} >/dev/full 2>&1")

    assert (done.returncode, silent.returncode) == (1, 1)
    assert done.stderr.splitlines()[-1].startswith("The output could not be written")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["balance", "runs", "apps"])
def test_a_pipe_that_is_closed_early_is_no_fault(person: Person, command: str) -> None:
    """`head` has seen enough."""
    done = type_line(person, f"flowport {command} | exec true; exit ${{PIPESTATUS[0]}}")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_file_never_gets_the_number_of_a_closed_stream(person: Person) -> None:
    """A message of a library would be written into it, be it the record of runs."""
    program = (
        "import os, sys\nfrom flowport.cli import streams\nstreams.prepare_streams(is_output_checked=True)\n"
        "file = os.open(os.devnull, os.O_RDONLY)\nsys.exit(file <= 2)"
    )

    assert type_line(person, f'"{sys.executable}" -c "{program}" <&- >&- 2>&-').returncode == 0


@pytest.mark.parametrize(("words", "code"), [(["apps"], 130), (["run", "x"], 130), ([], 0), (["serve"], 0)])
def test_ctrl_c_during_the_first_imports_prints_nothing(person: Person, words: list[str], code: int) -> None:
    """They take a fifth of a second; a person who has mistyped is faster."""
    program = (
        "import os, runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "runpy.run_module('flowport', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=person.environment, check=False, capture_output=True
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
