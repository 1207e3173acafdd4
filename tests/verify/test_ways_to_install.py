"""Install Flowport in each way that the README names, from a clean copy of the tracked files, with a separate home."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from flowport import __version__
from tests.verify.clones import build_environment, copy_clone, run

BIN = Path(sys.executable).parent

HELLO = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "verify", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a fresh clone, in a folder whose name needs quotes."""
    return copy_clone(tmp_path / "a clone")


@pytest.fixture
def env(tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of a user who has installed nothing yet."""
    home = tmp_path / "home"
    return build_environment(
        home,
        PIPX_HOME=str(home / "pipx"),
        PIPX_BIN_DIR=str(home / "bin"),
        PIPX_MAN_DIR=str(home / "man"),
        UV_TOOL_DIR=str(home / "uv"),
        UV_TOOL_BIN_DIR=str(home / "bin"),
        UV_PYTHON=sys.executable,
        UV_PYTHON_DOWNLOADS="never",
    )


def check(*command: str | Path, cwd: Path, env: Mapping[str, str]) -> None:
    """The command prints its version and, without any key, lists the tools of its own sandbox."""
    assert run(*command, "--version", cwd=cwd, env=env).strip() == f"flowport {__version__}"

    process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(json.dumps(message) + "\n" for message in HELLO))
        process.stdin.flush()
        answers = (json.loads(line) for line in process.stdout)
        tools = next(answer["result"]["tools"] for answer in answers if answer.get("id") == 2)
        process.stdin.close()
    assert process.returncode == 0
    assert {"run_app", "sandbox_retro_poster"} <= {tool["name"] for tool in tools}


def find_python(version: str) -> Path | None:
    """Return a working Python of this version, from the search path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "")) / "versions"
    named = shutil.which(f"python{version}")
    for python in [*([Path(named)] if named else []), *pyenv.glob(f"{version}.*/bin/python3")]:
        if subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0:
            return python
    return None


def test_a_wheel_runs_in_a_clean_environment(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """The wheel contains everything that the command needs, and a stock pip installs it."""
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path, env=env)
    pip = (tmp_path / "clean/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, clone, cwd=tmp_path, env=env)
    run(*pip, "install", *tmp_path.glob("flowport-*.whl"), cwd=tmp_path, env=env)

    check(tmp_path / "clean/bin/flowport", cwd=tmp_path, env=env)


def test_pipx_installs_it(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """`pipx install .` gives the command."""
    run(BIN / "pipx", "install", "--python", sys.executable, ".", cwd=clone, env=env)

    check(tmp_path / "home/bin/flowport", cwd=tmp_path, env=env)


def test_uv_installs_it_as_a_tool(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """`uv tool install .` gives the command."""
    run(BIN / "uv", "tool", "install", ".", cwd=clone, env=env)

    check(tmp_path / "home/bin/flowport", cwd=tmp_path, env=env)


def test_uv_installs_it_with_heic(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """The extra that the README names exists and brings its library."""
    run(BIN / "uv", "tool", "install", ".[heic]", cwd=clone, env=env)

    python = tmp_path / "home/uv/flowport/bin/python"
    assert run(python, "-c", "import pillow_heif; print('there')", cwd=tmp_path, env=env).strip() == "there"


def test_uvx_runs_it_from_the_folder(clone: Path, env: Mapping[str, str]) -> None:
    """`uvx --from . flowport` starts the server without installing it."""
    check(BIN / "uvx", "--from", ".", "flowport", cwd=clone, env=env)


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_the_lock_serves_a_newer_python(version: str, clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """One lock is for every Python from 3.11 on; the Dockerfile's is newer than the one that tests run on."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed here")

    run("make", f"PYTHON={python}", "setup", cwd=clone, env=env)

    check(clone / ".venv/bin/flowport", cwd=tmp_path, env=env)
