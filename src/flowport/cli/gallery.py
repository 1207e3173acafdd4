"""`flowport gallery`: show the runs of this home in a browser of this computer, while other processes go on."""

from typing import Any

import click

from flowport.cli.flags import add_common_flags, call, define_command


@define_command(
    "gallery",
    examples=("flowport gallery", "flowport gallery --no-open --port 8766"),
    variables={
        "FLOWPORT_HOME": "Folder of the record.",
        "FLOWPORT_OUTPUT_DIR": "Folder of the results; files elsewhere are not shown.",
        "BROWSER": "The program that opens the address.",
    },
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any free one", help="The port.")
@click.option("--no-open", "should_open", is_flag=True, default=True, flag_value=False, help="Open no browser.")
@add_common_flags
def command(**given: Any) -> int:
    """Show runs, live and past, with their results in a browser of this computer; print its address."""
    return call("flowport.cli.gallery_process", "serve", given)
