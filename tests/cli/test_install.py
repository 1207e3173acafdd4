"""`flowport install` and `flowport uninstall` as processes, in a clean home."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flowport.cli.clients import Client, Launch, build_entry, format_snippet, get_clients

FLOWPORT = Path(sys.executable).parent / "flowport"
SECRET = "mk-0123456789abcdef0123456789abcdef"
EDITED = [client for client in get_clients().values() if client.is_edited]
PRINTED = [client for client in get_clients().values() if not client.is_edited]


@dataclass(frozen=True)
class User:
    """A home folder and a project, and an environment that has nothing else."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "NO_COLOR": "1", **self.variables}

    def run(self, *words: str, code: int = 0, program: Path = FLOWPORT) -> subprocess.CompletedProcess[str]:
        """Run a command without a terminal, and check its exit code."""
        done = subprocess.run(
            [program, *words],
            cwd=self.home / "project",
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def load(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a command with `--json` and return its one document."""
        facts: dict[str, Any] = json.loads(self.run(*words, "--json", code=code).stdout)
        return facts

    def answer(self, text: str, *words: str) -> tuple[int, str]:
        """Run a command at a terminal, answer its question, and return the exit code and what it printed."""
        if sys.platform == "win32":
            pytest.skip("Windows has no such terminals")
        ours, theirs = os.openpty()
        with subprocess.Popen(
            [FLOWPORT, *words],
            cwd=self.home / "project",
            env=self.environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            os.write(ours, text.encode())
            printed = process.stdout.read().decode() if process.stdout else ""
        os.close(ours)
        os.close(theirs)
        return process.returncode, printed

    def list_files(self) -> list[str]:
        """Return all files of the home."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file())


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Return a user who has nothing yet."""
    (tmp_path / "project").mkdir()
    return User(tmp_path)


def load_section(client: Client, path: str) -> Any:
    """Return the servers of a client's file."""
    text = Path(path).read_text(encoding="utf-8")
    return (tomllib.loads(text) if client.format == "toml" else json.loads(text))[client.section]


@pytest.mark.parametrize("client", EDITED, ids=lambda client: client.name)
def test_a_client_is_installed_once_and_removed(client: Client, user: User) -> None:
    """In a clean home the entry starts this installation; a second time changes nothing; removal leaves no entry."""
    facts = user.load("install", client.name, "--yes")
    assert (facts["action"], facts["changed"], facts["backup"]) == ("add", True, None)
    assert load_section(client, facts["path"]) == {"flowport": build_entry(client, Launch(str(FLOWPORT)))}
    written = Path(facts["path"]).read_bytes()

    again = user.load("install", client.name, "--yes")
    assert (again["action"], again["changed"], again["lines"]) == ("none", False, [])
    assert Path(facts["path"]).read_bytes() == written
    assert user.list_files() == [str(Path(facts["path"]).relative_to(user.home))]

    removed = user.load("uninstall", client.name, "--yes")
    assert (removed["action"], removed["path"]) == ("remove", facts["path"])
    assert Path(removed["backup"]).read_bytes() == written
    assert user.load("uninstall", client.name, "--yes")["action"] == "none"


@pytest.mark.parametrize("client", [client for client in EDITED if client.project], ids=lambda client: client.name)
def test_a_project_has_its_own_entry(client: Client, user: User) -> None:
    """`--scope project` writes into the working folder, under the name that `--name` gives."""
    facts = user.load("install", client.name, "--scope", "project", "--name", "my-flows", "--yes")

    assert facts["path"] == str(user.home / "project" / client.project)
    assert list(load_section(client, facts["path"])) == ["my-flows"]
    assert "my-flows" in facts["own_command"] or not client.add


def test_a_dry_run_shows_the_change_and_makes_none(user: User) -> None:
    """The lines are those that are written without it."""
    dry = user.load("install", "cursor", "--dry-run")
    text = user.run("install", "cursor", "--dry-run").stdout
    assert user.list_files() == []
    assert dry["changed"] is False
    assert dry["lines"] == user.load("install", "cursor", "--yes")["lines"]
    assert text.splitlines() == [dry["path"], *dry["lines"]]
    assert str(FLOWPORT) in text


def test_without_a_terminal_nothing_is_written_unasked(user: User) -> None:
    """A script agrees with `--yes`; JSON on a terminal is a script too."""
    assert "--yes" in user.run("install", "cursor", code=2).stderr
    code, printed = user.answer("y\n", "install", "cursor", "--json")

    assert (code, "--yes" in printed) == (2, True)
    assert user.list_files() == []


@pytest.mark.parametrize(
    ("text", "code", "is_written"), [("y\n", 0, True), ("n\n", 3, False), ("\n", 3, False), ("\x04", 130, False)]
)
def test_a_person_is_asked(text: str, code: int, is_written: bool, user: User) -> None:
    """The change is shown first; only a yes writes."""
    returned, printed = user.answer(text, "install", "vscode")

    assert returned == code
    assert printed.index(str(FLOWPORT)) < printed.index("[y/N]")
    assert ("Nothing was changed." in printed) is not is_written
    assert bool(user.list_files()) is is_written


@pytest.mark.parametrize(
    ("content", "code", "kind"),
    [
        ('{"mcpServers": {', 1, "FileNotEdited"),
        ('{"mcpServers": {"flowport": {"command": "node"}}}', 3, "EntryNotOurs"),
    ],
)
def test_a_refusal_has_an_exit_code_and_a_document(content: str, code: int, kind: str, user: User) -> None:
    """The file stays, whatever is asked of it."""
    path = user.home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text(content)
    error = user.load("install", "cursor", "--yes", code=code)["error"]

    assert error["kind"] == kind
    assert str(path) in error["message"]
    assert error["message"] in user.run("uninstall", "cursor", "--yes", code=code).stderr.replace("\n", "")
    assert path.read_text() == content
    assert user.list_files() == [".cursor/mcp.json"]


def test_another_file_can_be_named(user: User) -> None:
    """Editions, profiles and remote machines have files of their own."""
    facts = user.load("install", "vscode", "--file", "Insiders/mcp.json", "--yes")

    assert facts["path"] == str(user.home / "project" / "Insiders" / "mcp.json")
    assert list(load_section(get_clients()["vscode"], facts["path"])) == ["flowport"]


@pytest.mark.parametrize(
    "words",
    [
        ("install", "cursr"),
        ("install", "claude-desktop", "--scope", "project", "--yes"),
        ("install", "cursor", "--name", "a b", "--yes"),
        ("install", "cursor", "--name", "", "--yes"),
        ("uninstall", "zed", "--yes"),
        ("install",),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], user: User) -> None:
    """Before anything is read or written."""
    user.run(*words, code=2)

    assert user.list_files() == []


@pytest.mark.parametrize("client", [*PRINTED, get_clients()["codex"]], ids=lambda client: client.name)
def test_the_entry_can_be_printed(client: Client, user: User) -> None:
    """Standard output has the snippet alone; where it goes is said beside it."""
    entry = build_entry(client, Launch(str(FLOWPORT)))
    done = user.run("install", client.name, "--print")
    facts = user.load("install", client.name, "--print")

    assert done.stdout == facts["snippet"] == format_snippet(client, "flowport", entry)
    assert all(path in done.stderr.replace("\n", "") for path in facts["paths"])
    assert user.list_files() == []


@pytest.mark.parametrize("name", [client.name for client in EDITED])
def test_no_key_is_written_or_shown(name: str, user: User) -> None:
    """A key of the environment is at most named."""
    user = User(user.home, {"MAGNIFIC_API_KEY": SECRET, "HTTPS_PROXY": "http://me:word@proxy:1"})
    done = user.run("install", name, "--yes")
    (path,) = (user.home / one for one in user.list_files())

    text = path.read_text()
    assert SECRET not in text + done.stdout + done.stderr
    assert "word" not in text + done.stdout + done.stderr
    assert ("MAGNIFIC_API_KEY" in text) is (name in {"codex", "gemini-cli"})
    assert ("HTTPS_PROXY" in text) is (name == "codex")


def test_a_link_of_the_search_path_is_kept(user: User) -> None:
    """What pipx and uv link survives their updates; the folder that it leads to may not."""
    link = user.home / "bin" / "flowport"
    link.parent.mkdir()
    link.symlink_to(FLOWPORT)
    found = User(user.home, {"PATH": f"{link.parent}{os.pathsep}{os.environ['PATH']}"})
    facts = json.loads(found.run("install", "cursor", "--yes", "--json", program=link).stdout)

    assert load_section(get_clients()["cursor"], facts["path"])["flowport"]["command"] == str(link)


def test_the_module_installs_its_command(user: User) -> None:
    """`python -m flowport` is in the environment of the command, which is written."""
    facts = json.loads(
        user.run("-m", "flowport", "install", "cursor", "--yes", "--json", program=Path(sys.executable)).stdout
    )

    assert load_section(get_clients()["cursor"], facts["path"])["flowport"]["command"] == str(FLOWPORT)
