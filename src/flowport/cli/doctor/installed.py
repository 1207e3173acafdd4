"""The entries for Flowport in the clients' configuration files, and whether their commands start."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flowport.cli.client_files import FileNotEdited, choose_path, read_entries
from flowport.cli.clients import SERVER_NAME, Client, find_paths, get_system, is_ours
from flowport.cli.doctor.facts import ClientFacts
from flowport.cli.doctor.servers import build_environment, list_tools
from flowport.settings.settings import explain_settings
from flowport.settings.variables import get_key_names

_EXPANDING: Final = frozenset({"claude-code", "cursor", "gemini-cli", "vscode", "windsurf"})
"""Clients that replace the names of variables in an entry by their values."""
_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl"})


def examine_client(client: Client, environment: Mapping[str, str], home: Path) -> Iterator[ClientFacts]:
    """Yield what a client's own file says of Flowport; nothing without the file.

    A project's file is not read: it may come from others, and its commands are not to be started unasked.
    """
    system = get_system(sys.platform)
    paths = find_paths(client, "user", system=system, environment=environment, folder=Path())
    try:
        path = choose_path(paths)
        if not path.exists():
            return
        _, entries = read_entries(client, path)
    except FileNotEdited as exc:
        yield ClientFacts(client.name, client.title, exc.path, problem=exc.problem)
        return
    ours = {name: entry for name, entry in entries.items() if name == SERVER_NAME or is_ours(entry)}
    if not ours:
        yield ClientFacts(client.name, client.title, path)
    for name, entry in ours.items():
        yield _examine_entry(
            ClientFacts(client.name, client.title, path, server=name), client, entry, environment, home
        )


def _examine_entry(
    facts: ClientFacts, client: Client, entry: Any, environment: Mapping[str, str], home: Path
) -> ClientFacts:
    """Start the command of an entry in the environment that the client gives it."""
    given = entry.get("env") if isinstance(entry, dict) else None
    given = {name: str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    match entry:
        case {"url": _} | {"serverUrl": _} | {"httpUrl": _}:
            return replace(facts, not_tried="it connects to an address")
        case {"disabled": True} | {"enabled": False}:
            return replace(facts, not_tried="it is turned off there")
        case {"command": str(command), **rest} if command:
            arguments = rest.get("args")
            words = [command, *map(str, arguments if isinstance(arguments, list) else [])]
        case _:
            return replace(facts, problem=f'has an entry "{facts.server}" without a command')
    facts = replace(facts, command=command)
    if "${input:" in "".join(given.values()):
        return replace(facts, not_tried="the client asks for some of its values")
    if Path(command).stem.lower() in _CONTAINERS:
        return replace(facts, not_tried="it runs in a container")
    named = entry.get("env_vars")
    hidden = {*get_key_names()} - {*(named if isinstance(named, list) else [])} if client.keys != "inherited" else set()
    passed = {name: value for name, value in environment.items() if name not in hidden}
    whole = build_environment(passed, given, environment if client.name in _EXPANDING else {})
    outcome = list_tools(words, whole, Path(given.get("FLOWPORT_HOME") or home))
    return replace(facts, outcome=outcome, refusal=next(iter(explain_settings({}, whole).problems), None))
