"""The facts about one run and its outputs, as many as an answer has room for. Pure."""

import json
from collections.abc import Sequence
from typing import Final

from flowport.actions.views.view import (
    MAX_RUN_BYTES,
    UNKNOWN_COST,
    Facts,
    Form,
    View,
    build_link,
    count_twice,
    drop_empty,
    format_instant,
    make_sendable,
    plain,
)
from flowport.domain.models import FINAL_STATES, SANDBOX_HOST, Output, Run, RunState
from flowport.domain.text import choose_forms, clean_line, clean_text, format_duration, format_quoted
from flowport.domain.uris import format_output_uri, format_run_uri
from flowport.media.previews import Preview
from flowport.runs.live import RunView
from flowport.store.records import Reminder

MAX_SHOWN_OUTPUTS: Final = 20
"""Outputs that one answer lists at the most; the run's resource has them all."""

_MAX_HEADING_BYTES: Final = MAX_RUN_BYTES // 2
"""What is said about the run as a whole takes no more, so that there is room for its outputs."""

_TEXT_LIMITS: Final = (2000, 400, 80)
"""Characters of an explanation; the first that makes the heading short enough."""

MAX_SHOWN_TEXT: Final = 2000
"""Characters of one text result that an answer carries; its resource has more."""

_MAX_PROBLEM: Final = 300
_MAX_BRIEF_TEXT: Final = 200
_BRIEF_FACTS: Final = ("n", "kind", "saved_path", "save_problem", "resource")


def build_run_answer(view: RunView, previews: Sequence[Preview] = (), without: Sequence[str] = ()) -> View:
    """Return the answer about one run, with a link for each output and the previews; never a long one.

    When a run has returned more than an answer holds, links lose their copy of a long URL first; then later outputs lose
    all but their places and the beginning of their text; then the last ones are left out. It says so, and where all is.

    Args:
        without: Sentences that say which pictures have no preview, and why.
    """
    run = view.run
    facts = _build_heading(view)
    facts["without_preview"] = " ".join(without)
    shown = _choose_outputs(run, MAX_RUN_BYTES - count_twice(facts))
    facts["outputs"] = [one.facts for one in shown]
    facts["outputs_not_shown"] = len(run.outputs) - len(shown)
    facts["left_out"] = _format_left_out(run, shown)
    links = tuple(link for one in shown for link in one.links)
    is_error = run.state in {RunState.FAILED, RunState.UNKNOWN}
    return View(drop_empty(facts), links, tuple(previews), is_error)


def build_run_facts(view: RunView, *, text_limit: int = _TEXT_LIMITS[0]) -> Facts:
    """Return everything that is worth saying about a run as a whole, and room for its outputs; nothing that is empty."""
    run = view.run
    facts: Facts = {
        "summary": format_summary(view),
        "run_id": run.id,
        "app": run.app_name,
        "tool": run.tool_name,
        "state": run.state.value,
        "progress": view.progress,
        "credits": get_shown_cost(run),
        "price_credits": plain(run.price_credits),
        "seconds": plain(round(view.elapsed_seconds, 1)),
        "failure": clean_text(run.failure, limit=text_limit),
        "provider_answer": "" if run.witness else clean_text(run.start_response, limit=text_limit),
        "problem": clean_text(view.problem, limit=text_limit),
        "notes": clean_text(run.notes, limit=text_limit),
        "joined": format_joined(run) if view.is_joined else "",
        "resource": format_run_uri(run.id),
        "next_step": _format_next_step(view),
        "decision": _format_decision(run),
    }
    return drop_empty(facts)


def build_receipt(run: Run) -> Facts:
    """Return what was sent when, what was answered, what was promised and charged, and which witness settled an unknown start."""
    instants = {
        RunState.ACCEPTED: run.accepted_at,
        RunState.STARTING: run.starting_at,
        RunState.UNKNOWN: run.unknown_at,
        RunState.QUEUED: run.started_at,
        RunState.RUNNING: run.running_at,
    }
    if run.state in FINAL_STATES - {RunState.UNKNOWN}:
        instants[run.state] = run.finished_at
    states = [{"state": state.value, "at": format_instant(at)} for state, at in instants.items() if at is not None]
    facts: Facts = {
        "request": clean_line(run.start_request),
        "sent_at": format_instant(run.starting_at),
        "answered_at": "" if run.witness else format_instant(run.started_at),
        "provider_run_id": clean_line(run.provider_run_id),
        "provider_answer": clean_text(run.start_response, limit=_TEXT_LIMITS[0]),
        "promised_credits": plain(run.price_credits),
        "charged_credits": get_shown_cost(run),
        "is_charge_reported": run.is_cost_reported or None,
        "witness": run.witness,
        "witnessed_at": format_instant(run.witnessed_at),
        "states": states,
    }
    return {name: value for name, value in facts.items() if value not in ("", None)}


def build_record(run: Run, facts: Facts) -> Facts:
    """Return the facts about a run or a batch with what it was made of, and when."""
    return facts | drop_empty(
        {
            "provider": SANDBOX_HOST if f":{SANDBOX_HOST}:" in run.account_id else run.provider,
            "accepted_at": format_instant(run.accepted_at),
            "finished_at": format_instant(run.finished_at),
            "arguments": json.loads(run.arguments_json),
        }
    )


def get_shown_cost(run: Run) -> float | int | str | None:
    """Return what a run has cost: a number, "unknown", or None while it goes on."""
    if not run.state.is_final:
        return None
    return UNKNOWN_COST if run.cost_credits is None else plain(run.cost_credits)


def build_output_facts(run: Run, output: Output) -> Facts:
    """Return everything that is worth saying about an output; of a long text the beginning."""
    facts: Facts = {
        "n": output.n,
        "kind": output.kind.value,
        "text": clean_text(output.text, limit=MAX_SHOWN_TEXT),
        "url": output.link,
        "mime_type": output.mime_type,
        "size_bytes": output.size_bytes,
        "width": output.width,
        "height": output.height,
        "duration_seconds": plain(output.duration_seconds),
        "expires_at": format_instant(output.expires_at),
        "saved_path": make_sendable(output.saved_path),
        "save_problem": clean_text(output.save_problem, limit=_MAX_PROBLEM),
        "resource": format_output_uri(run.id, output.n),
    }
    return {key: value for key, value in facts.items() if value not in ("", None)}


def format_summary(view: RunView) -> str:
    """Return the run in one sentence."""
    run = view.run
    verbs = {
        RunState.ACCEPTED: "is accepted and waits for its turn",
        RunState.STARTING: "is being started",
        RunState.QUEUED: "is queued at the provider",
        RunState.RUNNING: "is running",
        RunState.SUCCEEDED: "succeeded",
        RunState.PARTIAL: "finished in part",
        RunState.FAILED: "failed",
        RunState.CANCELLED: "was cancelled",
        RunState.UNKNOWN: "may or may not have been started",
    }
    made = f", {len(run.outputs)} output{'s' * (len(run.outputs) != 1)}" if run.state.is_final and run.outputs else ""
    saving = "; its outputs are being saved" if view.is_saving else ""
    unsaved = [output.save_problem for output in run.outputs if output.save_problem and not output.saved_path]
    problem = f" {clean_text(unsaved[0], limit=_MAX_PROBLEM)}" if unsaved else ""
    return f"{format_quoted(run.app_name)} {verbs[run.state]} ({format_duration(view.elapsed_seconds)}{made}){saving}.{problem}"


def _build_heading(view: RunView) -> Facts:
    *limits, shortest = _TEXT_LIMITS
    for limit in limits:
        facts = build_run_facts(view, text_limit=limit)
        if count_twice(facts) <= _MAX_HEADING_BYTES:
            return facts
    return build_run_facts(view, text_limit=shortest)


def _choose_outputs(run: Run, budget: int) -> list[Form]:
    outputs = run.outputs[:MAX_SHOWN_OUTPUTS]
    whole = [_show_whole(run, output, output.link or "") for output in outputs]
    if sum(one.count_bytes() for one in whole) <= budget:
        return whole
    # A link to the output's resource does not repeat its URL.
    forms = [
        (_show_briefly(run, output), _show_whole(run, output, format_output_uri(run.id, output.n)), full)
        for output, full in zip(outputs, whole, strict=True)
    ]
    chosen = choose_forms([[form.count_bytes() for form in one] for one in forms], budget)
    return [forms[place][form] for place, form in enumerate(chosen)]


def _show_whole(run: Run, output: Output, link: str) -> Form:
    links = (build_link(run, output, link),) if output.link else ()
    return Form(build_output_facts(run, output), links)


def _show_briefly(run: Run, output: Output) -> Form:
    """Show where the output is on this computer and here, and the beginning of its text."""
    whole = build_output_facts(run, output)
    facts: Facts = {key: whole[key] for key in _BRIEF_FACTS if key in whole}
    if output.text:
        facts["text"] = clean_text(output.text, limit=_MAX_BRIEF_TEXT)
    return Form(facts, is_whole=facts == whole)


def _format_left_out(run: Run, shown: Sequence[Form]) -> str:
    if len(shown) == len(run.outputs) and all(one.is_whole for one in shown):
        return ""
    return f"For length not everything is shown here; {format_run_uri(run.id)} has all outputs with their links."


def _format_next_step(view: RunView) -> str:
    run = view.run
    if run.state.is_final and not view.is_saving:
        return ""
    if not run.is_followed:
        return f'Flowport no longer looks at this run; get_run with run_id "{run.id}" looks again.'
    wait = f'Call get_run with run_id "{run.id}" to wait for the result.'
    if run.state is RunState.ACCEPTED:
        return f"{wait} Do not start it again: it has its place in the queue."
    return f"{wait} Do not start it again: it is paid for once."


def _format_decision(run: Run) -> str:
    """Return how a person settles an unknown run; empty for any other."""
    is_unknown = run.state is RunState.UNKNOWN
    return f"A person settles it in a terminal: flowport settle {run.id}" if is_unknown else ""


def format_joined(run: Run, *, again: str = "run_app") -> str:
    """Return what is said to a call that has joined a run; `again` is what makes another one."""
    return (
        f"This call asked for the same as an earlier one, so it joined its run, accepted at {format_instant(run.accepted_at)}; "
        f"no other is started or charged for this call. {again} with new_run true makes another."
    )


def format_reminder(reminder: Reminder) -> str:
    """Return the sentence about runs that are over and were not delivered."""
    if not reminder.count:
        return reminder.notice
    named = ", ".join(f"{format_quoted(run.app_name)} ({run.id})" for run in reminder.runs)
    more = f" and {reminder.count - len(reminder.runs)} more" if reminder.count > len(reminder.runs) else ""
    plural = "s" * (reminder.count != 1)
    unseen = f"{reminder.count} finished run{plural} you have not seen: {named}{more}. get_run shows the result."
    return f"{unseen} {reminder.notice}".strip()
