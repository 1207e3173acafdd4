"""`flowport balance`: what is left, and what was spent."""

from typing import Any

import click

from flowport.cli.flags import KEY_VARIABLES, MONEY_VARIABLES, add_common_flags, call, define_command
from flowport.providers.registry import get_plugins


@define_command(
    "balance",
    examples=("flowport balance", f"flowport balance --provider {get_plugins()[-1].name}", "flowport balance --json"),
    variables={**KEY_VARIABLES, **MONEY_VARIABLES},
)
@click.option("--provider", metavar="NAME", default="", help="Only the accounts of this provider.")
@add_common_flags
def command(**given: Any) -> int:
    """Show the credits that are left, those spent in 24 hours, the caps, and the request limit."""
    return call("flowport.cli.looking", "show_balance", given)
