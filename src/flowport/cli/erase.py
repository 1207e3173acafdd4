"""`flowport erase`: remove runs from the store, so that no trace of them remains in its file."""

import gc
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flowport.cli.flags import FlagParser
from flowport.cli.run_records import add_flags, format_count, run_on_record
from flowport.domain.models import LOCAL_OWNER
from flowport.store.interface import Store
from flowport.store.records import Erasure


def run(arguments: Sequence[str]) -> int:
    """Erase the runs that the flags name."""
    gc.enable()
    parser = build_parser()
    flags = parser.parse_flags(arguments)
    if bool(flags.run_id) == flags.all:
        parser.error("name one run, or give --all")
    return run_on_record(flags, partial(erase, run_id=flags.run_id, should_remove_files=flags.files))


def build_parser() -> FlagParser:
    """Return the flags."""
    parser = FlagParser(
        prog="flowport erase",
        description="Remove runs that are over from the record, also beside a running Flowport. Names of tools stay.",
    )
    parser.add_argument("run_id", nargs="?", metavar="RUN_ID", help="the run to erase")
    parser.add_argument("--all", action="store_true", help="erase every run that is over, delivered or not")
    parser.add_argument("--files", action="store_true", help="remove the saved outputs too, each with its .json")
    add_flags(parser)
    return parser


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
