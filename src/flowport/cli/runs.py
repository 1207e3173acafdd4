"""`flowport runs`: the newest runs on record."""

from typing import Any

import click

from flowport.cli.flags import RECORD_VARIABLES, add_common_flags, call, define_command

DEFAULT_RUNS = 20


@define_command(
    "runs",
    examples=("flowport runs", "flowport runs --unseen", "flowport runs --failed --limit 100 --json"),
    variables=RECORD_VARIABLES,
)
@click.option("--unseen", "is_unseen", is_flag=True, help="Only runs that are over and were not delivered yet.")
@click.option("--live", "is_live", is_flag=True, help="Only runs that are not over.")
@click.option("--failed", "is_failed", is_flag=True, help="Only runs that failed, also in part, or of unknown outcome.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=DEFAULT_RUNS,
    show_default=True,
    help="How many at most.",
)
@add_common_flags
def command(**given: Any) -> int:
    """List runs, newest first, with their state, cost and files. Needs no network and delivers nothing."""
    return call("flowport.cli.run_list", "list_runs", given)
