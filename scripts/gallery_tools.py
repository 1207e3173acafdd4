"""Shared by the gallery's scripts and checks: node, Chromium, and an environment with a home of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
GALLERY: Final = ROOT / "gallery"
PAGE: Final = ROOT / "src" / "flowport" / "actions" / "views" / "run.html"
CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")
_SECONDS: Final = 600


def find_missing() -> str:
    """Return what the checks need and this machine does not have, as a sentence; empty if nothing is missing."""
    if shutil.which("npm") is None:
        return "The gallery is checked with Node 20.19 or newer and npm, which are not installed here."
    if not Path(CHROMIUM).exists():
        return f"The gallery is checked in Chromium, and {CHROMIUM} does not exist: apt-get install chromium."
    return ""


def install() -> None:
    """Install the locked packages, unless they are there."""
    lock, done = GALLERY / "package-lock.json", GALLERY / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--loglevel=error"], cwd=GALLERY, check=True)  # noqa: S607
        done.touch()


def build_environment(home: Path) -> Mapping[str, str]:
    """Return an environment in which every program of Flowport lives in this folder, on the built-in sandbox."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLOWPORT_", "MAGNIFIC_", "MAGICA_"))
    }
    folders = {"FLOWPORT_HOME": home / "home", "FLOWPORT_OUTPUT_DIR": home / "outputs", "FLOWPORT_FILE_ROOTS": home}
    return {**kept, "HOME": str(home), "PYTHON": sys.executable, **{name: str(path) for name, path in folders.items()}}


def run_node(*arguments: str | Path, env: Mapping[str, str]) -> str:
    """Run a script of `gallery/checks` and return what it printed.

    Raises:
        AssertionError: It failed; the message is its output.
    """
    command = ["node", *map(str, arguments)]
    done = subprocess.run(command, cwd=GALLERY, env=env, check=False, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout
