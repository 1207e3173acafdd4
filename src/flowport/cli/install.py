"""`flowport install` and `flowport uninstall`: add Flowport to the configuration of a client, or remove it."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from flowport.cli.client_files import EntryNotOurs, Plan, carry_out, choose_path, plan_install, plan_uninstall
from flowport.cli.clients import (
    SCOPES,
    SERVER_NAME,
    Client,
    Launch,
    Scope,
    build_entry,
    find_paths,
    format_own_command,
    format_snippet,
    get_clients,
    get_system,
)
from flowport.cli.console import ExitCode, print_json, report_error, say
from flowport.cli.flags import define_command
from flowport.domain.errors import FlowportError
from flowport.settings.variables import get_key_names, get_variables

_Function = TypeVar("_Function", bound=Callable[..., Any])

_EDITED: Final = [client.name for client in get_clients().values() if client.is_edited]
_PRINTED: Final = [client.name for client in get_clients().values() if not client.is_edited]
_MOVING: Final = {
    client.moved_by[0]: f"Moves the file of {client.title}." for client in get_clients().values() if client.moved_by
}
_SURROUNDINGS: Final = (
    *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_PICTURES_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
"""Variables of others that decide where Flowport's files are, and how it reaches its providers."""


def _add_flags(function: _Function) -> _Function:
    """Add the flags that both commands have."""
    for option in (
        click.option("--json", "is_json", is_flag=True, help="Print one JSON document."),
        click.option(
            "--force", "should_force", is_flag=True, help="Take an entry of this name that is not Flowport's."
        ),
        click.option("--dry-run", "is_dry", is_flag=True, help="Show the change and make none."),
        click.option("--yes", "-y", "is_agreed", is_flag=True, help="Do not ask."),
        click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="The file, if it is another one."),
        click.option("--name", default=SERVER_NAME, show_default=True, callback=_check_name, help="The entry's name."),
        click.option(
            "--scope",
            type=click.Choice(SCOPES),
            default="user",
            show_default=True,
            help="The user's file, or the one of the project in this folder.",
        ),
    ):
        function = option(function)
    return function


def _check_name(_: click.Context, __: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise click.BadParameter("it takes 1 to 40 letters, digits, - and _, as all clients accept them")
    return name


@define_command(
    "install",
    inputs={"CLIENT": f"{', '.join(_EDITED)}; or, to print what to add: {', '.join(_PRINTED)}."},
    examples=(
        "flowport install claude-desktop",
        "flowport install vscode --scope project --dry-run",
        "flowport install zed --print",
    ),
    variables=_MOVING,
)
@click.argument("client", type=click.Choice(list(get_clients())), metavar="CLIENT")
@click.option("--print", "is_print", is_flag=True, help="Print what to add to the client's file, and edit nothing.")
@_add_flags
def command(client: str, *, is_print: bool, is_json: bool, **flags: Any) -> int:
    """Add Flowport to a client: show the change, ask, copy the file and change nothing else in it."""
    row = get_clients()[client]
    entry = build_entry(row, find_launch(), passed=_list_passed(row))
    if is_print or not row.is_edited:
        return _print_snippet(row, flags["name"], entry, is_json=is_json)
    make_plan = partial(plan_install, row, entry=entry)
    return _change(row, row.add, make_plan, is_json=is_json, **flags)


@define_command(
    "uninstall",
    inputs={"CLIENT": f"{', '.join(_EDITED)}."},
    examples=("flowport uninstall cursor", "flowport uninstall codex --yes"),
    variables=_MOVING,
)
@click.argument("client", type=click.Choice(_EDITED), metavar="CLIENT")
@_add_flags
def uninstall(client: str, *, is_json: bool, **flags: Any) -> int:
    """Remove Flowport's entry from a client: show the change, ask, copy the file and change nothing else in it."""
    row = get_clients()[client]
    return _change(row, row.remove, partial(plan_uninstall, row), is_json=is_json, **flags)


def _change(
    client: Client,
    own_command: str,
    make_plan: Callable[..., Plan],
    *,
    scope: Scope,
    name: str,
    file: Path | None,
    is_agreed: bool,
    is_dry: bool,
    is_json: bool,
    should_force: bool,
) -> int:
    """Plan a change, show it, ask and make it."""
    if scope not in client.scopes:
        raise click.UsageError(f"{client.title} has no file in a project")
    if not (is_agreed or is_dry or (sys.stdin.isatty() and not is_json)):
        raise click.UsageError("where nothing can be asked, add --yes or --dry-run")
    system = get_system(sys.platform)
    facts: dict[str, Any] = {"client": client.name, "scope": scope, "name": name}
    try:
        path = (
            file.absolute()
            if file
            else choose_path(find_paths(client, scope, system=system, environment=os.environ, folder=Path.cwd()))
        )
        plan = make_plan(path=path, name=name, should_force=should_force)
        facts |= {"path": str(path), "action": plan.action, "lines": list(plan.lines), "changed": False, "backup": None}
        facts["own_command"] = format_own_command(
            client, own_command, find_launch(), name=name, scope=scope, system=system
        )
        if not is_json:
            click.echo("\n".join([str(path), *plan.lines]))
        if plan.action != "none" and not is_dry:
            if not is_agreed and not _ask(client, plan):
                say("Nothing was changed.")
                return ExitCode.REFUSED
            backup = carry_out(plan, is_shared=scope == "project")
            facts |= {"changed": True, "backup": str(backup) if backup else None}
    except click.Abort:
        say("Nothing was changed.")
        return ExitCode.INTERRUPTED
    except FlowportError as exc:
        report_error(exc, is_json=is_json)
        return ExitCode.REFUSED if isinstance(exc, EntryNotOurs) else ExitCode.FAILED
    if is_json:
        print_json(facts)
    else:
        _say_outcome(client, facts)
    return ExitCode.DONE


def _ask(client: Client, plan: Plan) -> bool:
    """Return whether the user agrees.

    Raises:
        click.Abort: The user pressed Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    question = f"Remove Flowport from {client.title}?" if plan.action == "remove" else f"Write this for {client.title}?"
    return click.confirm(question, err=True)


def _list_passed(client: Client) -> list[str]:
    """Return the variables that are set here and that the client would withhold: keys, or all that Flowport reads."""
    names = get_key_names()
    if client.keys == "named":
        names = (*(variable.name for variable in get_variables()), *_SURROUNDINGS)
    return [name for name in names if os.environ.get(name) and name not in client.entry.get("env", {})]


def _say_outcome(client: Client, facts: Mapping[str, Any]) -> None:
    """Say what was done and what is left to do."""
    if facts["action"] == "none":
        say("There is nothing to change.")
    elif facts["changed"]:
        say(f"{client.title} {'no longer' if facts['action'] == 'remove' else 'now'} starts Flowport. Restart it.")
        if facts["backup"]:
            say(f"The file as it was: {facts['backup']}")
    if facts["changed"] and facts["action"] != "remove" and client.keys == "no":
        say(f"{client.title} passes no keys on: store yours with `flowport auth`.")
    if facts["own_command"]:
        say(f"Its own command: {facts['own_command']}")


def _print_snippet(client: Client, name: str, entry: Mapping[str, Any], *, is_json: bool) -> int:
    """Print what the user adds to the client's file."""
    snippet = format_snippet(client, name, entry)
    system = get_system(sys.platform)
    paths = find_paths(client, "user", system=system, environment=os.environ, folder=Path.cwd()) if client.user else []
    if is_json:
        places = [str(path) for path in paths]
        print_json({"client": client.name, "paths": places, "format": client.format, "snippet": snippet})
        return ExitCode.DONE
    say(f"For {paths[0]}:" if paths else f"For {client.title}:")
    for note in client.notes:
        say(note)
    click.echo(snippet, nl=False)
    return ExitCode.DONE


def find_launch() -> Launch:
    """Return how a client starts this Flowport; a temporary environment is made again by the program that made it."""
    prefix = Path(sys.prefix)
    if any(re.fullmatch(r"(archive|environments|builds)-v\d+", part) for part in prefix.parts):
        uv = Path(os.environ.get("UV") or shutil.which("uv") or "uv")
        return Launch(str(uv.with_stem(uv.stem + "x")), ("--from", _find_source(), "flowport", "serve"))
    if "pipx" in prefix.parts and re.fullmatch(r"[0-9a-f]{15}", prefix.name):
        pipx = shutil.which("pipx") or "pipx"
        return Launch(os.path.abspath(pipx), ("run", "--spec", _find_source(), "flowport", "serve"))  # noqa: PTH100
    name = "flowport.exe" if sys.platform == "win32" else "flowport"
    script = Path(sys.argv[0]).absolute()
    if script.name != name or not script.is_file():
        script = Path(sys.executable).parent / name
    if not script.is_file():
        return Launch(sys.executable, ("-m", "flowport", "serve"))
    # A link of the search path survives updates of what it leads to.
    known = shutil.which("flowport")
    is_same = known is not None and os.path.realpath(known) == os.path.realpath(script)
    return Launch(os.path.abspath(known) if known and is_same else str(script))  # noqa: PTH100 - links stay


def _find_source() -> str:
    """Return from where this Flowport was installed: a folder, a repository, or its name in the package index."""
    try:
        text = distribution("flowport").read_text("direct_url.json")
    except PackageNotFoundError:
        text = None
    origin = json.loads(text) if text else {}
    address = urlsplit(str(origin.get("url", "")))
    if version := origin.get("vcs_info"):
        return f"{version['vcs']}+{address.geturl()}@{version['commit_id']}"
    if address.scheme == "file":
        return url2pathname(address.path)
    return address.geturl() or "flowport"
