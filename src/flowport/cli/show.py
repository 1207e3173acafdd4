"""`flowport show`: an app with its inputs, or a run with its files."""

import re
from typing import Any, Final

import click

from flowport.cli.completion import complete_app_or_run
from flowport.cli.flags import KEY_VARIABLES, add_common_flags, call, define_command

RUN: Final = re.compile(r"last$|.*\b(?:run|batch)_[a-z0-9]{6,}|(?:run|batch):|flowport://(?:runs|batches)/")
"""What names a run; anything else names an app."""


@define_command(
    "show",
    inputs={"NAME": "An app by its tool, id or name, or a run by its id, or `last`."},
    examples=("flowport show text_to_picture", "flowport show run_7f3kq2m9xa --wait", "flowport show last --json"),
    variables=KEY_VARIABLES,
)
@click.argument("name", shell_complete=complete_app_or_run)
@click.option("--wait", "is_waited", is_flag=True, help="Wait for the end of the run, and save its files.")
@add_common_flags
def command(**given: Any) -> int:
    """Show an app with its price, duration and inputs, or a run with its files."""
    if RUN.match(given["name"]):
        return call("flowport.cli.single_run", "show_run", given)
    return call("flowport.cli.app_list", "show_app", given)
