"""The commands about apps and runs: their flags and helps. What each does is imported when it is called."""

import re
from pathlib import Path
from typing import Any, Final

import click

from flowport.cli.completion import complete_app, complete_app_or_run, complete_input, complete_run
from flowport.cli.flags import (
    KEY_VARIABLES,
    MONEY_VARIABLES,
    RECORD_VARIABLES,
    add_common_flags,
    add_owner_flag,
    add_yes_flag,
    call,
    define_command,
)
from flowport.providers.registry import get_plugins

RUN: Final = re.compile(r"last$|.*\b(?:run|batch)_[a-z0-9]{6,}|(?:run|batch):|flowport://(?:runs|batches)/")
"""What names a run; anything else names an app."""

DEFAULT_RUNS: Final = 20


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
def apps(**given: Any) -> int:
    """List apps: tool, app, provider, price in credits, usual duration and inputs.

    The list comes from the last catalogue on disk, also while the provider is down.
    """
    return call("flowport.cli.app_list", "list_apps", given)


@define_command(
    "show",
    inputs={"NAME": "An app by its tool, id or name, or `last`, or a run by its id, also one of another person."},
    examples=("flowport show text_to_picture", "flowport show run_7f3kq2m9xa --wait", "flowport show last --json"),
    variables=KEY_VARIABLES,
)
@click.argument("name", shell_complete=complete_app_or_run)
@click.option("--wait", "is_waited", is_flag=True, help="Wait for the end of the run, and save its files.")
@add_common_flags
def show(**given: Any) -> int:
    """Show an app with its price, duration and inputs, or a run with its files."""
    if RUN.match(given["name"]):
        return call("flowport.cli.single_run", "show_run", given)
    return call("flowport.cli.app_list", "show_app", given)


@define_command(
    "run",
    inputs={
        "APP": "The tool, id or name of an app; `flowport apps` lists them.",
        "INPUT": "name=value, name=@file for a file, name=@- for standard input; several times for a list.",
    },
    examples=(
        'flowport run text_to_picture prompt="a lake at dawn"',
        "flowport run photo_to_pencil_sketch photo=@cup.png --open",
        'files=$(flowport run text_to_picture prompt="a lake" --variations 4 --yes)',
    ),
    variables={**KEY_VARIABLES, **MONEY_VARIABLES},
)
@click.argument("app", shell_complete=complete_app)
@click.argument("words", nargs=-1, metavar="[INPUT]...", shell_complete=complete_input)
@click.option("--input-json", metavar="JSON", help="Inputs as a JSON object, @file, or - for standard input.")
@click.option(
    "--variations",
    type=click.IntRange(1, 16),
    metavar="N",
    default=1,
    show_default=True,
    help="How many, 1 to 16, each paid for.",
)
@click.option("--new", "is_new", is_flag=True, help="Pay for another run, although an equal one is not delivered yet.")
@click.option("--open", "is_opened", is_flag=True, help="Open the files at the end.")
@add_yes_flag
@add_common_flags
def run(**given: Any) -> int:
    """Run an app: the price first, then progress, then the files.

    Files are written to standard output, one a line, and all else to standard error. Ctrl-C leaves the run going.
    """
    return call("flowport.cli.app_runs", "run", given)


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
def batch(**given: Any) -> int:
    """Run an app for each row of a table, up to 2,000 runs. All rows are checked and priced first."""
    return call("flowport.cli.app_runs", "run_table", given)


@define_command(
    "runs",
    examples=(
        "flowport runs",
        "flowport runs --unseen",
        "flowport runs --failed --limit 100 --json",
        "flowport runs --owner anna",
    ),
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
@add_owner_flag
@add_common_flags
def runs(**given: Any) -> int:
    """List runs, newest first, with their state, cost and files. Needs no network and delivers nothing."""
    return call("flowport.cli.run_list", "list_runs", given)


@define_command(
    "open",
    inputs={"RUN": "A run by its id; `last`, the newest result that was delivered, unless given."},
    examples=("flowport open", "flowport open run_7f3kq2m9xa"),
    variables=KEY_VARIABLES,
)
@click.argument("name", metavar="[RUN]", default="last", shell_complete=complete_run)
@add_common_flags
def open_files(**given: Any) -> int:
    """Open the pictures, videos and sounds of a run with the programs of this computer."""
    return call("flowport.cli.single_run", "open_run", given)


@define_command(
    "cancel",
    inputs={"RUN": "A run or a batch by its id; `flowport runs --live` lists them."},
    examples=("flowport cancel run_7f3kq2m9xa", "flowport cancel run_7f3kq2m9xa --stop-following"),
    variables=KEY_VARIABLES,
)
@click.argument("name", metavar="RUN", shell_complete=complete_run)
@click.option("--stop-following", "is_left", is_flag=True, help="Only stop looking at it; it goes on and is charged.")
@add_common_flags
def cancel(**given: Any) -> int:
    """Cancel a run as far as its provider can; of a batch, start no more rows."""
    return call("flowport.cli.single_run", "cancel", given)


@define_command(
    "settle",
    inputs={"RUN": "A run whose state is `unknown`, by its id, also one of another person."},
    examples=(
        "flowport settle run_7f3kq2m9xa",
        "flowport settle run_7f3kq2m9xa --take LSFgqqrswO",
        "flowport settle run_7f3kq2m9xa --lost --not-charged",
    ),
    variables=KEY_VARIABLES,
)
@click.argument("name", metavar="RUN", shell_complete=complete_run)
@click.option("--take", "taken", metavar="ID", multiple=True, help="This file is a result of the run; may be repeated.")
@click.option("--provider-run", metavar="ID", default="", help="The run has this id at its provider: follow it.")
@click.option(
    "--lost", "is_lost", is_flag=True, help="Give it up. It counts as charged, unless --not-charged is given."
)
@click.option(
    "--not-charged", "is_free", is_flag=True, help="With --lost: it was never started, so its price is free again."
)
@add_common_flags
@click.pass_context
def settle(ctx: click.Context, /, **given: Any) -> int:
    """Decide about a run whose start may or may not have arrived. Without a flag, show what it may have made.

    Nothing is ever started or charged by this. Files made with the same key since the start are offered, and never taken by
    themselves.
    """
    if bool(given["taken"]) + bool(given["provider_run"]) + given["is_lost"] > 1:
        ctx.fail("--take, --provider-run and --lost exclude each other")
    if given["is_free"] and not given["is_lost"]:
        ctx.fail("--not-charged needs --lost")
    return call("flowport.cli.settle", "settle", given)


@define_command(
    "balance",
    examples=("flowport balance", f"flowport balance --provider {get_plugins()[-1].name}", "flowport balance --json"),
    variables={**KEY_VARIABLES, **MONEY_VARIABLES},
)
@click.option("--provider", metavar="NAME", default="", help="Only the accounts of this provider.")
@add_common_flags
def balance(**given: Any) -> int:
    """Show the credits that are left, those spent in 24 hours, the caps, and the request limit."""
    return call("flowport.cli.single_run", "show_balance", given)
