"""What `flowport settle` does: show what may belong to an unknown run, and record what a person decides."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio

from flowport.actions.views.run import build_receipt
from flowport.actions.views.view import Facts, drop_empty, format_instant
from flowport.cli.console import Column, ExitCode, print_json, print_table, say
from flowport.cli.session import Session, run_session
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import RunNotFound
from flowport.domain.models import Output, Run, RunState
from flowport.domain.text import clean_line
from flowport.domain.uris import parse_run_ids
from flowport.providers.lost_runs import ListedRun, RecentOutput
from flowport.runs.lost_starts import Candidates

SAVE_SECONDS: Final = 120.0
"""How long the command waits for files to be saved; a server goes on with it."""

_COLUMNS: Final = (
    Column("ID"),
    Column("WHAT"),
    Column("WHEN"),
    Column("ADDRESS", is_flexible=True),
)


def settle(given: dict[str, Any]) -> int:
    """Settle an unknown run, or show what it may have made."""
    return run_session(partial(_settle, given=given), given)


async def _settle(session: Session, *, given: dict[str, Any]) -> ExitCode:
    run = await _find_run(session, given["name"])
    if run.state is not RunState.UNKNOWN:
        return _refuse(session, run)
    lost_starts = session.workspace.lost_starts
    if given["is_lost"]:
        return _report(session, await lost_starts.settle_lost(run, is_charged=not given["is_free"]))
    if given["provider_run"]:
        confirmed = await lost_starts.confirm(run, given["provider_run"].strip())
        if confirmed is None:
            problem = "is not a run that the provider knows, or belongs to another run on record"
            raise build_refusal("--provider-run", problem, is_for_run=False)
        return _report(session, confirmed)
    candidates = await lost_starts.find_candidates(run)
    if not given["taken"]:
        return _show(session, run, candidates)
    settled = await lost_starts.settle_with_outputs(run, _choose(candidates.outputs, given["taken"]))
    await _wait_until_saved(session, settled)
    return _report(session, await session.workspace.store.get_run_of_any_owner(run.id))


async def _find_run(session: Session, text: str) -> Run:
    """Return a run of any owner.

    Raises:
        RunNotFound: No run has this id.
    """
    for run_id in parse_run_ids(text):
        with suppress(RunNotFound):
            return await session.workspace.store.get_run_of_any_owner(run_id)
    raise RunNotFound(text)


def _refuse(session: Session, run: Run) -> ExitCode:
    sentence = f"The state of {run.id} is {run.state.value}, so there is nothing to decide."
    if session.is_json:
        print_json({"error": {"kind": "RunNotUnknown", "message": sentence}})
    else:
        say(sentence, style="red")
    return ExitCode.REFUSED


def _choose(offered: Sequence[RecentOutput], wanted: Sequence[str]) -> list[Output]:
    """Return the files that a person named.

    Raises:
        ArgumentsInvalid: One of them is not offered.
    """
    by_id = {_get_id(one.output): one.output for one in offered}
    missing = next((one for one in wanted if one not in by_id), None)
    if missing is not None:
        problem = f"names {clean_line(missing)!r}, which was not made since the start"
        raise build_refusal("--take", problem, "The command without --take lists them.", is_for_run=False)
    return [by_id[one] for one in dict.fromkeys(wanted)]


def _get_id(output: Output) -> str:
    return output.provider_output_id or output.url or ""


async def _wait_until_saved(session: Session, run: Run) -> None:
    with anyio.move_on_after(SAVE_SECONDS):
        while (entry := session.workspace.runner.get_entry(run.id)) is not None:
            await entry.changed.wait()


def _report(session: Session, run: Run) -> ExitCode:
    """Print what became of the run."""
    receipt = build_receipt(run)
    files = [one.saved_path or one.link or "" for one in run.outputs]
    goes_on = not run.state.is_final
    if session.is_json:
        facts = {"run_id": run.id, "state": run.state.value, "failure": run.failure, "files": files, "receipt": receipt}
        print_json(drop_empty(facts))
        return ExitCode.DONE
    more = f" `flowport show {run.id} --wait` gets its result." if goes_on else f" {run.failure}".rstrip()
    say(f"{run.id} is settled: {run.state.value}.{more}")
    for file in files:
        print(file)  # noqa: T201 - the result of the command
    return ExitCode.DONE


def _show(session: Session, run: Run, candidates: Candidates) -> ExitCode:
    """Print what the run may have made, and what to type next."""
    found = [*map(_build_run_facts, candidates.runs), *map(_build_output_facts, candidates.outputs)]
    if session.is_json:
        facts = {"run_id": run.id, "state": run.state.value, "receipt": build_receipt(run), "candidates": found}
        print_json(facts | drop_empty({"problem": candidates.problem}))
        return ExitCode.DONE
    if found:
        print_table(_COLUMNS, [[one["id"], one["kind"], one.get("made_at", ""), one.get("url", "")] for one in found])
    else:
        say("Nothing that was made since its start is listed by the provider.")
    if candidates.problem:
        say(candidates.problem)
    start = f"`flowport settle {run.id}"
    options = [
        f"{start} --take ID` takes a file as its result" if candidates.outputs else "",
        f"{start} --provider-run ID` follows a run at its provider",
        f"{start} --lost` gives it up; with --not-charged its price is free again",
    ]
    say("; ".join(filter(None, options)) + ".")
    return ExitCode.DONE


def _build_run_facts(run: ListedRun) -> Facts:
    facts: Facts = {
        "id": run.provider_run_id,
        "kind": "run",
        "made_at": format_instant(run.begun_at),
        "has_same_inputs": "unknown" if run.has_same_inputs is None else run.has_same_inputs,
    }
    return facts


def _build_output_facts(one: RecentOutput) -> Facts:
    output = one.output
    facts: Facts = {
        "id": _get_id(output),
        "kind": output.kind.value,
        "made_at": format_instant(one.made_at),
        "url": output.link or "",
    }
    return drop_empty(facts)
