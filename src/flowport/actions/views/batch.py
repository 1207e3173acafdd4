"""The facts about a batch: a compact table, a row for each run, as many as an answer has room for. Pure."""

import json
from collections.abc import Sequence
from typing import Final

from flowport.actions.views.run import format_joined, get_shown_cost
from flowport.actions.views.view import (
    MAX_RUN_BYTES,
    UNKNOWN_COST,
    Facts,
    Form,
    View,
    build_brief_output,
    build_link,
    count_twice,
    drop_empty,
    make_sendable,
    name_output,
    plain,
)
from flowport.domain.models import Run, RunState
from flowport.domain.text import choose_forms, clean_text, count_bytes, format_duration, format_quoted
from flowport.domain.uris import format_run_uri
from flowport.media.previews import Preview
from flowport.runs.batch.report import get_row_state
from flowport.runs.live import BatchView
from flowport.runs.output_file import find_folder_warning
from flowport.store.records import BatchProgress, RowStatus

_MAX_PROBLEM: Final = 300
_MAX_BRIEF_PROBLEM: Final = 80
_MAX_ROWS: Final = 250
"""More than an answer has room for, however short they are."""
_MAX_OUTPUTS: Final = 20
"""Outputs of one row that an answer lists."""


def build_batch_answer(
    view: BatchView, rows: Sequence[RowStatus], previews: Sequence[Preview] = (), without: Sequence[str] = ()
) -> View:
    """Return the answer about a batch, never a long one.

    The rows that made nothing come first into what an answer holds, then the others in their order; each as fully as
    there is room, at least with its state and the id of its run. Rows that have not begun are only counted.
    """
    facts = build_batch_facts(view)
    facts["notes"] = " ".join(filter(None, (view.run.notes, _find_warning(rows))))
    facts["without_preview"] = " ".join(without)
    begun = [row for row in rows if row.is_begun]
    wanted = sorted(begun, key=lambda row: not _has_failed(row))[:_MAX_ROWS]
    forms = [_build_forms(row, view.batch_progress) for row in wanted]
    # The sentence about what is left out has its room from the beginning.
    left_out = f"For length not everything is shown here; {format_run_uri(view.run.id)} has all rows."
    budget = MAX_RUN_BYTES - count_twice({**facts, "table": [], "rows_not_shown": len(rows), "left_out": left_out})
    chosen = choose_forms([[form.count_bytes() for form in one] for one in forms], budget)
    shown = sorted(zip(wanted, chosen, forms, strict=False), key=lambda one: one[0].row.n)
    facts["table"] = [form[place].facts for _, place, form in shown]
    facts["rows_not_shown"] = len(begun) - len(shown)
    is_whole = len(shown) == len(begun) and all(form[place].facts == form[-1].facts for _, place, form in shown)
    facts["left_out"] = "" if is_whole else left_out
    links = tuple(link for _, place, form in shown for link in form[place].links)
    return View(drop_empty(facts), links, tuple(previews), is_error=view.run.state is RunState.FAILED)


def _find_warning(rows: Sequence[RowStatus]) -> str:
    """Return why the outputs of rows cannot be saved; it is one folder for all of them."""
    warnings = (find_folder_warning(row.run.notes) for row in rows if row.run is not None)
    return clean_text(next(filter(None, warnings), ""), limit=_MAX_PROBLEM)


def build_batch_facts(view: BatchView) -> Facts:
    """Return everything that is worth saying about a batch as a whole; nothing that is empty."""
    run, batch_progress = view.run, view.batch_progress
    facts: Facts = {
        "summary": format_batch_summary(view),
        "run_id": run.id,
        "app": run.app_name,
        "tool": run.tool_name,
        "state": run.state.value,
        "runs": batch_progress.rows,
        "done": batch_progress.over,
        "succeeded": batch_progress.succeeded,
        "finished_in_part": batch_progress.partial,
        "failed": batch_progress.failed,
        "of_unknown_fate": batch_progress.unknown,
        "cancelled": batch_progress.cancelled,
        "live": batch_progress.under_way,
        "waiting": batch_progress.unstarted,
        "not_started": batch_progress.dropped,
        **build_cost_facts(view),
        "price_credits": None if run.price_credits is None else plain(round(run.price_credits, 6)),
        "seconds": plain(round(view.elapsed_seconds, 1)),
        "stopped": batch_progress.stop_reason,
        "problem": clean_text(view.problem, limit=_MAX_PROBLEM),
        "joined": format_joined(run, again="The same call") if view.is_joined else "",
        "csv": make_sendable(batch_progress.csv_path),
        "csv_problem": batch_progress.csv_problem,
        "resource": format_run_uri(run.id),
        "next_step": _format_next_step(run),
    }
    return drop_empty(facts)


def build_cost_facts(view: BatchView) -> Facts:
    """Return what the rows have cost as far as that is known, and how many runs it leaves out."""
    batch, batch_progress = view.run, view.batch_progress
    if batch_progress.spent_credits or (batch.price_credits is not None and not batch_progress.unpriced):
        return drop_empty(
            {"credits": plain(round(batch_progress.spent_credits, 6)), "runs_of_unknown_cost": batch_progress.unpriced}
        )
    if batch_progress.unpriced:
        return {"credits": UNKNOWN_COST, "runs_of_unknown_cost": batch_progress.unpriced}
    # Of an unknown price, and none was sent; or none is over yet.
    return {"credits": 0} if batch.state.is_final else {}


def build_batch_page(
    batch: Run, rows: Sequence[RowStatus], batch_progress: BatchProgress, *, limit_bytes: int
) -> Facts:
    """Return the rows from the first of these on, as many as a page holds, and where the next page is."""
    forms = [_build_whole(row, batch_progress) for row in rows]
    # One alone is shorter than a page, so each page has some.
    count = max(1, len(choose_forms([[count_bytes(facts)] for facts in forms], limit_bytes)))
    rest = len(rows) - count
    more = {"rows_not_shown": rest, "next_page": format_run_uri(batch.id, start=rows[count].row.n)} if rest > 0 else {}
    return {"table": forms[:count], **more}


def format_batch_summary(view: BatchView) -> str:
    """Return the batch in one sentence."""
    batch_progress = view.batch_progress
    counts = {
        "succeeded": batch_progress.succeeded,
        "finished in part": batch_progress.partial,
        "failed": batch_progress.failed,
        "of unknown fate": batch_progress.unknown,
        "cancelled": batch_progress.cancelled,
        "erased": batch_progress.forgotten,
        "under way": batch_progress.under_way,
        "waiting": batch_progress.unstarted,
        "not started": batch_progress.dropped,
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    runs = f"{batch_progress.rows} run{'s' * (batch_progress.rows != 1)}"
    return f"{runs} of {format_quoted(view.run.app_name)}: {told} ({format_duration(view.elapsed_seconds)})."


def _has_failed(row: RowStatus) -> bool:
    return row.run is not None and row.run.state.is_final and not row.run.outputs


def _build_forms(row: RowStatus, batch_progress: BatchProgress) -> tuple[Form, Form, Form]:
    """Return a row from its shortest to its fullest form."""
    head = _build_head(row, batch_progress)
    run = row.run
    if run is None:
        return (Form(drop_empty(head)),) * 3
    brief = {**head, "problem": clean_text(run.failure, limit=_MAX_BRIEF_PROBLEM)}
    full = {**head, "problem": clean_text(run.failure, limit=_MAX_PROBLEM)}
    outputs = run.outputs[:_MAX_OUTPUTS]
    middle = {**full, "outputs": [name_output(run, output) for output in outputs]}
    full |= {"outputs": [build_brief_output(run, output) for output in outputs]}
    links = tuple(build_link(run, output, output.link) for output in outputs if output.link)
    return Form(drop_empty(brief)), Form(drop_empty(middle)), Form(drop_empty(full), links)


def _build_whole(row: RowStatus, batch_progress: BatchProgress) -> Facts:
    """Return a row with what it was made of, for its resource."""
    facts = {**_build_head(row, batch_progress), "arguments": json.loads(row.row.display_json)}
    run = row.run
    if run is not None:
        facts |= {
            "credits": get_shown_cost(run),
            "problem": clean_text(run.failure, limit=_MAX_PROBLEM),
            "outputs": [build_brief_output(run, output) for output in run.outputs[:_MAX_OUTPUTS]],
        }
    return drop_empty(facts)


def _build_head(row: RowStatus, batch_progress: BatchProgress) -> Facts:
    facts: Facts = {"row": row.row.table_row}
    if batch_progress.variations > 1:
        facts["variation"] = row.row.variation
    facts["state"] = get_row_state(row)
    facts["run_id"] = row.run.id if row.run is not None else ""
    return facts


def _format_next_step(run: Run) -> str:
    if run.state.is_final:
        return ""
    return (
        f'Call get_run with run_id "{run.id}" to wait for the rest. Do not start it again: it goes on by itself. '
        "cancel_run starts no more of its rows."
    )
