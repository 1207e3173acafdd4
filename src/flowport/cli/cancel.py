"""`flowport cancel`: cancel a run or a batch."""

from typing import Any

import click

from flowport.cli.completion import complete_run
from flowport.cli.flags import KEY_VARIABLES, add_common_flags, call, define_command


@define_command(
    "cancel",
    inputs={"RUN": "A run or a batch by its id; `flowport runs --live` lists them."},
    examples=("flowport cancel run_7f3kq2m9xa", "flowport cancel run_7f3kq2m9xa --stop-following"),
    variables=KEY_VARIABLES,
)
@click.argument("name", metavar="RUN", shell_complete=complete_run)
@click.option("--stop-following", "is_left", is_flag=True, help="Only stop looking at it; it goes on and is charged.")
@add_common_flags
def command(**given: Any) -> int:
    """Cancel a run as far as its provider can; of a batch, start no more rows."""
    return call("flowport.cli.single_run", "cancel", given)
