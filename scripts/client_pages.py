"""Build the pages about clients from the table that the installer and the doctor use."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from flowport.cli.clients import (
    SCOPES,
    SERVER_NAME,
    Client,
    Launch,
    Scope,
    System,
    build_entry,
    find_paths,
    format_own_command,
    format_snippet,
    get_clients,
)

LAUNCH: Final = Launch("/path/to/flowport")
SYSTEMS: Final[Mapping[System, Mapping[str, str]]] = {
    "linux": {"HOME": "~"},
    "darwin": {"HOME": "~"},
    "win32": {name: f"%{name}%" for name in ("USERPROFILE", "APPDATA", "LOCALAPPDATA")},
}
_KEYS: Final = {
    "inherited": "It passes the whole environment on. A key that `flowport auth` stored is found as well.",
    "unknown": "Whether it passes on keys of the environment was not tried. A key that `flowport auth` stored is found.",
    "no": "It passes no keys on. Store yours with `flowport auth`: the file then contains none.",
    "named": "It passes on what `env_vars` names; `install` names what is set. `flowport auth` needs neither.",
    "expanded": "It withholds variables that look like keys. `install` lets those through that are set, as `$NAME`. "
    "`flowport auth` needs neither.",
}


def build_client_table() -> str:
    """Return the table of all clients with the file of each."""
    rows = ["| client | file on Linux | command |", "| --- | --- | --- |"]
    for client in get_clients().values():
        files = [_format_paths(client, scope, "linux") for scope in SCOPES]
        edits = (
            f"`flowport install {client.name}`"
            if client.is_edited
            else f"`flowport install {client.name}` prints the entry"
        )
        rows.append(
            f"| [{client.title}](clients/{client.name}.md) | {', or '.join(filter(None, files)) or 'in its settings'} | {edits} |"
        )
    return "\n".join(rows)


def build_limit_table() -> str:
    """Return the table of how long each client waits."""
    rows = ["| client | waits for a call | set | source |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {client.title} | {client.waits} | {client.advice} | {', '.join(client.sources)} |"
        for client in get_clients().values()
        if client.sources
    ]
    return "\n".join(rows)


def build_client_pages() -> Mapping[str, str]:
    """Return the page of each client by its name."""
    return {name: "\n".join(_build_page(client)) + "\n" for name, client in get_clients().items()}


def _build_page(client: Client) -> Iterator[str]:
    yield from (f"# {client.title}", "", "Written by `scripts/write_docs.py` from the table of clients.", "")
    if client.is_edited:
        yield f"`flowport install {client.name}` shows the entry, asks, and adds it; everything else in the file stays as it is."
        yield f"`flowport uninstall {client.name}` removes it. A copy of the file is kept beside it."
    else:
        yield f"`flowport install {client.name} --print` prints the entry with the path of your installation; add it by hand."
    if client.scopes:
        yield from _build_files(client)
    snippet = format_snippet(client, SERVER_NAME, build_entry(client, LAUNCH)).rstrip()
    yield from ("", "## Entry", "", f"```{client.format.partition('-')[0]}", snippet, "```")
    if client.add:
        lines = [
            format_own_command(client, template, LAUNCH, name=SERVER_NAME, scope="user", system="linux")
            for template in (client.add, client.remove)
        ]
        yield from ("", "With its own command:", "", "```sh", *filter(None, lines), "```")
    yield from ("", "## Keys", "", _KEYS[client.keys])
    yield from ("", "## Limits", "", "| limit | value |", "| --- | --- |", f"| waits for a call | {client.waits} |")
    yield f"| set | {client.advice} |"
    for what, most in (
        ("tools", client.max_tools),
        ("characters of a name, the server's included", client.max_name),
        ("bytes of a description", client.max_description),
    ):
        if most:
            yield f"| {what} | {most:,} |"
    if client.notes:
        yield from ("", "## Notes", "", *(f"- {note}" for note in client.notes))
    known = f" Sources: {', '.join(client.sources)}." if client.sources else ""
    seen = f"Version {client.seen} was run with Flowport." if client.seen else "It was not run with Flowport."
    yield from ("", seen + known, "", "[All clients](../clients.md) · [A server for a team](../team-server.md#clients)")


def _build_files(client: Client) -> Iterator[str]:
    yield from ("", "## File", "", "| scope | Linux | macOS | Windows |", "| --- | --- | --- | --- |")
    for scope in client.scopes:
        yield f"| {scope} | {' | '.join(_format_paths(client, scope, system) for system in SYSTEMS)} |"
    if client.moved_by:
        yield from ("", f"`{client.moved_by[0]}` moves the user's file.")


def _format_paths(client: Client, scope: Scope, system: System) -> str:
    paths = find_paths(client, scope, system=system, environment=SYSTEMS[system], folder=PurePosixPath())
    return ", or ".join(f"`{path}`" for path in paths)
