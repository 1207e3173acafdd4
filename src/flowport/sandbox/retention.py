"""What a sandbox with a folder forgets: what is old, and the oldest where there is too much; never what is needed."""

import logging
from collections.abc import Collection

from flowport.sandbox.runs import Run
from flowport.sandbox.state import SandboxState

_LOG = logging.getLogger(__name__)


def tidy(state: SandboxState, now: float, needed_runs: Collection[str] = ()) -> None:
    """Forget what has no use any more.

    Kept whatever their age and size: runs under way, runs that are needed, and uploads whose link still works.

    Args:
        state: The live sandbox.
        now: The present instant.
        needed_runs: The runs that their client still has to deliver.
    """
    needed = frozenset(needed_runs)
    try:
        _drop_old(state, now, needed)
        _drop_beyond_limits(state, now, needed)
        state.storage.compact()
    except OSError as exc:
        _LOG.warning("The sandbox's folder was not tidied: %s", exc.strerror)


def _drop_old(state: SandboxState, now: float, needed: frozenset[str]) -> None:
    for run in _find_droppable_runs(state, needed):
        if (run.completed_at or 0.0) < now - state.options.retention.kept_seconds:
            _drop_run(state, run)
    for upload in state.uploads.get_all():
        if upload.created_at < now - state.options.retention.kept_seconds:
            state.uploads.remove(upload.id)
    # A process that was killed between a result and the end of its run leaves files that no run names.
    named = {file.id for run in state.runs.get_all() for file in run.files}
    for file in state.files.get_all():
        if file.id not in named:
            state.files.remove(file.id)


def _drop_beyond_limits(state: SandboxState, now: float, needed: frozenset[str]) -> None:
    sizes = {file.id: file.product.size_bytes for file in state.files.get_all()}
    sizes |= {upload.id: upload.size_bytes for upload in state.uploads.get_all()}
    limits = state.options.retention
    sum_bytes, run_count = sum(sizes.values()), len(state.runs.get_all())
    candidates: list[tuple[float, Run | str]] = [
        (run.completed_at or 0.0, run) for run in _find_droppable_runs(state, needed)
    ]
    candidates += [(one.created_at, one.id) for one in state.uploads.get_all() if one.asset_until <= now]
    for _, candidate in sorted(candidates, key=lambda pair: pair[0]):
        if sum_bytes <= limits.max_bytes and run_count <= limits.max_runs:
            return
        if isinstance(candidate, Run):
            sum_bytes -= sum(sizes.get(file.id, 0) for file in candidate.files)
            run_count -= 1
            _drop_run(state, candidate)
        else:
            sum_bytes -= sizes[candidate]
            state.uploads.remove(candidate)


def _find_droppable_runs(state: SandboxState, needed: frozenset[str]) -> list[Run]:
    return [run for run in state.runs.get_all() if run.status.is_over and run.id not in needed]


def _drop_run(state: SandboxState, run: Run) -> None:
    state.runs.remove(run.id)
    for file in run.files:
        state.files.remove(file.id)
