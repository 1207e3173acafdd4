"""Get a run or a batch: how it stands, or its results once it is over; and the answers that starting one ends with, too."""

from dataclasses import replace
from typing import Final

from flowport.actions.tool import Arguments, BuiltInTool, build_input
from flowport.actions.views.batch import build_batch_answer
from flowport.actions.views.run import build_run_answer
from flowport.actions.views.view import View
from flowport.actions.workspace import Workspace
from flowport.domain.models import InputKind, Run
from flowport.media.previews import Shown, drop_paths, drop_paths_of_rows
from flowport.runs.delivery import Caller
from flowport.runs.live import BatchView, RunView
from flowport.runs.submit import RunRequest

RUN_ID: Final = build_input("run_id", InputKind.TEXT, "As an earlier answer gave it", is_required=True)

_MAX_DELIVERED: Final = 20
"""Rows of a batch whose outputs count as the newest that were delivered."""


async def get_run(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Return the answer about a run or a batch, after a wait for its end unless `wait` is false."""
    given = GET_RUN.parse(arguments)
    run = await find_run(workspace, caller, str(given["run_id"]))
    should_wait = given.get("wait") is not False
    await workspace.recovery.resume(run)
    if run.is_batch:
        return await answer_batch(workspace, caller, await get_batch_view(workspace, caller, run, wait=should_wait))
    waiter = workspace.waiter
    view = await (waiter.wait_for_run(run, caller) if should_wait else waiter.get_run_view(run))
    return await answer_run(workspace, caller, view)


async def find_run(workspace: Workspace, caller: Caller, text: str) -> Run:
    """Return the run or batch that an argument names.

    Raises:
        RunNotFound: It names none of this owner's.
    """
    call = RunRequest(caller.owner, caller.connection)
    return await workspace.preparer.finder.find_run(text, argument=RUN_ID.id, call=call)


async def get_batch_view(workspace: Workspace, caller: Caller, batch: Run, *, wait: bool) -> BatchView:
    """Return how a batch stands, at its end or at the end of the wait budget if it is waited for."""
    waiter = workspace.waiter
    return await (waiter.wait_for_batch(batch, caller) if wait else waiter.get_batch_view(batch))


async def answer_run(workspace: Workspace, caller: Caller, view: RunView, *, call_id: str = "") -> View:
    """Return the answer about a run with its pictures, and have it recorded what the caller learns by it.

    Args:
        call_id: The call that started it and is on record as waiting; empty for none.
    """
    run, previewer = view.run, workspace.previewer
    gone = Shown(gone=await previewer.find_gone(run.outputs)) if view.is_saving else None
    shown = gone or await previewer.build_shown(run)
    seen = workspace.file_links.show_run(drop_paths(run, shown.gone), caller.principal)
    answer = build_run_answer(replace(view, run=seen), shown.previews, shown.without)
    await workspace.deliveries.record_answer(run, caller, call_id=call_id, shown=(run.id,))
    return answer


async def answer_batch(workspace: Workspace, caller: Caller, view: BatchView, *, call_id: str = "") -> View:
    """Return the answer about a batch with its pictures, and have it recorded what the caller learns by it."""
    rows = await workspace.store.get_rows(view.run.id)
    runs = [row.run for row in rows if row.run is not None]
    # The pictures are chosen from the outputs of all rows, as if they were the batch's own.
    pictures = await workspace.previewer.build_shown(
        replace(view.run, outputs=tuple(output for run in runs for output in run.outputs))
    )
    there = drop_paths_of_rows(rows, pictures.gone)
    links, principal = workspace.file_links, caller.principal
    seen = replace(view, batch_progress=links.show_progress(view.run, view.batch_progress, principal))
    answer = build_batch_answer(seen, links.show_rows(there, principal), pictures.previews, pictures.without)
    shown = [run.id for run in runs if run.outputs]
    await workspace.deliveries.record_answer(view.run, caller, call_id=call_id, shown=shown[-_MAX_DELIVERED:])
    return answer


GET_RUN: Final = BuiltInTool(
    "get_run",
    "Get a run",
    "See how a run is doing and get its results. Waits for the end as long as it can, unless wait is false. Free.",
    get_run,
    (RUN_ID, build_input("wait", InputKind.BOOLEAN, "false: answer at once with the state now")),
)
