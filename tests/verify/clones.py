"""A copy of the tracked files, like a fresh clone, and child processes that inherit none of the user's settings."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INHERITED = ("PATH", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What a process needs to reach the package index from here, in addition to the settings of pip and uv."""


def copy_clone(target: Path) -> Path:
    """Copy the files that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def build_environment(home: Path, **more: str) -> Mapping[str, str]:
    """Return an environment with a home of its own, and this machine's access to the package index."""
    index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **index, "HOME": str(home), **more}


def run(*command: str | Path, cwd: Path, env: Mapping[str, str]) -> str:
    """Run a command to its end and return its output; its errors are part of the failure."""
    done = subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
