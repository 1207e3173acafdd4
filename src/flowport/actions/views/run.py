"""Runs, lists and errors as MCP results: the one table. With the server the only importer of `mcp`.

Some clients show their model only the structured content of a result, others only its text. So both are made from one
mapping of facts, and say the same.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, TypeAlias

import mcp.types as t

from flowport.domain.errors import FlowportError
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.domain.text import choose_forms, clean_text, count_bytes, format_duration, format_quoted
from flowport.domain.uris import format_output_uri, format_run_uri
from flowport.media.previews import Preview
from flowport.store.records import Reminder

Answer: TypeAlias = t.CallToolResult
Facts: TypeAlias = dict[str, Any]

MAX_SHOWN_OUTPUTS: Final = 20
"""Outputs that one answer lists at the most; the run's resource has them all."""

MAX_ANSWER_BYTES: Final = 20_000
"""Of an answer on the wire, previews aside: clients cut longer ones, and what is cut off is lost."""

MAX_RUN_BYTES: Final = MAX_ANSWER_BYTES - 3_000
"""What is left for the run when other runs are mentioned, and the client's library has wrapped the answer."""

_MAX_HEADING_BYTES: Final = MAX_RUN_BYTES // 2
"""What is told about the run as a whole may take no more, so that there is room for its outputs."""

_TEXT_LIMITS: Final = (2000, 400, 80)
"""Characters of an explanation; the first that makes the heading short enough."""

MAX_SHOWN_TEXT: Final = 2000
"""Characters of one text result that an answer carries; its resource has more."""

UNKNOWN_COST: Final = "unknown"
"""In the place of a number of credits that nobody knows: a 0 would read as free."""

_MAX_PROBLEM: Final = 300
_MAX_BRIEF_TEXT: Final = 200
_BRIEF_FACTS: Final = ("n", "kind", "saved_path", "save_problem", "resource")

OUR_MISTAKE: Final = "Flowport made a mistake while it handled this call; its log has the details."

_MIME_TYPES: Final = {
    OutputKind.IMAGE: "image/*",
    OutputKind.VIDEO: "video/*",
    OutputKind.AUDIO: "audio/*",
}


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands, with what only this process knows of it."""

    run: Run
    elapsed_seconds: float
    """From the acceptance to the end, or to now."""
    problem: str = ""
    """Why it could not be looked at the last time; empty when it could."""
    is_saving: bool = False
    """Whether its outputs are still being saved."""
    is_joined: bool = False
    """Whether the call that is answered did not start it but joined it."""


def build_run_answer(view: RunView, previews: Sequence[Preview] = (), without: Sequence[str] = ()) -> Answer:
    """Return the answer that tells about one run, with a link for each output and the previews; never a long one.

    Sentences tell which pictures are without a preview, and why. When a run has returned more than an answer holds, links lose their copy of a long URL first; then later outputs all
    but their places and the beginning of their text; then the last ones are left out. It says so, and where all of it is.
    """
    run = view.run
    facts = _build_heading(view)
    facts["without_preview"] = " ".join(without)
    shown = _choose_outputs(run, MAX_RUN_BYTES - count_twice(facts))
    facts["outputs"] = [one.facts for one in shown]
    facts["outputs_not_shown"] = len(run.outputs) - len(shown)
    facts["left_out"] = _format_left_out(run, shown)
    links = [one.link for one in shown if one.link is not None]
    is_error = run.state in {RunState.FAILED, RunState.UNKNOWN}
    return build_answer(drop_empty(facts), [*links, *map(build_image, previews)], is_error=is_error)


def add_reminder(answer: Answer, reminder: Reminder) -> Answer:
    """Return the answer with one more fact, and line: which runs are over that nobody has seen."""
    return add_fact(answer, "unseen", _format_reminder(reminder))


def add_fact(answer: Answer, name: str, sentence: str) -> Answer:
    """Return the answer with one more fact, in its text and in its structured content."""
    first, *others = answer.content
    text = t.TextContent(text=f"{first.text}\n{name}: {sentence}") if isinstance(first, t.TextContent) else first
    facts = {**(answer.structured_content or {}), name: sentence}
    return t.CallToolResult(content=[text, *others], structured_content=facts, is_error=answer.is_error)


def drop_links(answer: Answer) -> Answer:
    """Return the answer without resource links: every address is in its text and its structured content as well."""
    content: list[t.ContentBlock] = [block for block in answer.content if not isinstance(block, t.ResourceLink)]
    return t.CallToolResult(content=content, structured_content=answer.structured_content, is_error=answer.is_error)


def build_facts_answer(facts: Facts) -> Answer:
    """Return the answer that tells these facts."""
    return build_answer(facts, [], is_error=False)


def build_error_answer(error: FlowportError) -> Answer:
    """Return the answer for an error that the model, or the person behind it, can act on."""
    return build_answer({"error": type(error).__name__, "message": str(error)}, [], is_error=True)


def build_mistake_answer() -> Answer:
    """Return the answer for our own bug; what it was stays in the log."""
    return build_answer({"error": "InternalError", "message": OUR_MISTAKE}, [], is_error=True)


def build_run_facts(view: RunView, *, text_limit: int = _TEXT_LIMITS[0]) -> Facts:
    """Return everything that is worth telling about a run as a whole, and room for its outputs; nothing that is empty."""
    run = view.run
    facts: Facts = {
        "summary": format_summary(view),
        "run_id": run.id,
        "app": run.app_name,
        "tool": run.tool_name,
        "state": run.state.value,
        "credits": tell_cost(run),
        "price_credits": plain(run.price_credits),
        "seconds": plain(round(view.elapsed_seconds, 1)),
        "failure": clean_text(run.failure, limit=text_limit),
        "provider_answer": clean_text(run.start_answer, limit=text_limit),
        "problem": clean_text(view.problem, limit=text_limit),
        "notes": clean_text(run.notes, limit=text_limit),
        "joined": format_joined(run) if view.is_joined else "",
        "resource": format_run_uri(run.id),
        "next_step": _format_next_step(view),
    }
    return drop_empty(facts)


def tell_cost(run: Run) -> float | int | str | None:
    """Return what a run has cost: a number, "unknown", or None while it goes on."""
    if not run.state.is_final:
        return None
    return UNKNOWN_COST if run.cost_credits is None else plain(run.cost_credits)


def build_output_facts(run: Run, output: Output) -> Facts:
    """Return everything that is worth telling about an output; of a long text the beginning."""
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


def format_instant(at: float | None) -> str:
    """Return an instant in ISO 8601, in UTC; empty for None."""
    return "" if at is None else datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(number: float | None) -> float | int | None:
    """Return a whole number without its point."""
    return int(number) if number is not None and number == int(number) else number


@dataclass(frozen=True, slots=True)
class _Shown:
    """An output in one of the forms in which an answer may show it."""

    facts: Facts
    link: t.ResourceLink | None
    is_whole: bool
    """Whether no fact is missing."""

    def count_bytes(self) -> int:
        """Return what it takes of an answer: as structured content, as a line of the text, and as a link."""
        link = self.link.model_dump_json(by_alias=True) if self.link else ""
        return count_twice(self.facts) + len(link.encode()) + 2


def _build_heading(view: RunView) -> Facts:
    *limits, shortest = _TEXT_LIMITS
    for limit in limits:
        facts = build_run_facts(view, text_limit=limit)
        if count_twice(facts) <= _MAX_HEADING_BYTES:
            return facts
    return build_run_facts(view, text_limit=shortest)


def _choose_outputs(run: Run, budget: int) -> list[_Shown]:
    outputs = run.outputs[:MAX_SHOWN_OUTPUTS]
    whole = [_show_whole(run, output) for output in outputs]
    if sum(one.count_bytes() for one in whole) <= budget:
        return whole
    briefer = [(_show_briefly(run, output), _show_unlinked(run, output)) for output in outputs]
    forms = [(*one, full) for one, full in zip(briefer, whole, strict=True)]
    chosen = choose_forms([[form.count_bytes() for form in one] for one in forms], budget)
    return [forms[place][form] for place, form in enumerate(chosen)]


def _show_whole(run: Run, output: Output) -> _Shown:
    link = build_link(run, output, output.link) if output.link else None
    return _Shown(build_output_facts(run, output), link, is_whole=True)


def _show_unlinked(run: Run, output: Output) -> _Shown:
    """Show the output with a link that does not repeat its URL."""
    link = build_link(run, output, format_output_uri(run.id, output.n)) if output.link else None
    return _Shown(build_output_facts(run, output), link, is_whole=True)


def _show_briefly(run: Run, output: Output) -> _Shown:
    """Show where the output is on this computer and here, and the beginning of its text."""
    whole = build_output_facts(run, output)
    facts: Facts = {key: whole[key] for key in _BRIEF_FACTS if key in whole}
    if output.text:
        facts["text"] = clean_text(output.text, limit=_MAX_BRIEF_TEXT)
    return _Shown(facts, None, is_whole=facts == whole)


def _format_left_out(run: Run, shown: Sequence[_Shown]) -> str:
    if len(shown) == len(run.outputs) and all(one.is_whole for one in shown):
        return ""
    return f"For length not everything is shown here; {format_run_uri(run.id)} has all outputs with their links."


def drop_empty(facts: Facts) -> Facts:
    """Return the facts that say something; that nothing was charged says something."""
    return {
        key: value
        for key, value in facts.items()
        if value not in ("", None, [], 0) or (key == "credits" and value is not None)
    }


def count_twice(facts: Facts) -> int:
    """Return the bytes of facts in an answer, which holds them as structured content and as text."""
    return count_bytes(facts) + count_bytes(format_facts(facts))


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


def format_joined(run: Run, *, again: str = "run_app") -> str:
    """Return what is said to a call that has joined a run; `again` is what makes another one."""
    return (
        f"This call asked for the same as an earlier one, so it joined its run, accepted at {format_instant(run.accepted_at)}; "
        f"no other is started or charged for this call. {again} with new_run true makes another."
    )


def _format_reminder(reminder: Reminder) -> str:
    named = ", ".join(f"{format_quoted(run.app_name)} ({run.id})" for run in reminder.runs)
    more = f" and {reminder.count - len(reminder.runs)} more" if reminder.count > len(reminder.runs) else ""
    plural = "s" * (reminder.count != 1)
    return f"{reminder.count} finished run{plural} you have not seen: {named}{more}. get_run shows the result."


def make_sendable(path: str) -> str:
    """Return a path as it can be told."""
    # The name of a folder may hold bytes that are no text; they cannot go over the wire, and nobody could type them.
    return path.encode(errors="replace").decode()


def build_link(run: Run, output: Output, uri: str) -> t.ResourceLink:
    """Return the link of an answer to an output."""
    name = make_sendable(PurePath(output.saved_path).name) or f"{run.tool_name}-{output.n}"
    return t.ResourceLink(
        uri=uri,
        name=name,
        title=f"{run.app_name} {output.n}",
        mime_type=output.mime_type or None,
        size=output.size_bytes,
    )


def build_image(preview: Preview) -> t.ImageContent:
    """Return a preview as a part of an answer."""
    # A model has the facts; pixels are for the person, and clients that ask for whom it is need not pay tokens for them.
    data = base64.b64encode(preview.data).decode("ascii")
    return t.ImageContent(data=data, mime_type=preview.mime_type, annotations=t.Annotations(audience=["user"]))


def build_answer(facts: Facts, blocks: Sequence[t.ContentBlock], *, is_error: bool) -> Answer:
    """Return an answer that tells the same facts twice: some clients show one form, some the other."""
    return t.CallToolResult(
        content=[t.TextContent(text=format_facts(facts)), *blocks], structured_content=facts, is_error=is_error
    )


def format_facts(facts: Mapping[str, Any]) -> str:
    """Return facts as lines of `name: value`, lists indented under their name. Every fact is in it."""
    return "\n".join(_format_lines(facts))


def _format_lines(facts: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in facts.items():
        if isinstance(value, list | tuple):
            lines.append(f"{key}:" if value else f"{key}: none")
            lines += [f"- {_format_item(item)}" for item in value]
        else:
            lines.append(f"{key}: {_format_item(value)}")
    return lines


def _format_item(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_format_item(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_format_item(part) for part in value) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Of a text with lines none may pass for a line of ours.
    return str(value).replace("\n", "\n    ")
