"""The command line: find the command and run it with its flags."""

import argparse
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from flowport import __version__

COMMANDS: Final = {
    "serve": "speak MCP on standard input and output (the default), or over HTTP",
    "history": "print how many runs are on record, and how much space they take",
    "erase": "remove runs from the record",
    "sandbox": "serve the demo provider alone, for development and tests",
}
"""Every command with its line of help; each is the module of that name in `flowport.cli`."""

DEFAULT_COMMAND: Final = "serve"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name and return the exit code."""
    prepare_process()
    name, rest = split_command(sys.argv[1:] if arguments is None else arguments)
    # By name, so that a command imports only what it needs.
    command = importlib.import_module(f"flowport.cli.{name}")
    code: int = command.run(rest)
    return code


def prepare_process() -> None:
    """Exit quietly on a signal until a command handles signals itself, and disable garbage collection until it serves."""
    # A start creates many objects and no garbage; collecting takes a sixth of the time to the first tool list.
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))


def split_command(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command and its flags. Flags alone belong to `serve`, as in clients' configurations.

    Raises:
        SystemExit: Help or the version was requested, or the command does not exist.
    """
    if arguments and arguments[0].startswith("-") and arguments[0] not in {"-h", "--help", "--version"}:
        return DEFAULT_COMMAND, list(arguments)
    parser = build_parser()
    wanted = arguments[0] if arguments else DEFAULT_COMMAND
    nearest = get_close_matches(wanted, COMMANDS, 1)
    if wanted not in COMMANDS and nearest and not wanted.startswith("-"):
        parser.error(f"there is no command {wanted}; did you mean {nearest[0]}?")
    known = parser.parse_args(arguments[:1])
    return known.command, list(arguments[1:])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's name; the command parses its own flags."""
    lines = "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="flowport",
        description="Visual AI apps as MCP tools.",
        epilog=f"commands:\n{lines}\n\n`flowport COMMAND --help` lists the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"flowport {__version__}")
    parser.add_argument(
        "command",
        nargs="?",
        choices=tuple(COMMANDS),
        default=DEFAULT_COMMAND,
        metavar="COMMAND",
        help="what to do; serve unless given",
    )
    return parser
