"""`flowport erase`: remove runs from the store, so that no trace of them remains in its file."""

import sys
from functools import partial
from pathlib import Path

import click

from flowport.cli.flags import add_record_flags, define_command
from flowport.cli.run_records import format_count, run_on_record
from flowport.domain.models import LOCAL_OWNER
from flowport.store.interface import Store
from flowport.store.records import Erasure


@define_command(
    "erase",
    inputs={"RUN_ID": "The run to erase."},
    examples=("flowport erase run_7f3a", "flowport erase --all --files"),
)
@click.argument("run_id", required=False)
@click.option("--all", "is_all", is_flag=True, help="Erase every run that is over, delivered or not.")
@click.option("--files", is_flag=True, help="Remove the saved outputs too, each with its .json.")
@add_record_flags
@click.pass_context
def command(
    ctx: click.Context, /, run_id: str | None, *, is_all: bool, files: bool, config: Path | None, home: str | None
) -> int:
    """Remove runs that are over from the record, also beside a running Flowport. Names of tools stay."""
    if bool(run_id) == is_all:
        ctx.fail("name one run, or give --all")
    return run_on_record(config, home, partial(erase, run_id=run_id, should_remove_files=files))


async def erase(store: Store, *, run_id: str | None, should_remove_files: bool) -> None:
    """Erase one run or all, and print what was erased and what was kept."""
    if run_id is None:
        unseen = (await store.get_history(owner=LOCAL_OWNER)).unseen
        erasure = await store.erase_owner(LOCAL_OWNER)
        left = (await store.get_history(owner=LOCAL_OWNER)).live
        seen = f", {unseen} of them never seen" if unseen else ""
        sys.stdout.write(f"{format_count(erasure.runs, 'run')} erased{seen}.\n")
        if left:
            sys.stdout.write(f"{format_count(left, 'run')} not over and left on record; erase again when they are.\n")
    else:
        erasure = await store.erase_run(run_id, owner=LOCAL_OWNER)
        sys.stdout.write(f"The run {run_id} is erased.\n")
    _deal_with_files(erasure, should_remove=should_remove_files)


def _deal_with_files(erasure: Erasure, *, should_remove: bool) -> None:
    if not erasure.saved_paths:
        return
    if not should_remove:
        files = format_count(len(erasure.saved_paths), "saved file")
        sys.stdout.write(f"{files} left, with the arguments of the run beside each; --files removes them too.\n")
        return
    problems = [problem for path in erasure.saved_paths if (problem := _remove(Path(path)))]
    removed = format_count(len(erasure.saved_paths) - len(problems), "saved file")
    sys.stdout.write(f"{removed} removed.\n" + "".join(f"{problem}\n" for problem in problems))


def _remove(path: Path) -> str:
    """Remove a saved file and its `.json`; return the problem, or an empty text."""
    try:
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError as exc:
        return f"{path} could not be removed: {exc.strerror}."
    return ""
