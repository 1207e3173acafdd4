"""`flowport run`: run an app and wait for its files."""

from typing import Any

import click

from flowport.cli.completion import complete_app, complete_input
from flowport.cli.flags import KEY_VARIABLES, MONEY_VARIABLES, add_common_flags, add_yes_flag, call, define_command


@define_command(
    "run",
    inputs={
        "APP": "The tool, id or name of an app; `flowport apps` lists them.",
        "INPUT": "name=value, name=@file for a file, name=@- for standard input; several times for a list.",
    },
    examples=(
        'flowport run text_to_picture prompt="a lake at dawn"',
        "flowport run photo_to_pencil_sketch photo=@cup.png --open",
        'files=$(flowport run text_to_picture prompt="a lake" --variations 4 --yes)',
    ),
    variables={**KEY_VARIABLES, **MONEY_VARIABLES},
)
@click.argument("app", shell_complete=complete_app)
@click.argument("words", nargs=-1, metavar="[INPUT]...", shell_complete=complete_input)
@click.option("--input-json", metavar="JSON", help="Inputs as a JSON object, @file, or - for standard input.")
@click.option(
    "--variations",
    type=click.IntRange(1, 16),
    metavar="N",
    default=1,
    show_default=True,
    help="How many, 1 to 16, each paid for.",
)
@click.option("--new", "is_new", is_flag=True, help="Pay for another run, although an equal one is not delivered yet.")
@click.option("--open", "is_opened", is_flag=True, help="Open the files at the end.")
@add_yes_flag
@add_common_flags
def command(**given: Any) -> int:
    """Run an app: the price first, then progress, then the files.

    Files are written to standard output, one a line, and all else to standard error. Ctrl-C leaves the run going.
    """
    return call("flowport.cli.app_runs", "run", given)
