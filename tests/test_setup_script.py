"""Check the set-up of a fresh clone: what it prints, and how it reports a step that fails."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP_FILES = ("Makefile", "scripts/setup.sh", "pyproject.toml", "requirements.lock", "requirements-dev.lock")

OLD_PYTHON = '#!/bin/sh\necho "Python 3.9.18"\n'
"""A python3 that is older than 3.11, as on macOS or an older Linux."""

WORKING_PYTHON = """#!/bin/sh
case "$*" in
*'"ok" if'*) echo "ok 3 11 7" ;;
*'import venv, ensurepip'*) {ensurepip} ;;
*'import ssl, sqlite3'*) {sqlite} ;;
*'%d.%d.%d'*) echo 3.11.7 ;;
*version_info*) echo "(3, 11)" ;;
*'-m venv'*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*'-m pip'*) {pip} ;;
esac
"""
"""A stand-in for Python that does what the set-up needs, except for what a test replaces."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with the set-up's files, whose name needs quotes."""
    folder = tmp_path / "a clone"
    for name in SETUP_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def write_program(folder: Path, name: str, text: str) -> None:
    """Write a program into a folder of the search path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)


def set_up(clone: Path, *, kind: str = "run", env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run the set-up with only the system's programs; return its exit code and its output."""
    inherited = {"PATH": f"{clone.parent / 'stubs'}:/usr/bin:/bin", "HOME": str(clone.parent)}
    done = subprocess.run(
        ["/bin/sh", clone / "scripts/setup.sh", kind],
        env={**inherited, **(env or {})},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def write_python(clone: Path, *, ensurepip: str = ":", sqlite: str = ":", pip: str = ":") -> None:
    """Put a working Python first on the search path, with some parts replaced."""
    write_program(clone.parent / "stubs", "python3", WORKING_PYTHON.format(ensurepip=ensurepip, sqlite=sqlite, pip=pip))


def test_every_step_is_printed_and_a_finished_set_up_is_not_repeated(clone: Path) -> None:
    """Both kinds print their steps; a second call does nothing unless a lock changed or the folder moved."""
    write_python(clone)

    code, printed = set_up(clone)
    assert code == 0, printed
    assert [line[:5] for line in printed.splitlines() if line.startswith("[")] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert "requirements.lock" in printed
    assert "up to date" in set_up(clone)[1]

    assert "requirements-dev.lock" in set_up(clone, kind="dev")[1]
    assert "up to date" in set_up(clone, kind="dev")[1]
    assert "up to date" in set_up(clone)[1]

    with (clone / "requirements.lock").open("a", encoding="utf-8") as lock:
        lock.write("# changed\n")
    assert "[3/4]" in set_up(clone)[1]

    moved = clone.rename(clone.with_name("moved"))
    assert "[4/4]" in set_up(moved)[1]


def test_an_interrupted_set_up_is_done_again(clone: Path) -> None:
    """Only the last step marks the environment as complete."""
    write_python(clone, pip="case $* in *-e*) exit 1 ;; esac")
    assert set_up(clone)[0] == 1

    write_python(clone)
    shutil.copy(clone.parent / "stubs/python3", clone / ".venv/bin/python")

    assert "Set-up is done" in set_up(clone)[1]


def test_an_old_python_is_named_with_the_remedy(clone: Path) -> None:
    """The first step names the Python that it found, the version needed, and how to choose another."""
    write_program(clone.parent / "stubs", "python3", OLD_PYTHON)

    code, printed = set_up(clone)

    assert code == 1
    assert "failed at step 1 of 4, Python" in printed
    assert "Python 3.9.18" in printed
    assert "3.11" in printed
    assert "PYTHON=" in printed
    assert not (clone / ".venv").exists()


def test_a_newer_python_of_another_name_is_part_of_the_remedy(clone: Path) -> None:
    """If python3 is too old and python3.13 exists, the remedy is a complete command."""
    write_program(clone.parent / "stubs", "python3", OLD_PYTHON)
    write_program(clone.parent / "stubs", "python3.13", "#!/bin/sh\necho ok\n")

    assert "run: make setup PYTHON=python3.13" in set_up(clone)[1]
    assert "run: make test PYTHON=python3.13" in set_up(clone, kind="dev")[1]


def test_a_missing_python_is_named(clone: Path) -> None:
    """A Python that does not start is refused like an old one."""
    code, printed = set_up(clone, env={"PYTHON": "no-such-python"})

    assert code == 1
    assert "failed at step 1 of 4, Python" in printed
    assert "no-such-python" in printed


def test_a_python_without_its_module_for_environments_names_the_package(clone: Path) -> None:
    """Debian and Ubuntu ship Python without ensurepip."""
    write_python(clone, ensurepip="echo \"ModuleNotFoundError: No module named 'ensurepip'\"; exit 1")

    code, printed = set_up(clone)

    assert code == 1
    assert "failed at step 2 of 4, the environment" in printed
    assert "apt install python3-venv" in printed


def test_a_python_without_a_part_of_its_library_says_which(clone: Path) -> None:
    """A Python built from source without SQLite's headers starts, and fails much later."""
    write_python(clone, sqlite="echo \"ModuleNotFoundError: No module named '_sqlite3'\"; exit 1")

    code, printed = set_up(clone)

    assert code == 1
    assert "_sqlite3" in printed
    assert "another Python" in printed


@pytest.mark.parametrize(
    ("pip_says", "cause"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "is not the one that"),
        (
            "ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==.",
            "setting of pip",
        ),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))", "certificate"),
        ("ERROR: HTTP error 403 while getting x\nERROR: 403 Client Error: Forbidden for url: y", "refuses you"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "cannot be reached"),
        ("ReadTimeoutError: Read timed out.", "cannot be reached"),
        ("ERROR: Could not find a version that satisfies anyio==4.16.0 (from versions: none)", "cannot be reached"),
        ("ERROR: Could not find a version that satisfies anyio==4.16.0 (from versions: 4.0.0)", "does not offer"),
        ("error: subprocess-exited-with-error", "ready-made"),
        ("OSError: [Errno 13] Permission denied: '/x'", "may not be written"),
        ("Segmentation fault", "unknown"),
    ],
)
def test_each_failure_of_pip_has_its_cause_and_remedy(clone: Path, pip_says: str, cause: str) -> None:
    """The message has the step, pip's output, the likely cause and a remedy, without the password of an index."""
    (clone.parent / "said").write_text(f"{pip_says}\nhttps://me:secret@index.example/simple\n", encoding="utf-8")
    write_python(clone, pip=f"cat '{clone.parent / 'said'}' >&2; exit 1")

    code, printed = set_up(clone)

    assert code == 1
    assert "failed at step 3 of 4, the packages" in printed
    assert pip_says.splitlines()[0] in printed
    assert cause in printed.split("Likely cause:")[1]
    assert "Remedy:" in printed
    assert "secret" not in printed


@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_index_that_does_not_answer_is_reported_by_the_target(clone: Path, target: str) -> None:
    """With a real pip and an index that does not listen, both targets end with cause and remedy."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(clone.parent),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}/simple",
            "PIP_RETRIES": "0",
        }
        done = subprocess.run(["make", target], cwd=clone, env=env, check=False, capture_output=True, text=True)

    assert done.returncode != 0
    assert "failed at step 3 of 4, the packages" in done.stderr
    assert "cannot be reached, or is not a package index (PIP_INDEX_URL names your own)" in done.stderr
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ['a $HOME "b".png', "it's #1; $(shell touch made) `touch made` %.png", "-x.png", "$$.png", "a\nb.png"]
)
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_the_demo_gets_the_picture_by_its_name_as_it_is(clone: Path, name: str, given: str) -> None:
    """Neither make nor the shell expands anything in a file's name."""
    write_python(clone)
    set_up(clone)
    write_program(clone / ".venv/bin", "python", '#!/bin/sh\nprintf "<%s>" "$@"\n')
    command = ["make", "--silent", "demo", *([f"IMAGE={name}"] if given == "argument" else [])]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(clone.parent), **({"IMAGE": name} if given == "environment" else {})}

    done = subprocess.run(command, cwd=clone, env=env, check=False, capture_output=True, text=True)

    assert done.stdout.endswith(f"<scripts/demo.py><--image={name}>"), done.stderr
    assert not (clone / "made").exists()
