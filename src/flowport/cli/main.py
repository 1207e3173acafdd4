"""The command line: a table of commands, each imported only when it is called."""

import errno
import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import click

from flowport import __version__
from flowport.cli.startup import get_signal_code, prepare_process
from flowport.cli.streams import OutputLost, discard_output, prepare_streams


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and its line of help."""

    module: str
    """The module that holds the command."""
    help: str
    attribute: str = "command"
    """What the command is called in its module."""


COMMANDS: Final = {
    "apps": Entry("flowport.cli.run_commands", "list apps with their prices, durations and inputs", "apps"),
    "show": Entry("flowport.cli.run_commands", "show an app, or a run with its files", "show"),
    "run": Entry("flowport.cli.run_commands", "run an app and wait for its files", "run"),
    "batch": Entry("flowport.cli.run_commands", "run an app for each row of a table", "batch"),
    "runs": Entry("flowport.cli.run_commands", "list the newest runs", "runs"),
    "open": Entry("flowport.cli.run_commands", "open the files of a run", "open_files"),
    "cancel": Entry("flowport.cli.run_commands", "cancel a run or a batch", "cancel"),
    "settle": Entry(
        "flowport.cli.run_commands", "decide about a run of which it is not known whether it was started", "settle"
    ),
    "balance": Entry("flowport.cli.run_commands", "show what is left, and what was spent", "balance"),
    "auth": Entry("flowport.cli.auth", "store the API key of a provider, or show where each key is set"),
    "doctor": Entry("flowport.cli.doctor.command", "check the installation, and print what corrects each fault"),
    "gallery": Entry("flowport.cli.gallery", "show runs and their results in a browser of this computer"),
    "history": Entry("flowport.cli.history", "print how many runs are on record, and how much space they take"),
    "erase": Entry("flowport.cli.erase", "remove runs from the record"),
    "move": Entry("flowport.cli.move", "copy the record of a home into the database of a team"),
    "install": Entry("flowport.cli.install", "add Flowport to the configuration of a client"),
    "uninstall": Entry("flowport.cli.install", "remove Flowport from the configuration of a client", "uninstall"),
    "serve": Entry("flowport.cli.serve", "speak MCP on standard input and output (the default), or over HTTP"),
    "worker": Entry(
        "flowport.cli.serve", "carry out the runs of a team, whose database FLOWPORT_DATABASE_URL names", "worker"
    ),
    "token": Entry("flowport.cli.tokens", "add, list and revoke the tokens of a server for several people"),
    "sandbox": Entry("flowport.cli.sandbox", "serve the demo provider alone, for development and tests"),
    "completion": Entry("flowport.cli.completion", "print the completion script of a shell"),
}
"""Every command, in the order of the help."""

DEFAULT_COMMAND: Final = "serve"
COMPLETION_VARIABLE: Final = "_FLOWPORT_COMPLETE"
HELP_FLAGS: Final = ("-h", "--help")
_OWN_FLAGS: Final = frozenset({*HELP_FLAGS, "--version"})
"""Flags of the program itself; all others are those of the server."""
CONTEXT: Final[dict[str, Any]] = {"help_option_names": list(HELP_FLAGS), "max_content_width": 100}

INTRODUCTION: Final = f"""\
Flowport {__version__} runs the visual AI apps of your account, here or through an assistant.

Type next:
  flowport apps                     what you can run, and what it costs
  flowport run APP prompt="a lake"  run one and get its files
  flowport install claude-desktop   connect it to an assistant
  flowport --help                   all commands

An assistant starts this same command and speaks MCP with it over a pipe. Without a provider's key, demo apps are used.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_process(get_signal_code(words))
    is_server = _is_server(words)
    prepare_streams(is_output_checked=not is_server)
    if sys.stdout is None and not is_server:
        # A run would be paid for, and its result would not be seen.
        sys.stderr.write("Standard output is closed, so nothing could be shown, and nothing was started.\n")
        return 1
    try:
        return _call(words)
    except OutputLost as exc:
        # What has closed a pipe has seen enough.
        if exc.errno != errno.EPIPE:
            sys.stderr.write(f"The output could not be written ({exc.strerror}).\n")
        discard_output()
        return 1


def _is_server(words: Sequence[str]) -> bool:
    """Return whether the words start the MCP server, which has its own use of standard output, or a worker, which has none."""
    return (
        not words
        or words[0] in {DEFAULT_COMMAND, "worker"}
        or (words[0].startswith("-") and words[0] not in _OWN_FLAGS)
    )


def _call(words: list[str]) -> int:
    if COMPLETION_VARIABLE in os.environ:
        # Our own forms of the shells' scripts replace the library's.
        importlib.import_module(COMMANDS["completion"].module)
    try:
        code = flowport.main(words, prog_name="flowport", complete_var=COMPLETION_VARIABLE, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as exc:
        if "--json" in words:
            click.echo(json.dumps({"error": {"kind": "UsageError", "message": exc.format_message()}}, indent=2))
        else:
            exc.show()
        return exc.exit_code
    return int(code or 0)


class CommandTable(click.Group):
    """The commands of the table. Flags alone belong to `serve`, as in clients' configurations."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command's name; without one, serve, or introduce the program to a person at a terminal."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        if not args and sys.stdin is not None and sys.stdin.isatty():
            click.echo(INTRODUCTION, nl=False)
            ctx.exit(0)
        if not args or (args[0].startswith("-") and args[0] not in _OWN_FLAGS):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments; a name that does not exist is refused with the nearest one."""
        wanted = args[0]
        if wanted not in COMMANDS and not ctx.resilient_parsing:
            nearest = get_close_matches(wanted, COMMANDS, 1)
            hint = f"did you mean {nearest[0]}?" if nearest else "`flowport --help` lists the commands."
            ctx.fail(f"there is no command {wanted!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the line of usage."""
        formatter.write_usage(ctx.command_path, "[-h] [--version] [COMMAND]", prefix="usage: ")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])
        formatter.write_paragraph()
        formatter.write_text("`flowport COMMAND --help` lists the flags of a command.")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:  # noqa: ARG002
        """Return the commands that begin so, without importing one."""
        item = importlib.import_module("click.shell_completion").CompletionItem
        return [item(name, help=entry.help) for name, entry in COMMANDS.items() if name.startswith(incomplete)]


def _print_version(ctx: click.Context, _: click.Parameter, is_wanted: object) -> None:
    if is_wanted:
        click.echo(f"flowport {__version__}")
        ctx.exit()


@click.command(cls=CommandTable, context_settings=CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def flowport() -> None:
    """Run the visual AI apps of your account, here or through an assistant."""
