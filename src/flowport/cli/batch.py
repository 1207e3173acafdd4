"""`flowport batch`: run an app once for each row of a table."""

from pathlib import Path
from typing import Any

import click

from flowport.cli.completion import complete_app, complete_input
from flowport.cli.flags import KEY_VARIABLES, MONEY_VARIABLES, add_common_flags, add_yes_flag, call, define_command


@define_command(
    "batch",
    inputs={
        "APP": "The tool, id or name of an app.",
        "TABLE": "A .csv or .tsv file. Its first row names the inputs; files are named from its own folder.",
        "INPUT": "What all rows share, as name=value.",
    },
    examples=(
        "flowport batch photo_to_pencil_sketch cups.csv",
        "flowport batch photo_to_pencil_sketch cups.csv line_strength=2 --variations 2 --stop-after-failures 3",
    ),
    variables={**KEY_VARIABLES, **MONEY_VARIABLES},
)
@click.argument("app", shell_complete=complete_app)
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="[INPUT]...", shell_complete=complete_input)
@click.option(
    "--variations",
    type=click.IntRange(1, 16),
    metavar="N",
    default=1,
    show_default=True,
    help="How many of each row, 1 to 16.",
)
@click.option(
    "--stop-after-failures", type=click.IntRange(1), metavar="N", help="Start no more rows after so many failed."
)
@click.option("--new", "is_new", is_flag=True, help="Pay again, although an equal batch is not delivered yet.")
@add_yes_flag
@add_common_flags
def command(**given: Any) -> int:
    """Run an app for each row of a table, up to 2,000 runs. All rows are checked and priced first."""
    return call("flowport.cli.app_runs", "run_table", given)
