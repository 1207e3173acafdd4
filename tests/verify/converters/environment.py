"""The environment of other clients, locked in `requirements.lock`: created once in `.converters`, and again when the lock changes."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import pytest

from tests.verify.clones import ROOT, build_environment

if sys.platform != "win32":
    import fcntl

CACHE = ROOT / ".converters"
INSTALL_SECONDS = 900


def provide_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of the environment, which is created if it is missing."""
    lock = Path(__file__).with_name("requirements.lock")
    digest = sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = CACHE / digest
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    with lock_cache():
        if not (folder / "complete").exists():
            create(folder, found, lock, tmp_path_factory)
    return found


@contextmanager
def lock_cache() -> Iterator[None]:
    """Let one test process create the environment while the others wait."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w", encoding="ascii") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def create(folder: Path, found: Path, lock: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Create the environment, and remove those of earlier locks."""
    for old in CACHE.iterdir():
        if old.is_dir():
            rmtree(old, ignore_errors=True)
    env = build_environment(tmp_path_factory.mktemp("home"))
    install("venv", sys.executable, "-m", "venv", str(folder), env=env)
    pip = (str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    install("pip", *pip, "--require-hashes", "-r", str(lock), env=env)
    (folder / "complete").touch()


def install(step: str, *command: str, env: Mapping[str, str]) -> None:
    """Run a step of creating the environment; a failure names the remedy."""
    advice = "These tests install the clients from a package index: check that pip reaches one, and run them again."
    try:
        done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{step} took more than {INSTALL_SECONDS} s. {advice}", pytrace=False)
    if done.returncode:
        pytest.fail(f"{step} failed. {advice}\n{done.stdout[-2000:]}{done.stderr[-4000:]}", pytrace=False)
