"""`flowport erase`: remove runs from the store, so that no trace of them remains in its file."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from flowport.cli.console import ExitCode, print_json, say
from flowport.cli.flags import (
    RECORD_VARIABLES,
    add_common_flags,
    add_owner_flag,
    add_yes_flag,
    define_command,
    parse_age,
)
from flowport.cli.run_records import format_count, run_on_record
from flowport.domain.call_errors import RunNotOver
from flowport.domain.models import Run
from flowport.store.interface import Store
from flowport.store.opening import find_older_records

_PAGE: Final = 500
_NOTHING: Final = {"runs": 0, "unseen": 0, "files": 0, "erased": False}


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be erased."""

    run_id: str | None
    """None for every run of the owner that is over; a run by its id may be of any owner."""
    owner: str
    before: float | None
    """Only what ended before this instant; None for all."""
    should_remove_files: bool
    is_dry: bool
    is_agreed: bool
    is_json: bool


@define_command(
    "erase",
    inputs={"RUN_ID": "The run or batch to erase, also one of another person."},
    examples=(
        "flowport erase run_7f3kq2m9xa",
        "flowport erase --older-than 30d --dry-run",
        "flowport erase --all --files",
        "flowport erase --all --owner anna --files",
    ),
    variables=RECORD_VARIABLES,
)
@click.argument("run_id", required=False)
@click.option("--all", "is_all", is_flag=True, help="Erase every run that is over, delivered or not.")
@click.option("--older-than", type=parse_age, metavar="AGE", help="Erase the runs that ended longer ago: 30d, 12h, 4w.")
@click.option("--files", is_flag=True, help="Remove the saved outputs too, each with its .json.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be erased.")
@add_owner_flag
@add_yes_flag
@add_common_flags
@click.pass_context
def command(ctx: click.Context, /, run_id: str | None, *, is_all: bool, older_than: float | None, **given: Any) -> int:
    """Remove runs that are over from the record, also beside a running Flowport. Names of tools stay."""
    if [bool(run_id), is_all, older_than is not None].count(True) != 1:
        ctx.fail("name one run, or give --all or --older-than")
    before = None if older_than is None else time.time() - older_than
    request = Request(
        run_id, given["owner"], before, given["files"], given["is_dry"], given["is_agreed"], given["is_json"]
    )
    return run_on_record(
        given["config"], given["home"], partial(erase, request=request), is_json=request.is_json, empty=_NOTHING
    )


async def erase(store: Store, home: Path, *, request: Request) -> ExitCode:
    """Say what goes, ask, erase it, and say what was kept."""
    runs = await _find(store, request)
    runs += [row.run for run in runs if run.is_batch for row in await store.get_rows(run.id) if row.run is not None]
    unseen = sum(run.delivered_at is None and not run.is_batch for run in runs)
    paths = [output.saved_path for run in runs for output in run.outputs if output.saved_path]
    facts: dict[str, Any] = {"runs": len(runs), "unseen": unseen, "files": len(paths), "erased": False}
    if request.is_dry:
        facts["run_ids"] = [run.id for run in runs]
        _print(
            request,
            facts,
            f"{format_count(len(runs), 'run')} with {format_count(len(paths), 'saved file')} would be erased.",
        )
        return ExitCode.DONE
    if runs and not request.is_agreed and not _ask(len(runs), unseen, len(paths) if request.should_remove_files else 0):
        _print(request, facts, "Nothing was erased.")
        return ExitCode.REFUSED
    if request.run_id is not None:
        erasure = await store.erase_run(request.run_id, owner=runs[0].owner)
        text = f"The run {request.run_id} is erased."
    else:
        erasure = await store.erase_owner(request.owner, before=request.before)
        text = f"{format_count(erasure.runs, 'run')} erased{f', {unseen} of them never seen' if unseen else ''}."
    left = (await store.get_history(owner=request.owner)).live
    lines = [text]
    if left and request.run_id is None:
        lines.append(f"{format_count(left, 'run')} not over and left on record; erase again when they are.")
    older = () if request.run_id is not None else find_older_records(home)
    lines += [
        f"An older record is left, with what its runs were given: {path}. Delete the file to remove them."
        for path in older
    ]
    lines += _deal_with_files(erasure.saved_paths, should_remove=request.should_remove_files)
    kept = 0 if request.should_remove_files else len(erasure.saved_paths)
    _print(
        request,
        facts
        | {"erased": True, "runs": erasure.runs, "left": left, "files_kept": kept, "older_records": [*map(str, older)]},
        "\n".join(lines),
    )
    return ExitCode.DONE


async def _find(store: Store, request: Request) -> list[Run]:
    """Return what the request means, without the rows of batches.

    Raises:
        RunNotFound: There is no such run.
        RunNotOver: It is not over.
    """
    if request.run_id is not None:
        run = await store.get_run_of_any_owner(request.run_id)
        if not run.state.is_final:
            raise RunNotOver(run.id)
        return [run]
    found: list[Run] = []
    last = None
    while page := await store.get_runs(
        account_id=None, owner=request.owner, limit=_PAGE, before=last, undelivered_first=False
    ):
        last = page[-1].id
        found += [run for run in page if run.state.is_final and _is_meant(run, request.before)]
    return found


def _is_meant(run: Run, before: float | None) -> bool:
    return before is None or (run.finished_at is not None and run.finished_at < before)


def _ask(runs: int, unseen: int, files: int) -> bool:
    """Ask the person; without a terminal nothing is erased unless --yes is given."""
    if not (sys.stdin and sys.stdin.isatty()):
        say("Erasing has to be confirmed: add --yes, or type it in a terminal.", style="red")
        return False
    never = f", {unseen} of them never seen" if unseen else ""
    too = f" and remove {format_count(files, 'saved file')}" if files else ""
    try:
        return click.confirm(f"Erase {format_count(runs, 'run')}{never}{too}?", default=False, err=True)
    except click.Abort:
        return False


def _print(request: Request, facts: dict[str, Any], text: str) -> None:
    if request.is_json:
        print_json(facts)
    else:
        sys.stdout.write(f"{text}\n")


def _deal_with_files(paths: Sequence[str], *, should_remove: bool) -> list[str]:
    """Remove the files, or say that they are left; return the sentences."""
    if not paths:
        return []
    if not should_remove:
        files = format_count(len(paths), "saved file")
        return [f"{files} left, with the arguments of the run beside each; --files removes them too."]
    problems = [problem for path in paths if (problem := _remove(Path(path)))]
    return [f"{format_count(len(paths) - len(problems), 'saved file')} removed.", *problems]


def _remove(path: Path) -> str:
    """Remove a saved file and its `.json`; return the problem, or an empty text."""
    try:
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError as exc:
        return f"{path} could not be removed: {exc.strerror}."
    return ""
