"""The programs that start Flowport: where each keeps its list of servers, the form of an entry, and its limits.

The table is `clients.toml`. Everything here is a function of it, of the platform and of the environment: no file is read
or written.
"""

import json
import shlex
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal, assert_never

System = Literal["linux", "darwin", "win32"]
Scope = Literal["user", "project"]
Format = Literal["json", "toml", "print"]
Shape = Literal["standard", "typed", "codex", "opencode", "zed", "goose", "continue", "copilot"]

SCOPES: Final[tuple[Scope, ...]] = ("user", "project")
SERVER_NAME: Final = "flowport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One row of the table; `clients.toml` explains the fields."""

    name: str
    title: str
    format: Format
    section: str
    waits: str
    advice: str
    shape: Shape = "standard"
    user: str | Mapping[System, str] = ""
    moved_by: tuple[str, str] | None = None
    project: str = ""
    keys: Literal["inherited", "named", "expanded", "no"] = "inherited"
    extra: Mapping[str, Any] = field(default_factory=dict)
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

    @property
    def is_edited(self) -> bool:
        """Whether `flowport install` edits the file, instead of printing what to add."""
        return self.format != "print"


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


def build_entry(client: Client, launch: Launch, *, keys: Iterable[str] = ()) -> dict[str, Any]:
    """Return a client's entry for Flowport. It never contains a key.

    Args:
        keys: The variables of the environment that contain keys; the entry lets them through where the client needs that.
    """
    names = sorted(keys)
    extra = {name: value for name, value in client.extra.items() if name != "env"}
    env = dict(client.extra.get("env", {}))
    if client.keys == "expanded":
        env |= {name: f"${name}" for name in names}
    common = {"command": launch.command, "args": list(launch.arguments)}
    entry: dict[str, Any]
    match client.shape:
        case "standard":
            entry = common
        case "typed":
            entry = {"type": "stdio", **common}
        case "codex":
            entry = {**common, "env_vars": names} if names else common
        case "copilot":
            entry = {"type": "local", **common, "tools": ["*"]}
        case "opencode":
            entry = {"type": "local", "command": launch.words, "enabled": True}
        case "zed":
            entry = {"source": "custom", **common}
        case "goose":
            words = {"type": "stdio", "cmd": launch.command, "args": list(launch.arguments)}
            entry = {"name": "Flowport", "enabled": True, **words}
        case "continue":
            entry = {"name": "Flowport", **common}
        case _:
            assert_never(client.shape)
    return {**entry, **extra, **({"env": env} if env else {})}


def format_own_command(
    client: Client, template: str, launch: Launch, *, name: str, scope: Scope, system: System
) -> str:
    """Return the client's own command, quoted for the platform's shell; empty if it has none."""
    join = subprocess.list2cmdline if system == "win32" else shlex.join
    env: Mapping[str, str] = client.extra.get("env", {})
    words: list[str] = []
    for word in template.split():
        match word:
            case "{command}":
                words += launch.words
            case "{json}":
                words.append(json.dumps({"name": name, **build_entry(client, launch)}))
            case _ if word.startswith("{env:"):
                words += [part for key, value in env.items() for part in (word[5:-1], f"{key}={value}")]
            case _:
                words.append(word.format(name=name, scope=scope))
    return join(words)


def format_snippet(client: Client, name: str, entry: Mapping[str, Any]) -> str:
    """Return what a person adds to the client's file by hand."""
    match client.shape:
        case "codex":
            lines = [f"{key} = {_format_toml(value)}" for key, value in entry.items()]
            return "\n".join([f"[{client.section}.{_format_key(name)}]", *lines])
        case "goose":
            return "\n".join([f"{client.section}:", f"  {name}:", *_format_yaml(entry, "    ")])
        case "continue":
            first, *rest = _format_yaml(entry, "    ")
            return "\n".join([f"{client.section}:", f"  - {first.strip()}", *rest])
        case _:
            return json.dumps({client.section: {name: entry}}, indent=2, ensure_ascii=False)


def _format_key(name: str) -> str:
    return name if all(char.isascii() and (char.isalnum() or char in "-_") for char in name) else json.dumps(name)


def _format_toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_format_key(key)} = {_format_toml(one)}" for key, one in value.items()) + " }"
    # Texts, numbers, truth values and lists of texts are written in TOML as in JSON.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _format_yaml(entry: Mapping[str, Any], indent: str) -> list[str]:
    # A scalar or a list of JSON is one of YAML.
    return [f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
