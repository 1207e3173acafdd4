"""The programs that start Flowport: where each keeps its list of servers, the form of an entry, and its limits.

The table is `clients.toml`. Everything here is a function of it, of the platform and of the environment: no file of a
client is read or written.
"""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal

from flowport.cli import toml_entry

System = Literal["linux", "darwin", "win32"]
Scope = Literal["user", "project"]

SCOPES: Final[tuple[Scope, ...]] = ("user", "project")
SERVER_NAME: Final = "flowport"
INSTALLED: Final = ("command", "args")
"""The members of an entry that follow the installation; all others belong to the user once they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One row of the table; `clients.toml` explains the fields."""

    name: str
    title: str
    format: Literal["json", "toml", "yaml", "yaml-list"]
    section: str
    waits: str
    advice: str
    is_edited: bool = False
    entry: Mapping[str, Any] = field(default_factory=lambda: {"command": "{command}", "args": "{args}"})
    user: str | Mapping[System, str] = ""
    moved_by: tuple[str, str] | None = None
    project: str = ""
    keys: Literal["inherited", "named", "expanded", "no", "unknown"] = "unknown"
    add: str = ""
    remove: str = ""
    sources: Sequence[str] = ()
    notes: Sequence[str] = ()
    max_tools: int | None = None
    max_name: int | None = None
    max_description: int | None = None
    seen: str = ""

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes for which there is a file."""
        return tuple(scope for scope in SCOPES if getattr(self, scope))


@dataclass(frozen=True, slots=True)
class Launch:
    """How a client starts Flowport."""

    command: str
    arguments: tuple[str, ...] = ("serve",)

    @property
    def words(self) -> list[str]:
        """The command with its arguments."""
        return [self.command, *self.arguments]


@cache
def get_clients() -> Mapping[str, Client]:
    """Return the table by name, in its order."""
    rows = tomllib.loads(files("flowport.cli").joinpath("clients.toml").read_text(encoding="utf-8"))
    return {name: Client(name=name, **row) for name, row in rows.items()}


def get_system(platform: str) -> System:
    """Return the platform whose paths apply; other Unix systems have those of Linux."""
    return "win32" if platform in {"win32", "cygwin"} else "darwin" if platform == "darwin" else "linux"


def find_paths(
    client: Client, scope: Scope, *, system: System, environment: Mapping[str, str], folder: PurePath
) -> list[PurePath]:
    """Return where a client's file may be, the likeliest first; a path may contain `*`. Empty without such a file.

    Args:
        folder: The project's folder.
    """
    kind = PureWindowsPath if system == "win32" else PurePosixPath
    if scope == "project":
        return [kind(folder) / client.project] if client.project else []
    if client.moved_by and (moved := environment.get(client.moved_by[0])):
        return [kind(moved) / client.moved_by[1]]
    folders = get_folders(system, environment)
    template = client.user if isinstance(client.user, str) else client.user[system]
    return [kind(path.format(**folders)) for path in template.split("|") if path]


def get_folders(system: System, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the user's folders that the table names."""
    match system:
        case "win32":
            home = environment.get("USERPROFILE") or "~"
            return {
                "home": home,
                "config": environment.get("APPDATA") or rf"{home}\AppData\Roaming",
                "local": environment.get("LOCALAPPDATA") or rf"{home}\AppData\Local",
            }
        case "darwin":
            home = environment.get("HOME") or "~"
            return {"home": home, "config": f"{home}/Library/Application Support", "local": home}
        case "linux":
            home = environment.get("HOME") or "~"
            return {"home": home, "config": environment.get("XDG_CONFIG_HOME") or f"{home}/.config", "local": home}


def build_entry(client: Client, launch: Launch, *, passed: Iterable[str] = ()) -> dict[str, Any]:
    """Return a client's entry for Flowport. It never contains a key.

    Args:
        passed: The variables of the environment that the client withholds unless the entry names them.
    """
    names = sorted(passed)
    filled = {"{command}": launch.command, "{args}": list(launch.arguments), "{words}": launch.words, "{keys}": names}
    entry: dict[str, Any] = {
        key: filled.get(value, value) if isinstance(value, str) else value for key, value in client.entry.items()
    }
    if client.keys == "expanded" and names:
        entry["env"] = {**entry.get("env", {}), **{name: f"${name}" for name in names}}
    return {key: value for key, value in entry.items() if value != []}


def is_ours(entry: object) -> bool:
    """Return whether an entry starts Flowport, in whichever way it was installed."""
    match entry:
        case {"command": str(command), "args": list(arguments)}:
            words = [command, *arguments]
        case {"command": str(command)}:
            words = [command]
        case _:
            return False
    first, *rest = (re.split(r"[\\/]", str(word))[-1].lower().removesuffix(".exe") for word in words)
    return first == "flowport" or ("flowport" in rest and bool(re.match(r"uvx?$|pipx$|py(thon[\d.]*)?$", first)))


def format_own_command(
    client: Client, template: str, launch: Launch, *, name: str, scope: Scope, system: System
) -> str:
    """Return the client's own command, quoted for the platform's shell; empty if it has none."""
    words: list[str] = []
    for word in template.split():
        match word:
            case "{command}":
                words += launch.words
            case "{json}":
                words.append(json.dumps({"name": name, **build_entry(client, launch)}))
            case "{env}":
                flag = "--env" if client.format == "toml" else "-e"
                words += [part for key, value in client.entry["env"].items() for part in (flag, f"{key}={value}")]
            case _:
                words.append(word.format(name=name, scope=scope))
    return subprocess.list2cmdline(words) if system == "win32" else shlex.join(words)


def format_snippet(client: Client, name: str, entry: Mapping[str, Any]) -> str:
    """Return what a person adds to the client's file by hand."""
    # A value of JSON is one of YAML.
    pairs = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
    match client.format:
        case "json":
            return json.dumps({client.section: {name: entry}}, indent=2, ensure_ascii=False) + "\n"
        case "toml":
            return toml_entry.format_table((client.section, name), entry)
        case "yaml":
            return "\n    ".join([f"{client.section}:\n  {name}:", *pairs]) + "\n"
        case "yaml-list":
            return f"{client.section}:\n  - " + "\n    ".join(pairs) + "\n"
