"""Install Flowport as the README says, each time from a clean copy of the tracked files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowport import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the files that git tracks, as a fresh clone has them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    target = tmp_path / "a clone"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end and return what it printed; its errors are part of the failure."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_runs_in_a_clean_environment(clone: Path, tmp_path: Path) -> None:
    """The wheel brings everything that the command needs."""
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path)
    python = tmp_path / "clean/bin/python"
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, clone, cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", *tmp_path.glob("*.whl"), cwd=tmp_path)

    assert run(tmp_path / "clean/bin/flowport", "--version", cwd=tmp_path).strip() == f"flowport {__version__}"
