"""Print a run or a batch: its facts, and its files last; and open them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from flowport.actions.views.view import Facts, View, make_sendable
from flowport.cli.console import ExitCode, clean, print_facts, say, word_for_terminal
from flowport.cli.session import Session
from flowport.domain.call_errors import count_credits
from flowport.domain.models import Output, OutputKind, RunState
from flowport.domain.text import drop_invisible, format_duration

_PLAIN_STATES: Final = {
    RunState.SUCCEEDED: ExitCode.DONE,
    RunState.PARTIAL: ExitCode.FAILED,
    RunState.FAILED: ExitCode.FAILED,
    RunState.CANCELLED: ExitCode.FAILED,
    RunState.UNKNOWN: ExitCode.REFUSED,
}
_OPENED: Final = ("image/", "video/", "audio/")
"""Types that are opened with the computer's own programs. A page or a vector picture could run what it holds."""
_ACTIVE: Final = "image/svg+xml"
_FAILED_ROWS: Final = {RunState.FAILED.value, RunState.PARTIAL.value, RunState.UNKNOWN.value}
MAX_OPENED: Final = 10
"""Files that one command opens: each may be a window."""
MAX_FAILED: Final = 10
"""Rows of a batch that are named."""


def get_state_code(state: str) -> ExitCode:
    """Return the exit code of a run in a state; one that goes on has not failed."""
    return _PLAIN_STATES.get(RunState(state), ExitCode.DONE)


async def fetch_outputs(session: Session, run_id: str) -> tuple[Output, ...]:
    """Return all outputs of a run, or of all rows of a batch."""
    store = session.workspace.store
    run = await store.get_run(run_id, account_id=None, owner=session.owner)
    if not run.is_batch:
        return run.outputs
    rows = await store.get_rows(run_id)
    return tuple(output for row in rows if row.run is not None for output in row.run.outputs)


async def show_result(
    session: Session, view: View, show_facts: Callable[[Facts], None], *, extra: Mapping[str, Any] | None = None
) -> tuple[ExitCode, tuple[Output, ...]]:
    """Print the answer about a run or a batch and return the exit code and the outputs.

    Args:
        show_facts: Prints what comes before the files.
        extra: Further facts for JSON.
    """
    outputs = await fetch_outputs(session, view.facts["run_id"])
    facts = {**word_facts(view.facts), **(extra or {}), "files": get_files(outputs)}

    def show() -> None:
        """Print it for a person."""
        show_facts(facts)
        print_outputs(outputs)

    await session.deliver(facts, show)
    return get_state_code(str(facts["state"])), outputs


def word_facts(facts: Facts) -> Facts:
    """Return facts whose sentences name commands; what only a protocol needs is left out."""
    kept = {name: value for name, value in facts.items() if name != "resource"}
    return {name: word_for_terminal(value) if isinstance(value, str) else value for name, value in kept.items()}


def say_summary(facts: Facts) -> None:
    """Write how a run or a batch went to standard error, so that standard output holds the files alone."""
    state = str(facts["state"])
    style = {ExitCode.DONE: "green"}.get(get_state_code(state), "red") if RunState(state).is_final else "yellow"
    cost = facts.get("credits")
    spent = (
        "" if cost is None else f" {count_credits(cost)}." if isinstance(cost, int | float) else " Its cost is unknown."
    )
    say(f"{facts['summary']}{spent} {facts['run_id']}", style=style)
    for name in ("failure", "problem", "notes", "csv_problem", "next_step", "decision"):
        if facts.get(name):
            say(str(facts[name]))
    say_failed_rows(facts)


def say_failed_rows(facts: Facts) -> None:
    """Write which rows of a batch made nothing, and why."""
    failed = [row for row in facts.get("table", ()) if row["state"] in _FAILED_ROWS]
    for row in failed[:MAX_FAILED]:
        say(f"row {row['row']}: {row['state']}. {row.get('problem', '')} {row.get('run_id', '')}".rstrip())
    if len(failed) > MAX_FAILED:
        say(f"and {len(failed) - MAX_FAILED} more; the saved table has all.")


def print_run(facts: Facts) -> None:
    """Print the facts of a run for a person who asked for it."""
    hidden = {
        "outputs",
        "files",
        "outputs_not_shown",
        "left_out",
        "table",
        "rows_not_shown",
        "run_id",
        "seconds",
        "summary",
    }
    seconds = facts.get("seconds")
    head = {"run": facts["run_id"], "summary": facts["summary"]}
    took = (
        {}
        if seconds is None
        else {"took" if RunState(str(facts["state"])).is_final else "since": format_duration(seconds)}
    )
    rest = {name.replace("_", " "): value for name, value in facts.items() if name not in hidden}
    arguments, receipt = rest.pop("arguments", None), rest.pop("receipt", None)
    print_facts({**head, **took, **rest})
    if isinstance(arguments, dict):
        print_facts({f"  {name}": value for name, value in arguments.items()})
    if isinstance(receipt, dict):
        print_receipt(receipt)
    say_failed_rows(facts)


def print_receipt(receipt: Facts) -> None:
    """Print what was sent and answered, and the states of a run with their instants."""
    states = {f"  {one['state']}": one["at"] for one in receipt["states"]}
    rest = {f"  {name.replace('_', ' ')}": value for name, value in receipt.items() if name != "states"}
    print_facts({"receipt": " ", **rest, **states})


def get_files(outputs: Sequence[Output]) -> list[str]:
    """Return where outputs are on this computer."""
    return [output.saved_path for output in outputs if output.saved_path]


def print_outputs(outputs: Sequence[Output]) -> None:
    """Write one line for each output: its file, else its text, else its address."""
    for output in outputs:
        is_text = output.kind is OutputKind.TEXT and bool(output.text)
        if is_text or not output.saved_path:
            sys.stdout.write(f"{clean(output.text if is_text else output.link or output.save_problem)}\n")
        else:
            path = make_sendable(output.saved_path)
            sys.stdout.write(f"{drop_invisible(path) if sys.stdout.isatty() else path}\n")


def open_outputs(run_id: str, outputs: Sequence[Output]) -> ExitCode:
    """Open saved pictures, videos and sounds with the programs of this computer."""
    opened = 0
    files = [(one, Path(one.saved_path)) for one in outputs if one.saved_path and Path(one.saved_path).is_file()]
    if len(files) > MAX_OPENED:
        say(f"The first {MAX_OPENED} of {len(files)} files are opened.")
    for output, path in files[:MAX_OPENED]:
        if not output.mime_type.startswith(_OPENED) or output.mime_type == _ACTIVE:
            say(
                f"Not opened, because it could run what it holds: {path}"
                if output.kind is not OutputKind.TEXT
                else f"Text: {path}"
            )
        elif click.launch(str(path)) == 0:
            opened += 1
        else:
            say(f"No program of this computer opened {path}")
    if not opened:
        say(f"{run_id} has no file that could be opened.")
    return ExitCode.DONE if opened else ExitCode.FAILED
