"""`flowport move`: copy the record of a home into the database of a team."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from flowport.bootstrap.home import move_home
from flowport.cli.console import Column, ExitCode, print_json, print_table, report_error, say
from flowport.cli.flags import RECORD_VARIABLES, add_common_flags, define_command
from flowport.domain.errors import ConfigurationError, FlowportError
from flowport.settings.settings import get_environment, load_home_and_database
from flowport.settings.variables import DATABASE_URL

_COLUMNS: Final = (
    Column("WHAT"),
    Column("MOVED", is_number=True),
    Column("ALREADY THERE", is_number=True),
    Column("LEFT", is_number=True),
)


@define_command(
    "move",
    examples=("flowport move", "flowport move --home /media/disk/flowport"),
    variables={**RECORD_VARIABLES, DATABASE_URL: "The PostgreSQL database of the team."},
)
@add_common_flags
def command(config: Path | None, home: str | None, *, is_json: bool) -> int:
    """Copy what is over from the record of a home into the database of a team. The home is not changed.

    Stop every Flowport of the home first. What is there already stays as it is, so a second move adds what is new.
    """
    given = {"FLOWPORT_HOME": home} if home else {}
    try:
        folder, url = load_home_and_database(given, get_environment(), config_path=config)
        if not url:
            raise ConfigurationError(DATABASE_URL, "is not set, and the record is moved into it", "Set it.")
        moved = anyio.run(partial(move_home, folder, url))
    except FlowportError as exc:
        return report_error(exc, is_json=is_json)
    if is_json:
        print_json({"moved": [asdict(one) for one in moved]})
        return ExitCode.DONE
    if not moved:
        sys.stdout.write(f"There is no record of runs in {folder}.\n")
        return ExitCode.DONE
    print_table(_COLUMNS, [(one.name, one.moved, one.present, one.left) for one in moved])
    if any(one.left for one in moved):
        say("Runs that are not over are left: let them end with a Flowport of this home alone, and move again.")
    say(
        f"The record in {folder} was not changed. Keep the folder: saved results and uploads are read from where they are."
    )
    return ExitCode.DONE
