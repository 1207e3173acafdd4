"""Build the generated parts of the reference pages from the program: its settings, built-in tools and commands."""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.cli.main import COMMANDS
from flowport.server.results import build_wire_tool
from flowport.settings.variables import get_variables

HOME: Final = "/home/me"
"""The home folder that the pages show."""


def build_settings() -> str:
    """Return the table of all settings, in the program's order."""
    rows = (f"| `{one.name}` | {one.meaning} | {one.default} |" for one in get_variables())
    return "\n".join(("| variable | meaning | default |", "| --- | --- | --- |", *rows))


def build_tools() -> str:
    """Return a section for each built-in tool: its description, whether it only reads, and its arguments."""
    return "\n\n".join(_build_tool(build_wire_tool(tool)) for tool in BUILT_IN_TOOLS.values())


def _build_tool(tool: Mapping[str, Any]) -> str:
    is_read_only = bool(tool["annotations"].get("readOnlyHint"))
    effect = "Reads only." if is_read_only else "Can spend credits or change a run."
    schema = tool["inputSchema"]
    rows = ["| argument | type | meaning |", "| --- | --- | --- |"]
    for name, item in schema["properties"].items():
        required = ", required" if name in schema.get("required", ()) else ""
        rows.append(f"| `{name}` | {_format_type(item)}{required} | {item['description']} |")
    return "\n".join([f"## `{tool['name']}`", "", f"{tool['description']} {effect}", "", *rows])


def _format_type(item: Mapping[str, Any]) -> str:
    kind = f"array of {item['items']['type']}" if item["type"] == "array" else str(item["type"])
    choices = f": {', '.join(f'`{value}`' for value in item['enum'])}" if "enum" in item else ""
    bounds = [f"{word} {item[key]:g}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in item]
    return " ".join([kind + choices, *bounds])


def build_commands() -> str:
    """Return the help of the program and of each command, as it prints it."""
    sections = [("flowport", fetch_help())]
    for name in COMMANDS:
        # A group's own help says what its commands do; their flags are in the help of each.
        lines = ([name], *([name, one] for one in find_subcommands(name)))
        sections += [(f"flowport {' '.join(words)}", fetch_help(*words)) for words in lines]
    return "\n\n".join(f"## `{title}`\n\n```text\n{text}\n```" for title, text in sections)


def find_subcommands(name: str) -> list[str]:
    """Return the commands of a group; none for any other command."""
    entry = COMMANDS[name]
    command = getattr(importlib.import_module(entry.module), entry.attribute)
    return list(getattr(command, "commands", ()))


def fetch_help(*command: str) -> str:
    """Run `flowport COMMAND --help` in a home folder of a fixed name and return what it prints.

    Raises:
        subprocess.CalledProcessError: The command does not know `--help`.
    """
    kept = {name: value for name, value in os.environ.items() if not re.match("FLOWPORT_|MAGNIFIC_|MAGICA_|XDG_", name)}
    done = subprocess.run(
        [sys.executable, "-m", "flowport", *command, "--help"],
        env={**kept, "HOME": HOME, "COLUMNS": "100", "NO_COLOR": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
