"""`flowport open`: open the files of a run."""

from typing import Any

import click

from flowport.cli.completion import complete_run
from flowport.cli.flags import KEY_VARIABLES, add_common_flags, call, define_command


@define_command(
    "open",
    inputs={"RUN": "A run by its id; `last`, the newest result that was delivered, unless given."},
    examples=("flowport open", "flowport open run_7f3kq2m9xa"),
    variables=KEY_VARIABLES,
)
@click.argument("name", metavar="[RUN]", default="last", shell_complete=complete_run)
@add_common_flags
def command(**given: Any) -> int:
    """Open the pictures, videos and sounds of a run with the programs of this computer."""
    return call("flowport.cli.single_run", "open_run", given)
