"""The history of one owner's runs as a page shows it: a list, one run or batch, and saved files. Changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio.to_thread

from flowport.actions.views.batch import build_batch_facts, build_batch_page
from flowport.actions.views.run import build_output_facts, build_record, build_run_facts
from flowport.actions.views.view import Facts
from flowport.actions.workspace import Workspace
from flowport.domain.errors import RunNotFound
from flowport.domain.models import Output, Run, RunState
from flowport.domain.principal import Principal
from flowport.runs.live import RunView
from flowport.store.records import RunSearch

MAX_LISTED: Final = 200
"""Runs of one page."""

_LISTED_OUTPUTS: Final = 4
_MAX_LISTED_ARGUMENTS: Final = 4_000
"""Characters of a run's arguments that the list repeats; longer ones are shown with the run alone."""

_PATHS: Final = frozenset({"saved_path", "csv"})
"""Facts that are paths of this computer."""

_MAX_PAGE_BYTES: Final = 2_000_000
"""Of a batch's rows: with usual inputs, all of the largest batch."""


async def list_history(
    workspace: Workspace,
    principal: Principal,
    search: RunSearch,
    *,
    state: RunState | None,
    before: str | None,
    limit: int,
) -> Facts:
    """Return a page of the owner's runs and batches, newest first, and the run that ends it if there may be more.

    Raises:
        RunNotFound: There is no run `before`.
    """
    runs = await workspace.store.get_runs(
        account_id=None,
        owner=principal.owner,
        limit=limit,
        before=before,
        undelivered_first=False,
        state=state,
        search=search,
    )
    return {
        "runs": [_drop_paths(await _build_listed(workspace, principal, run), principal) for run in runs],
        "next": runs[-1].id if len(runs) == limit else None,
    }


async def get_history_record(workspace: Workspace, principal: Principal, run_id: str, *, start: int = 1) -> Facts:
    """Return a run with all its outputs, or a batch with its rows from `start` on.

    Raises:
        RunNotFound: None of the owner's runs has this id.
    """
    run = await workspace.store.get_run(run_id, account_id=None, owner=principal.owner)
    if not run.is_batch:
        view = await workspace.waiter.get_run_view(run)
        shown = await workspace.previewer.drop_gone(view.run)
        facts = build_record(shown, build_run_facts(view)) | _build_outputs(
            workspace, principal, shown, len(shown.outputs)
        )
        return _drop_paths(facts, principal)
    batch = await workspace.waiter.get_batch_view(run)
    rows = await workspace.previewer.drop_gone_of_rows(await workspace.store.get_rows(run.id, start=start))
    page = build_batch_page(run, rows, batch.batch_progress, limit_bytes=_MAX_PAGE_BYTES)
    for shown_row, row in zip(page["table"], rows, strict=False):
        if row.run is not None:
            shown_row.update(_build_outputs(workspace, principal, row.run, _LISTED_OUTPUTS))
    return _drop_paths(build_record(batch.run, build_batch_facts(batch)) | page, principal)


async def find_output(workspace: Workspace, principal: Principal, run_id: str, n: int) -> tuple[Output, Path]:
    """Return a saved output and where its file is: below the outputs folder, also when links are followed.

    Raises:
        RunNotFound: There is no such file.
    """
    run = await workspace.store.get_run(run_id, account_id=None, owner=principal.owner)
    output = next((one for one in run.outputs if one.n == n and one.saved_path), None)
    if output is None:
        raise RunNotFound(run_id)
    path = await anyio.to_thread.run_sync(_find_file, Path(output.saved_path), workspace.settings.output_dir)
    if path is None:
        raise RunNotFound(run_id)
    return output, path


def _find_file(path: Path, folder: Path) -> Path | None:
    resolved = path.resolve()
    return resolved if resolved.is_relative_to(folder.resolve()) and resolved.is_file() else None


def _drop_paths(facts: Facts, principal: Principal) -> Facts:
    """Return facts without paths of this computer, unless they are the person's own."""
    return facts if principal.is_local else _copy_facts(facts)


def _copy_facts(facts: Facts) -> Facts:
    """Return a copy without paths; arguments stay as they were given."""
    copied = {}
    for name, value in facts.items():
        if isinstance(value, list) and name != "arguments":
            value = [_copy_facts(one) if isinstance(one, dict) else one for one in value]  # noqa: PLW2901 - a copy
        if name not in _PATHS:
            copied[name] = value
    return copied


async def _build_listed(workspace: Workspace, principal: Principal, run: Run) -> Facts:
    if run.is_batch:
        view = await workspace.waiter.get_batch_view(run)
        rows = await workspace.store.get_rows(run.id, limit=_LISTED_OUTPUTS)
        outputs = [
            _build_output(workspace, principal, row.run, one) for row in rows if row.run for one in row.run.outputs
        ]
        facts = build_record(view.run, build_batch_facts(view)) | {"outputs": outputs[:_LISTED_OUTPUTS]}
    else:
        is_live = not run.state.is_final or workspace.waiter.live_runs.get(run.id) is not None
        elapsed = workspace.waiter.get_elapsed_seconds(run)
        shown = await workspace.waiter.get_run_view(run) if is_live else RunView(run, elapsed)
        facts = build_record(shown.run, build_run_facts(shown)) | _build_outputs(
            workspace, principal, shown.run, _LISTED_OUTPUTS
        )
    if len(run.arguments_json) > _MAX_LISTED_ARGUMENTS:
        del facts["arguments"]
    return facts


def _build_outputs(workspace: Workspace, principal: Principal, run: Run, limit: int) -> Facts:
    shown = [_build_output(workspace, principal, run, output) for output in run.outputs[:limit]]
    return {"outputs": shown, "outputs_not_shown": len(run.outputs) - len(shown)}


def _build_output(workspace: Workspace, principal: Principal, run: Run, output: Output) -> Facts:
    shown = workspace.file_links.show_run(replace(run, outputs=(output,)), principal)
    facts = build_output_facts(run, shown.outputs[0])
    # Checked again, with links followed, when the file is read.
    if output.saved_path and Path(output.saved_path).is_relative_to(workspace.settings.output_dir):
        facts["file"] = f"files/{run.id}/{output.n}"
    return facts
