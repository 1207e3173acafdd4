"""The table of clients: where each file lies on each platform, the entry, and the client's own command."""

import json
import tomllib
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from flowport.cli.clients import (
    Client,
    Launch,
    Scope,
    System,
    build_entry,
    find_paths,
    format_own_command,
    format_snippet,
    get_clients,
    get_system,
)

ENVIRONMENTS: dict[System, dict[str, str]] = {
    "linux": {"HOME": "/home/me"},
    "darwin": {"HOME": "/Users/me"},
    "win32": {
        "USERPROFILE": r"C:\Users\me",
        "APPDATA": r"C:\Users\me\AppData\Roaming",
        "LOCALAPPDATA": r"C:\Users\me\AppData\Local",
    },
}
LAUNCH = Launch("/opt/flow port/flowport")


def get_paths(
    name: str, scope: Scope = "user", *, system: System, environment: dict[str, str] | None = None
) -> list[str]:
    """Return where a client's file may be."""
    client, folder = get_clients()[name], PurePath("/project")
    known = ENVIRONMENTS[system] | (environment or {})
    return [str(path) for path in find_paths(client, scope, system=system, environment=known, folder=folder)]


@pytest.mark.parametrize(
    ("name", "linux", "darwin", "win32"),
    [
        (
            "claude-code",
            "/home/me/.claude.json",
            "/Users/me/.claude.json",
            r"C:\Users\me\.claude.json",
        ),
        (
            "cursor",
            "/home/me/.cursor/mcp.json",
            "/Users/me/.cursor/mcp.json",
            r"C:\Users\me\.cursor\mcp.json",
        ),
        (
            "windsurf",
            "/home/me/.codeium/windsurf/mcp_config.json",
            "/Users/me/.codeium/windsurf/mcp_config.json",
            r"C:\Users\me\.codeium\windsurf\mcp_config.json",
        ),
        (
            "gemini-cli",
            "/home/me/.gemini/settings.json",
            "/Users/me/.gemini/settings.json",
            r"C:\Users\me\.gemini\settings.json",
        ),
        (
            "codex",
            "/home/me/.codex/config.toml",
            "/Users/me/.codex/config.toml",
            r"C:\Users\me\.codex\config.toml",
        ),
        (
            "vscode",
            "/home/me/.config/Code/User/mcp.json",
            "/Users/me/Library/Application Support/Code/User/mcp.json",
            r"C:\Users\me\AppData\Roaming\Code\User\mcp.json",
        ),
    ],
)
def test_each_file_has_its_place_on_each_platform(name: str, linux: str, darwin: str, win32: str) -> None:
    """A file in another place is one that the client never reads."""
    assert get_paths(name, system="linux") == [linux]
    assert get_paths(name, system="darwin") == [darwin]
    assert get_paths(name, system="win32") == [win32]


def test_claude_desktop_has_two_places_on_windows() -> None:
    """The packaged program reads a folder of its own (anthropics/claude-code#26073); the older one reads APPDATA."""
    packaged, plain = get_paths("claude-desktop", system="win32")

    assert packaged == (
        r"C:\Users\me\AppData\Local\Packages\Claude_*\LocalCache\Roaming\Claude\claude_desktop_config.json"
    )
    assert plain == r"C:\Users\me\AppData\Roaming\Claude\claude_desktop_config.json"
    assert get_paths("claude-desktop", system="linux") == ["/home/me/.config/Claude/claude_desktop_config.json"]
    assert get_paths("claude-desktop", system="darwin") == [
        "/Users/me/Library/Application Support/Claude/claude_desktop_config.json"
    ]


@pytest.mark.parametrize(
    ("name", "variable", "path"),
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", "/else/.claude.json"),
        ("gemini-cli", "GEMINI_CLI_HOME", "/else/.gemini/settings.json"),
        ("codex", "CODEX_HOME", "/else/config.toml"),
        ("vscode", "XDG_CONFIG_HOME", "/else/Code/User/mcp.json"),
    ],
)
def test_the_variables_that_move_a_file_are_followed(name: str, variable: str, path: str) -> None:
    """Users with several accounts move the folder; an empty variable moves nothing."""
    assert get_paths(name, system="linux", environment={variable: "/else"}) == [path]
    assert get_paths(name, system="linux", environment={variable: ""}) == get_paths(name, system="linux")


def test_the_folders_of_windows_have_defaults() -> None:
    """A stripped environment still has USERPROFILE."""
    client = get_clients()["vscode"]
    environment = {"USERPROFILE": r"D:\me"}

    assert find_paths(client, "user", system="win32", environment=environment, folder=PurePath()) == [
        PureWindowsPath(r"D:\me\AppData\Roaming\Code\User\mcp.json")
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("claude-code", "/project/.mcp.json"),
        ("cursor", "/project/.cursor/mcp.json"),
        ("vscode", "/project/.vscode/mcp.json"),
        ("gemini-cli", "/project/.gemini/settings.json"),
        ("codex", "/project/.codex/config.toml"),
    ],
)
def test_a_project_has_its_own_file(name: str, path: str) -> None:
    """It lies in the project on every platform."""
    assert get_paths(name, "project", system="linux") == [path]
    assert [PurePosixPath(one.replace("\\", "/")) for one in get_paths(name, "project", system="win32")] == [
        PurePosixPath(path)
    ]


def test_clients_without_a_project_file_say_so() -> None:
    """No file is better than one that nothing reads."""
    assert get_paths("claude-desktop", "project", system="linux") == []
    assert get_clients()["claude-desktop"].scopes == ("user",)
    assert get_clients()["jetbrains"].scopes == ()


@pytest.mark.parametrize("client", get_clients().values(), ids=lambda client: client.name)
def test_every_row_can_be_used(client: Client) -> None:
    """Each row has a snippet that its client's format can read, and says how long the client waits."""
    entry = build_entry(client, LAUNCH, passed=["MAGNIFIC_API_KEY"])
    snippet = format_snippet(client, "flowport", entry)

    assert client.waits
    assert client.advice
    assert client.sources or client.name == "other"
    assert LAUNCH.command in snippet
    if client.format == "toml":
        assert tomllib.loads(snippet) == {client.section: {"flowport": entry}}
    elif client.format == "json":
        assert json.loads(snippet) == {client.section: {"flowport": entry}}


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("claude-desktop", {}),
        ("claude-code", {"type": "stdio", "env": {"FLOWPORT_WAIT_SECONDS": "110"}}),
        ("vscode", {"type": "stdio"}),
        ("gemini-cli", {"timeout": 600000, "env": {"FLOWPORT_WAIT_SECONDS": "240"}}),
        ("codex", {"tool_timeout_sec": 300, "env": {"FLOWPORT_WAIT_SECONDS": "240"}}),
    ],
)
def test_an_entry_has_the_time_limits_that_its_client_knows(name: str, members: dict[str, Any]) -> None:
    """The call then waits for most results, and ends before the client gives up."""
    expected = {"command": LAUNCH.command, "args": ["serve"], **members}

    assert build_entry(get_clients()[name], LAUNCH) == expected


def test_a_key_is_named_and_never_written() -> None:
    """Codex passes on what the entry names, Gemini CLI what it expands; the others read the stored key."""
    keys = ["MAGNIFIC_API_KEY", "MAGICA_API_KEY"]
    entries = {name: build_entry(client, LAUNCH, passed=keys) for name, client in get_clients().items()}

    assert entries["codex"]["env_vars"] == ["MAGICA_API_KEY", "MAGNIFIC_API_KEY"]
    assert entries["gemini-cli"]["env"]["MAGNIFIC_API_KEY"] == "$MAGNIFIC_API_KEY"
    assert "API_KEY" not in str(entries["claude-desktop"]) + str(entries["claude-code"]) + str(entries["vscode"])


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (
            "claude-code",
            "claude mcp add --scope user flowport -e FLOWPORT_WAIT_SECONDS=110 -- '/opt/flow port/flowport' serve",
        ),
        ("codex", "codex mcp add flowport --env FLOWPORT_WAIT_SECONDS=240 -- '/opt/flow port/flowport' serve"),
        (
            "gemini-cli",
            "gemini mcp add --scope user --timeout 600000 flowport '/opt/flow port/flowport' serve -e FLOWPORT_WAIT_SECONDS=240",
        ),
        ("cursor", ""),
    ],
)
def test_the_own_command_of_a_client(name: str, command: str) -> None:
    """It does the same as the installer, with words quoted for a shell."""
    client = get_clients()[name]

    assert format_own_command(client, client.add, LAUNCH, name="flowport", scope="user", system="linux") == command


def test_the_own_command_of_vs_code_contains_json() -> None:
    """`code --add-mcp` takes the entry with its name; on Windows the quotes are escaped for its shell."""
    client = get_clients()["vscode"]
    command = format_own_command(client, client.add, Launch(r"C:\f.exe"), name="flowport", scope="user", system="win32")

    assert command == (
        r'code --add-mcp "{\"name\": \"flowport\", \"type\": \"stdio\", \"command\": \"C:\\f.exe\", \"args\": [\"serve\"]}"'
    )


@pytest.mark.parametrize(
    ("platform", "system"),
    [("linux", "linux"), ("darwin", "darwin"), ("win32", "win32"), ("cygwin", "win32"), ("freebsd14", "linux")],
)
def test_every_platform_has_its_paths(platform: str, system: System) -> None:
    """Other Unix systems have the folders of Linux."""
    assert get_system(platform) == system
