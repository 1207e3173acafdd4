"""The doctor starts what a client would start, and nothing more."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowport.cli.clients import get_clients
from flowport.cli.doctor import checks
from flowport.cli.doctor.facts import ServerFacts
from flowport.cli.doctor.findings import Finding, Level
from flowport.cli.doctor.installed import examine_client
from flowport.cli.doctor.servers import build_environment, list_tools
from flowport.settings.key_file import save_key_file
from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.terminal import Terminal

OFFLINE = {"MAGNIFIC_API_KEY": "FPSX0123456789abcdef", "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"}
"""With it a server lists its own tools at once: nothing listens at the discard port."""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run both providers for the module."""
    with open_provider(tmp_path_factory.mktemp("provider")) as process:
        yield process


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Return a user without any configuration."""
    return Terminal(tmp_path, {})


@pytest.fixture
def home(terminal: Terminal) -> Path:
    """Return the folder of this user's record, which does not exist."""
    return terminal.folder / ".local" / "share" / "flowport"


def check_cursor(terminal: Terminal, home: Path) -> list[Finding]:
    """Return the lines about Cursor for a user whose shell has a key."""
    [facts] = examine_client(get_clients()["cursor"], terminal.environment, home)
    return list(checks.check_client(facts, has_key=True))


def write_client(terminal: Terminal, entry: Any) -> Path:
    """Write Cursor's file with an entry."""
    path = terminal.folder / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"mcpServers": {"flowport": entry, "other": {"command": "/none"}}}))
    return path


NOISY = "print('hello', flush=True); import runpy; runpy.run_module('flowport', run_name='__main__')"


@pytest.mark.parametrize(
    ("entry", "level", "words"),
    [
        ({"command": sys.executable, "args": ["-m", "flowport"], "env": OFFLINE}, "ok", "starts and lists 7 tools"),
        (
            {"command": sys.executable, "args": ["-m", "flowport", "--home", "/none/at/all"], "env": OFFLINE},
            "ok",
            "starts and lists 7",
        ),
        ({"command": "/none/flowport"}, "fault", "does not exist"),
        ({"command": "flowport-that-is-not-installed"}, "fault", "PATH"),
        (
            {"command": sys.executable, "args": ["-c", "import sys; sys.exit('no module')"]},
            "fault",
            "ended before it answered (no module)",
        ),
        (
            {"command": sys.executable, "args": ["-m", "flowport", "--wait-second", "3"]},
            "fault",
            "ended before it answered",
        ),
        ({"command": ["list"]}, "fault", "without a command"),
        ("text", "fault", "without a command"),
        ({"url": "http://127.0.0.1:8765/mcp"}, "ok", "it connects to an address"),
        ({"command": "docker", "args": ["run", "flowport"]}, "ok", "it runs in a container"),
        ({"command": "x", "disabled": True}, "ok", "it is turned off there"),
    ],
)
def test_the_entry_of_a_client_is_tried(terminal: Terminal, home: Path, entry: Any, level: str, words: str) -> None:
    """As the client would start it; the entries of other servers are not started."""
    path = write_client(terminal, entry)
    before = path.read_bytes()

    [finding] = check_cursor(terminal, home)

    assert (finding.level, words in finding.sentence) == (level, True), finding.sentence
    assert path.read_bytes() == before
    assert not (terminal.folder / ".local").exists()


@pytest.mark.parametrize(
    ("name", "folder", "level", "words"),
    [
        ("cursor", ".cursor/mcp.json", Level.OK, "starts and lists 7 tools"),
        ("claude-desktop", ".config/Claude/claude_desktop_config.json", Level.FAULT, "refuses every call"),
    ],
)
def test_a_variable_in_an_entry_works_where_the_client_replaces_it(
    terminal: Terminal, name: str, folder: str, level: Level, words: str
) -> None:
    """Claude Desktop passes the text on as it is, and every call would be refused."""
    path = terminal.folder / folder
    path.parent.mkdir(parents=True)
    entry = {"command": sys.executable, "args": ["-m", "flowport"], "env": {**OFFLINE, "MAGNIFIC_API_KEY": "${MY_KEY}"}}
    path.write_text(json.dumps({"mcpServers": {"flowport": entry}}))
    environment = {**terminal.environment, "MY_KEY": OFFLINE["MAGNIFIC_API_KEY"]}

    [facts] = examine_client(get_clients()[name], environment, terminal.folder)
    [finding] = checks.check_client(facts, has_key=True)

    assert (finding.level, words in finding.sentence) == (level, True), finding


def test_a_command_that_prints_is_a_fault(terminal: Terminal, home: Path) -> None:
    """Clients that read strictly disconnect."""
    write_client(terminal, {"command": sys.executable, "args": ["-c", NOISY], "env": dict(OFFLINE)})

    [entry, noise] = check_cursor(terminal, home)

    assert entry.level is Level.OK
    assert (noise.level, "hello" in noise.sentence) == (Level.FAULT, True)


def test_a_command_that_never_answers_is_ended_with_its_children(tmp_path: Path) -> None:
    """Its child holds the output open, and is not waited for."""
    environment = {"PATH": os.environ["PATH"]}

    found = list_tools(("sh", "-c", "sleep 1000 & sleep 1000"), environment, tmp_path, seconds=0.5)

    assert found.problem == "did not answer within 0.5 s"


def test_a_command_that_floods_its_output_is_ended(tmp_path: Path) -> None:
    """The first line is shown, without what a terminal would obey."""
    program = "while True: print('\\x1b[31mnoise')"

    found = list_tools((sys.executable, "-c", program), {"PATH": ""}, tmp_path, seconds=2)

    assert found.problem == "did not answer within 2 s"
    assert found.noise == "[31mnoise"


def test_a_key_that_does_not_reach_a_client_is_a_warning(
    terminal: Terminal, home: Path, provider: ProviderProcess
) -> None:
    """Cursor does not pass the shell's keys on; the stored key reaches every client."""
    write_client(terminal, {"command": sys.executable, "args": ["-m", "flowport"]})
    user = Terminal(terminal.folder, provider.environment)
    [before] = check_cursor(user, home)
    terminal.config_folder.mkdir(parents=True)
    save_key_file(terminal.config_folder / "keys.toml", {"MAGNIFIC_API_KEY": provider.variables["MAGNIFIC_API_KEY"]})
    [after] = check_cursor(user, home)

    assert (before.level, "no API key reaches it" in before.sentence) == (Level.WARNING, True)
    assert before.fix == "flowport auth"
    assert after.level is Level.OK


@pytest.mark.parametrize("content", ["{", '{"mcpServers": []}', "\xff", '{"mcpServers": {"flowport": '])
def test_a_file_that_cannot_be_read_is_one_line(terminal: Terminal, home: Path, content: str) -> None:
    """With its path; it is not corrected."""
    path = write_client(terminal, {})
    path.write_text(content, encoding="latin-1")

    [finding] = check_cursor(terminal, home)

    assert (finding.level, str(path) in finding.sentence) == (Level.FAULT, True)
    assert path.read_text(encoding="latin-1") == content


def test_a_client_without_flowport_is_offered_it(terminal: Terminal, home: Path) -> None:
    """Its file is there, so it is probably used; comments are usual in it."""
    path = write_client(terminal, {})
    path.write_text('// mine\n{"mcpServers": {"other": {"command": "/none"},},}\n')

    [finding] = check_cursor(terminal, home)

    assert (finding.level, finding.fix) == (Level.OK, "flowport install cursor")


def test_variables_in_an_entry_stand_for_others() -> None:
    """In each client's spelling; an unknown one stays, and Flowport refuses it as a placeholder."""
    every = {"KEY": "secret", "PATH": "/bin"}
    given = {"A": "$KEY", "B": "${KEY}", "C": "${env:KEY}", "D": "${NONE}", "E": "plain"}

    found = build_environment({"PATH": "/bin"}, given, every)

    assert found == {"PATH": "/bin", "A": "secret", "B": "secret", "C": "secret", "D": "${NONE}", "E": "plain"}


@pytest.mark.parametrize(
    ("count", "name", "description", "titles"),
    [
        (47, "n" * 40, "short", []),
        (81, "short", "short", ["Cursor"]),
        (101, "short", "short", ["Cursor", "Windsurf"]),
        (129, "short", "short", ["Cursor", "Windsurf", "VS Code (Copilot)"]),
        (1, "n" * 48, "short", ["Cursor"]),
        (1, "n" * 52, "short", ["Cursor", "VS Code (Copilot)"]),
        (1, "short", "d" * 2049, ["Claude Code"]),
    ],
)
def test_the_tool_list_is_compared_with_each_clients_limits(
    count: int, name: str, description: str, titles: list[str]
) -> None:
    """A client drops what exceeds them, or shows a part of it."""
    listed = ServerFacts([{"name": name, "description": description}] * count, 10_000)
    clients = [client for client in get_clients().values() if client.is_edited]

    found = list(checks.check_own_server(listed, clients, "flowport"))

    warned = [one.name.removeprefix("tool list in ") for one in found if one.level is Level.WARNING]
    assert warned == titles
    assert all(one.fix.startswith("Set FLOWPORT_MAX_TOOLS") for one in found if one.level is Level.WARNING)
