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

from flowport.errors import FlowportError
from flowport.labels import clean_text, format_quoted
from flowport.ledger.interface import Mention
from flowport.media.previews import Preview
from flowport.model import Output, OutputKind, Run, RunState

Answer: TypeAlias = t.CallToolResult
Facts: TypeAlias = dict[str, Any]

MAX_SHOWN_OUTPUTS: Final = 20
"""Outputs that one answer lists; the run's resource has them all."""

MAX_SHOWN_TEXT: Final = 2000
"""Characters of one text result that an answer carries; its resource has more."""

OUR_MISTAKE: Final = "Flowport made a mistake while it handled this call; its log has the details."

_MIME_TYPES: Final = {
    OutputKind.IMAGE: "image/*",
    OutputKind.VIDEO: "video/*",
    OutputKind.AUDIO: "audio/*",
}


@dataclass(frozen=True, slots=True)
class Standing:
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


def build_run_answer(standing: Standing, previews: Sequence[Preview] = ()) -> Answer:
    """Return the answer that tells all about one run, with a link for each output and the previews."""
    run = standing.run
    facts = build_run_facts(standing)
    is_error = run.state in {RunState.FAILED, RunState.UNKNOWN}
    links = [_build_link(run, output) for output in run.outputs[:MAX_SHOWN_OUTPUTS] if output.url]
    return _build_answer(facts, [*links, *map(_build_image, previews)], is_error=is_error)


def add_mention(answer: Answer, mention: Mention) -> Answer:
    """Return the answer with one more fact, and line: which runs are over that nobody has seen."""
    sentence = _format_mention(mention)
    first, *others = answer.content
    text = t.TextContent(text=f"{first.text}\nunseen: {sentence}") if isinstance(first, t.TextContent) else first
    facts = {**(answer.structured_content or {}), "unseen": sentence}
    return t.CallToolResult(content=[text, *others], structured_content=facts, is_error=answer.is_error)


def build_facts_answer(facts: Facts) -> Answer:
    """Return the answer that tells these facts."""
    return _build_answer(facts, [], is_error=False)


def build_error_answer(error: FlowportError) -> Answer:
    """Return the answer for an error that the model, or the person behind it, can act on."""
    return _build_answer({"error": type(error).__name__, "message": str(error)}, [], is_error=True)


def build_mistake_answer() -> Answer:
    """Return the answer for our own bug; what it was stays in the log."""
    return _build_answer({"error": "InternalError", "message": OUR_MISTAKE}, [], is_error=True)


def build_run_uri(run_id: str) -> str:
    """Return the lasting URI of a run."""
    return f"flowport://runs/{run_id}"


def build_app_uri(tool_name: str) -> str:
    """Return the lasting URI of an app."""
    return f"flowport://apps/{tool_name}"


def build_output_uri(run_id: str, n: int) -> str:
    """Return the lasting URI of an output."""
    return f"flowport://runs/{run_id}/outputs/{n}"


def build_run_facts(standing: Standing, *, max_outputs: int = MAX_SHOWN_OUTPUTS) -> Facts:
    """Return everything that is worth telling about a run; nothing that is empty."""
    run = standing.run
    facts: Facts = {
        "summary": format_summary(standing),
        "run_id": run.id,
        "app": run.app_name,
        "tool": run.tool_name,
        "state": run.state.value,
        "outputs": [_build_output_facts(run, output) for output in run.outputs[:max_outputs]],
        "outputs_not_shown": max(0, len(run.outputs) - max_outputs),
        "credits": plain(run.spent_credits) if run.state.is_final else None,
        "price_credits": plain(run.price_credits),
        "seconds": plain(round(standing.elapsed_seconds, 1)),
        "failure": run.failure,
        "provider_answer": run.start_answer,
        "problem": standing.problem,
        "notes": run.notes,
        "joined": _format_joined(run) if standing.is_joined else "",
        "resource": build_run_uri(run.id),
        "next_step": _format_next_step(standing),
    }
    return {key: value for key, value in facts.items() if value not in ("", None, [], 0) or key == "credits"}


def format_summary(standing: Standing) -> str:
    """Return the run in one sentence."""
    run = standing.run
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
    saving = "; its outputs are being saved" if standing.is_saving else ""
    return (
        f"{format_quoted(run.app_name)} {verbs[run.state]} ({format_duration(standing.elapsed_seconds)}{made}){saving}."
    )


def format_duration(seconds: float) -> str:
    """Return a duration as people say it: `34 s`, `2 min 5 s`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60} s"  # noqa: PLR2004


def format_instant(at: float | None) -> str:
    """Return an instant in ISO 8601, in UTC; empty for None."""
    return "" if at is None else datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(number: float | None) -> float | int | None:
    """Return a whole number without its point."""
    return int(number) if number is not None and number == int(number) else number


def _build_output_facts(run: Run, output: Output) -> Facts:
    facts: Facts = {
        "n": output.n,
        "kind": output.kind.value,
        "text": clean_text(output.text, limit=MAX_SHOWN_TEXT),
        "url": output.url,
        "mime_type": output.mime_type,
        "size_bytes": output.size_bytes,
        "width": output.width,
        "height": output.height,
        "duration_seconds": plain(output.duration_seconds),
        "expires_at": format_instant(output.expires_at),
        "saved_path": output.saved_path,
        "save_problem": output.save_problem,
        "resource": build_output_uri(run.id, output.n),
    }
    return {key: value for key, value in facts.items() if value not in ("", None)}


def _format_next_step(standing: Standing) -> str:
    run = standing.run
    if run.state.is_final and not standing.is_saving:
        return ""
    if not run.is_followed:
        return f'Flowport no longer looks at this run; get_run with run_id "{run.id}" looks again.'
    wait = f'Call get_run with run_id "{run.id}" to wait for the result.'
    if run.state is RunState.ACCEPTED:
        return f"{wait} Do not start it again: it has its place in the queue."
    return f"{wait} Do not start it again: it is paid for once."


def _format_joined(run: Run) -> str:
    return (
        f"This call asked for the same as an earlier one, so it joined its run, accepted at {format_instant(run.accepted_at)}; "
        "nothing new was started or charged. run_app with new_run true makes another."
    )


def _format_mention(mention: Mention) -> str:
    named = ", ".join(f"{format_quoted(run.app_name)} ({run.id})" for run in mention.runs)
    more = f" and {mention.count - len(mention.runs)} more" if mention.count > len(mention.runs) else ""
    plural = "s" * (mention.count != 1)
    return f"{mention.count} finished run{plural} you have not seen: {named}{more}. get_run shows the result."


def _build_link(run: Run, output: Output) -> t.ResourceLink:
    name = PurePath(output.saved_path).name or f"{run.tool_name}-{output.n}"
    return t.ResourceLink(
        uri=output.url or build_output_uri(run.id, output.n),
        name=name,
        title=f"{run.app_name} {output.n}",
        mime_type=output.mime_type or None,
        size=output.size_bytes,
    )


def _build_image(preview: Preview) -> t.ImageContent:
    # A model has the facts; pixels are for the person, and clients that ask for whom it is need not pay tokens for them.
    data = base64.b64encode(preview.data).decode("ascii")
    return t.ImageContent(data=data, mime_type=preview.mime_type, annotations=t.Annotations(audience=["user"]))


def _build_answer(facts: Facts, blocks: Sequence[t.ContentBlock], *, is_error: bool) -> Answer:
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
