"""Recent runs as one answer: newest first, with where their results are, and never a long one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowport.actions.views.run import (
    MAX_RUN_BYTES,
    Answer,
    Facts,
    RunView,
    build_facts_answer,
    build_run_facts,
    count_twice,
    drop_empty,
    format_instant,
    make_sendable,
)
from flowport.domain.models import Output, Run
from flowport.domain.text import choose_forms, clean_text
from flowport.domain.uris import format_output_uri

MAX_LISTED_OUTPUTS: Final = 4
"""Outputs that one row names; `get_run` has all."""

PLACES: Final = ("csv", "csv_problem", "resource")
"""Where the table of a batch is."""

_MAX_TEXT: Final = 200
_RUN_FACTS: Final = ("run_id", "tool", "state", "seconds", "credits", "problem")
_LEFT_OUT: Final = "For length not all results are named here; get_run with a run_id shows those of one run."


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One row of the list, from its shortest to its fullest form."""

    forms: tuple[Facts, ...]


def build_listed_run(view: RunView) -> ListedRun:
    """Return a run as a row of the list."""
    run = view.run
    facts = build_run_facts(view)
    head = {key: facts[key] for key in _RUN_FACTS if key in facts} | {"outputs": len(run.outputs)}
    brief = head | _build_delivery(run)
    named = run.outputs[:MAX_LISTED_OUTPUTS]
    if not named:
        return ListedRun((brief,) * 3)
    middle = brief | {"results": [_name_place(run, output) for output in named]}
    return ListedRun((brief, middle, brief | {"results": [_build_result(run, output) for output in named]}))


def build_listed_batch(batch: Run, facts: Facts) -> ListedRun:
    """Return a batch as a row of the list, with its table; the run itself has no outputs."""
    row = facts | _build_delivery(batch)
    brief = {key: value for key, value in row.items() if key not in PLACES}
    return ListedRun((brief, row, row))


def build_run_list_answer(rows: Sequence[ListedRun], *, undelivered: int) -> Answer:
    """Return the answer that lists runs, each as fully as there is room.

    Args:
        rows: Newest first.
        undelivered: How many finished runs in all no answer has shown yet.
    """
    shown = f"{len(rows)} run{'s' * (len(rows) != 1)}, newest first."
    waiting = f"{undelivered} finished run{'s' * (undelivered != 1)} in all not delivered yet."
    facts: Facts = {"summary": f"{shown} {waiting}", "runs": []}
    budget = MAX_RUN_BYTES - count_twice(facts | {"runs_not_shown": len(rows), "left_out": _LEFT_OUT})
    chosen = choose_forms([[count_twice(form) + 2 for form in row.forms] for row in rows], budget)
    facts["runs"] = [row.forms[form] for row, form in zip(rows, chosen, strict=False)]
    if len(chosen) < len(rows):
        facts["runs_not_shown"] = len(rows) - len(chosen)
    if any(row.forms[form] != row.forms[-1] for row, form in zip(rows, chosen, strict=False)):
        facts["left_out"] = _LEFT_OUT
    return build_facts_answer(facts)


def _build_delivery(run: Run) -> Facts:
    mark = {"undelivered": True} if run.state.is_final and run.delivered_at is None else {}
    return {"accepted_at": format_instant(run.accepted_at), "is_seen": run.delivered_at is not None} | mark


def _build_result(run: Run, output: Output) -> dict[str, Any]:
    return drop_empty(
        {
            "kind": output.kind.value,
            "text": clean_text(output.text, limit=_MAX_TEXT),
            "saved_path": make_sendable(output.saved_path),
            "url": output.link,
            "resource": format_output_uri(run.id, output.n),
        }
    )


def _name_place(run: Run, output: Output) -> str:
    """Return where an output is: on this computer, else at the provider, else here."""
    return make_sendable(output.saved_path) or output.link or format_output_uri(run.id, output.n)
