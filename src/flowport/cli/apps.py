"""`flowport apps`: what can be run, what it costs and how long it takes."""

from typing import Any

import click

from flowport.cli.flags import KEY_VARIABLES, add_common_flags, call, define_command


@define_command(
    "apps",
    inputs={"WORDS": "Words of the name, in any order; all apps without them."},
    examples=("flowport apps", "flowport apps sketch photo", "flowport apps --left-out", "flowport apps --json"),
    variables={**KEY_VARIABLES, "FLOWPORT_SOURCE": "Whose apps are read: own, published or all."},
)
@click.argument("words", nargs=-1)
@click.option(
    "--max-credits", type=click.FloatRange(0), metavar="NUMBER", help="Only apps of a known price up to this."
)
@click.option("--left-out", "is_left_out", is_flag=True, help="What cannot be run instead, and why.")
@click.option("--refresh", "is_refreshed", is_flag=True, help="Ask the provider again first.")
@add_common_flags
def command(**given: Any) -> int:
    """List apps: tool, app, provider, price in credits, usual duration and inputs.

    The list comes from the last catalogue on disk, also while the provider is down.
    """
    return call("flowport.cli.app_list", "list_apps", given)
