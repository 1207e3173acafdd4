"""`flowport history`: print how many runs are in the store and how much space they take."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from flowport.cli.console import ExitCode, print_json
from flowport.cli.flags import RECORD_VARIABLES, add_common_flags, add_owner_flag, define_command
from flowport.cli.run_records import format_bytes, format_count, run_on_record
from flowport.store.interface import Store
from flowport.store.records import History

_NOTHING: Final = {**asdict(History(0, 0, 0, 0, None, 0, 0)), "record_bytes": 0}


@define_command(
    "history", examples=("flowport history", "flowport history --home /media/disk/flowport"), variables=RECORD_VARIABLES
)
@add_owner_flag
@add_common_flags
def command(config: Path | None, home: str | None, *, owner: str, is_json: bool) -> int:
    """Print how many runs are on record and how much space they take."""
    return run_on_record(
        config, home, partial(print_history, owner=owner, is_json=is_json), is_json=is_json, empty=_NOTHING
    )


async def print_history(store: Store, _: Path, *, owner: str, is_json: bool) -> ExitCode:
    """Write one line for each number."""
    history = await store.get_history(owner=owner)
    if is_json:
        print_json({**asdict(history), "record_bytes": await store.get_disk_use()})
        return ExitCode.DONE
    oldest = "none" if history.oldest_at is None else _format_day(history.oldest_at)
    disk = await store.get_disk_use()
    saved = f"{format_bytes(history.saved_bytes)} in {format_count(history.saved_outputs, 'file')}"
    sys.stdout.write(
        f"runs            {history.runs}\n"
        f"not delivered   {history.unseen}\n"
        f"not over        {history.live}\n"
        f"unknown         {history.unknown}\n"
        f"oldest          {oldest}\n"
        f"record on disk  {format_bytes(disk)}\n"
        f"saved outputs   {saved}\n"
    )
    return ExitCode.DONE


def _format_day(instant: float) -> str:
    return f"{datetime.fromtimestamp(instant, tz=UTC).astimezone():%Y-%m-%d %H:%M}"
