"""The entry that `flowport install` writes starts Flowport, in whichever way it was installed."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowport.cli.clients import is_ours
from tests.verify.clones import build_environment, copy_clone, run
from tests.verify.test_ways_to_install import check

BIN = Path(sys.executable).parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a fresh clone, in a folder whose name needs quotes."""
    return copy_clone(tmp_path / "a clone")


@pytest.fixture
def env(tmp_path: Path) -> Mapping[str, str]:
    """Return the settings of a person who has uv and pipx on the search path."""
    home = tmp_path / "home"
    found = build_environment(
        home,
        PIPX_HOME=str(home / "pipx"),
        PIPX_BIN_DIR=str(home / "bin"),
        PIPX_MAN_DIR=str(home / "man"),
        UV_TOOL_DIR=str(home / "uv"),
        UV_TOOL_BIN_DIR=str(home / "bin"),
        UV_PYTHON=sys.executable,
        UV_PYTHON_DOWNLOADS="never",
    )
    return {**found, "PATH": f"{home / 'bin'}:{BIN}:{found['PATH']}"}


def install(*command: str | Path, cwd: Path, env: Mapping[str, str]) -> Any:
    """Install Flowport into Cursor's file and return the entry."""
    facts = json.loads(run(*command, "install", "cursor", "--yes", "--json", cwd=cwd, env=env))
    return json.loads(Path(facts["path"]).read_text())["mcpServers"]["flowport"]


def check_entry(entry: Any, *, cwd: Path, env: Mapping[str, str]) -> None:
    """The entry's command, without its last word, is Flowport, and its server lists tools."""
    assert is_ours(entry)
    assert Path(entry["command"]).is_absolute()
    *words, last = entry["args"]
    assert last == "serve"
    check(entry["command"], *words, cwd=cwd, env=env)


def test_pipx_keeps_its_link(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """The command is the link of the search path, not the folder that an update replaces."""
    run(BIN / "pipx", "install", "--python", sys.executable, ".", cwd=clone, env=env)
    entry = install(tmp_path / "home/bin/flowport", cwd=tmp_path, env=env)

    assert entry == {"command": str(tmp_path / "home/bin/flowport"), "args": ["serve"]}
    check_entry(entry, cwd=tmp_path, env=env)


def test_uv_keeps_its_link(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """The same holds for `uv tool install`."""
    run(BIN / "uv", "tool", "install", ".", cwd=clone, env=env)
    entry = install(tmp_path / "home/bin/flowport", cwd=tmp_path, env=env)

    assert entry == {"command": str(tmp_path / "home/bin/flowport"), "args": ["serve"]}
    check_entry(entry, cwd=tmp_path, env=env)


def test_uvx_is_named_with_the_folder(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """Its environment is temporary, so the entry makes it again, from wherever the client starts it."""
    entry = install(BIN / "uvx", "--from", ".", "flowport", cwd=clone, env=env)

    assert entry["args"] == ["--from", str(clone), "flowport", "serve"]
    check_entry(entry, cwd=tmp_path, env=env)


def test_pipx_run_is_named_with_the_folder(clone: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    """The same holds for `pipx run`."""
    command = (BIN / "pipx", "run", "--python", sys.executable, "--spec", ".", "flowport")
    entry = install(*command, cwd=clone, env=env)

    assert entry["args"] == ["run", "--spec", str(clone), "flowport", "serve"]
    check_entry(entry, cwd=tmp_path, env=env)
