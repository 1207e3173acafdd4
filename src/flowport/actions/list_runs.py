"""List recent runs, newest first, with where their results are; never a long answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowport.actions.tool import Arguments, BuiltInTool, build_input, get_whole
from flowport.actions.views.batch import build_batch_facts, build_cost_facts, format_batch_summary
from flowport.actions.views.run import build_run_facts
from flowport.actions.views.view import (
    MAX_RUN_BYTES,
    Facts,
    View,
    build_brief_output,
    count_twice,
    drop_empty,
    format_instant,
    name_output,
    plain,
)
from flowport.actions.workspace import Workspace
from flowport.domain.models import InputKind, Run, RunState
from flowport.domain.text import choose_forms
from flowport.runs.delivery import Caller
from flowport.runs.file_links import WebLink
from flowport.runs.live import BatchView, RunView

DEFAULT_RUNS: Final = 10
"""Runs that are listed unless a number is given."""

MAX_LISTED_OUTPUTS: Final = 4
"""Outputs that one row names; `get_run` has all."""

PLACES: Final = ("csv", "csv_problem", "resource")
"""Where the table of a batch is."""

_RUN_FACTS: Final = ("run_id", "tool", "state", "seconds", "credits", "problem")
_LEFT_OUT: Final = "For length not all results are named here; get_run with a run_id shows those of one run."


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One row of the list, from its shortest to its fullest form."""

    forms: tuple[Facts, ...]


async def list_runs(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Return the answer that lists the caller's newest runs."""
    given = LIST_RUNS.parse(arguments)
    runs = await workspace.store.get_runs(
        account_id=None,
        owner=caller.owner,
        limit=get_whole(given, "limit", DEFAULT_RUNS, is_for_run=False),
        undelivered_first=False,
        state=RunState(str(given["state"])) if "state" in given else None,
    )
    rows = [await _build_row(workspace, caller, run) for run in runs]
    undelivered = await workspace.store.count_undelivered(owner=caller.owner)
    return build_run_list(rows, undelivered=undelivered, gallery=workspace.file_links.find_gallery(caller.principal))


async def _build_row(workspace: Workspace, caller: Caller, run: Run) -> ListedRun:
    links, principal = workspace.file_links, caller.principal
    if run.is_batch:
        batch = await workspace.waiter.get_batch_view(run)
        progress = links.show_progress(run, batch.batch_progress, principal)
        return build_listed_batch(replace(batch, batch_progress=progress), run)
    view = await workspace.waiter.get_run_view(run)
    # The list of live runs knows how a live run goes; only the store knows whether its result was delivered.
    listed = links.show_run(await workspace.previewer.drop_gone(view.run), principal)
    return build_listed_run(replace(view, run=replace(listed, delivered_at=run.delivered_at)))


def build_listed_run(view: RunView) -> ListedRun:
    """Return a run as a row of the list."""
    run = view.run
    facts = build_run_facts(view)
    head = {key: facts[key] for key in _RUN_FACTS if key in facts} | {"outputs": len(run.outputs)}
    brief = head | _build_delivery(run)
    named = run.outputs[:MAX_LISTED_OUTPUTS]
    if not named:
        return ListedRun((brief,) * 3)
    middle = brief | {"results": [name_output(run, output) for output in named]}
    return ListedRun((brief, middle, brief | {"results": [build_brief_output(run, output) for output in named]}))


def build_listed_batch(view: BatchView, batch: Run) -> ListedRun:
    """Return a batch as a row of the list, with its table; the run itself has no outputs."""
    facts: Facts = {
        "run_id": batch.id,
        "tool": batch.tool_name,
        "state": view.run.state.value,
        "seconds": plain(round(view.elapsed_seconds, 1)),
        **build_cost_facts(view),
        "batch": format_batch_summary(view),
        **{key: text for key, text in build_batch_facts(view).items() if key in PLACES},
    }
    row = drop_empty(facts) | _build_delivery(batch)
    brief = {key: value for key, value in row.items() if key not in PLACES}
    return ListedRun((brief, row, row))


def build_run_list(rows: Sequence[ListedRun], *, undelivered: int, gallery: WebLink | None = None) -> View:
    """Return the answer that lists runs, each as fully as there is room.

    Args:
        rows: Newest first.
        undelivered: How many finished runs in all no answer has shown yet.
        gallery: Where the person can open all runs in a browser.
    """
    shown = f"{len(rows)} run{'s' * (len(rows) != 1)}, newest first."
    waiting = f"{undelivered} finished run{'s' * (undelivered != 1)} in all not delivered yet."
    facts: Facts = {"summary": f"{shown} {waiting}", "runs": []}
    if gallery is not None:
        # It signs in the person who opens it first.
        facts["gallery"] = {
            "url": gallery.url,
            "works_until": format_instant(gallery.expires_at),
            "note": "Give it to the person who asks to see the runs in a browser. It works once.",
        }
    budget = MAX_RUN_BYTES - count_twice(facts | {"runs_not_shown": len(rows), "left_out": _LEFT_OUT})
    chosen = choose_forms([[count_twice(form) + 2 for form in row.forms] for row in rows], budget)
    facts["runs"] = [row.forms[form] for row, form in zip(rows, chosen, strict=False)]
    if len(chosen) < len(rows):
        facts["runs_not_shown"] = len(rows) - len(chosen)
    if any(row.forms[form] != row.forms[-1] for row, form in zip(rows, chosen, strict=False)):
        facts["left_out"] = _LEFT_OUT
    return View(facts)


def _build_delivery(run: Run) -> Facts:
    mark = {"undelivered": True} if run.state.is_final and run.delivered_at is None else {}
    return {"accepted_at": format_instant(run.accepted_at), "is_seen": run.delivered_at is not None} | mark


LIST_RUNS: Final = BuiltInTool(
    "list_runs",
    "List runs",
    "List recent runs, newest first, with their links and saved files; results not delivered yet are marked. Free.",
    list_runs,
    (
        build_input(
            "state", InputKind.SELECT, "Only runs in this state", options=tuple(state.value for state in RunState)
        ),
        replace(build_input("limit", InputKind.NUMBER, "How many, 10 unless said"), minimum=1, maximum=50),
    ),
)
