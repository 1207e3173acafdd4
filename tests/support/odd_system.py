"""Make single system calls of a child process fail, as on unusual file systems."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("odd_system.c")


@cache
def _build() -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = Path(_open_folder().name) / "odd_system.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@cache
def _open_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed with the test process."""
    return tempfile.TemporaryDirectory(prefix="flowport-odd-")


def fail(folder: Path | None = None, **calls: int) -> dict[str, str]:
    """Return variables under which these calls fail with these error numbers, below a folder or everywhere."""
    faults = ",".join(f"{call}={number}" for call, number in calls.items())
    return {"LD_PRELOAD": str(_build()), "ODD_CALLS": faults, **({"ODD_FOLDER": str(folder)} if folder else {})}


def run_python(
    code: str, *arguments: object, environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end, check that it succeeds, and return what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def run_flowport(
    *arguments: str, environment: Mapping[str, str], without: tuple[str, ...] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of Flowport to its end, with standard input closed, and return what it wrote.

    Args:
        without: Inherited variables to remove.
    """
    inherited = {name: text for name, text in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-m", "flowport", *arguments],
        env={**inherited, **environment},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
