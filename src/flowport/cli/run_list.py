"""What `flowport runs` does: read the record, and nothing else."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Final

from flowport.actions.views.view import UNKNOWN_COST, format_instant, plain
from flowport.cli.console import Column, ExitCode, print_json, print_table, say
from flowport.cli.run_records import run_on_record
from flowport.domain.models import Run, RunState
from flowport.domain.text import clean_line
from flowport.store.interface import Store

FAILED_STATES: Final = (RunState.FAILED, RunState.PARTIAL, RunState.UNKNOWN)
_COLUMNS: Final = (
    Column("RUN"),
    Column("APP", is_flexible=True),
    Column("STATE"),
    Column("CREDITS", is_number=True),
    Column("WHEN"),
    Column("RESULT", is_flexible=True),
)


def list_runs(given: dict[str, Any]) -> int:
    """List the runs that the flags select."""
    work = partial(_list, given=given)
    return run_on_record(
        given["config"], given["home"], work, is_json=given["is_json"], empty={"runs": [], "undelivered": 0}
    )


async def _list(store: Store, _: Path, *, given: dict[str, Any]) -> ExitCode:
    runs = await _find(store, given)
    unseen = await store.count_undelivered(owner=given["owner"])
    rows = [await _build_facts(store, run) for run in runs]
    if given["is_json"]:
        print_json({"runs": rows, "undelivered": unseen})
        return ExitCode.DONE
    if rows:
        print_table(_COLUMNS, [_build_row(run, facts) for run, facts in zip(runs, rows, strict=True)])
    else:
        say("No run of this sort is on record.")
    if unseen and not given["is_unseen"]:
        say(f"{unseen} finished run{'s' * (unseen != 1)} not delivered yet: `flowport runs --unseen`.")
    return ExitCode.DONE


async def _find(store: Store, given: dict[str, Any]) -> list[Run]:
    """Return the newest runs that all given flags select."""
    limit = given["limit"]
    get = partial(store.get_runs, account_id=None, owner=given["owner"])
    if given["is_live"]:
        found = list(await store.get_runs_under_way(owner=given["owner"], limit=limit))
    elif given["is_failed"]:
        pages = [await get(limit=limit, undelivered_first=False, state=state) for state in FAILED_STATES]
        found = sorted((run for page in pages for run in page), key=lambda run: run.accepted_at, reverse=True)
    else:
        found = list(await get(limit=limit, undelivered_first=given["is_unseen"]))
    tests: list[Callable[[Run], bool]] = []
    if given["is_unseen"]:
        tests.append(lambda run: run.state.is_final and run.delivered_at is None)
    if given["is_failed"]:
        tests.append(lambda run: run.state in FAILED_STATES)
    return [run for run in found if all(test(run) for test in tests)][:limit]


async def _build_facts(store: Store, run: Run) -> dict[str, Any]:
    """Return a run as JSON; a batch with how many of its rows are over."""
    seconds = None if run.finished_at is None else round(max(0.0, run.finished_at - run.accepted_at), 1)
    facts: dict[str, Any] = {
        "run_id": run.id,
        "app": run.app_name,
        "tool": run.tool_name,
        "provider": run.provider,
        "state": run.state.value,
        "credits": _get_cost(run),
        "price_credits": plain(run.price_credits),
        "accepted_at": format_instant(run.accepted_at),
        "seconds": seconds,
        "is_seen": run.delivered_at is not None,
        "failure": clean_line(run.failure, limit=300),
        "files": [output.saved_path for output in run.outputs if output.saved_path],
    }
    if run.is_batch:
        progress = await store.get_batch_progress(run.id)
        facts |= {"rows": progress.rows, "rows_over": progress.over, "rows_failed": progress.failed}
        facts["credits"] = plain(progress.spent_credits) if run.state.is_final else None
    return facts


def _get_cost(run: Run) -> float | int | str | None:
    """Return what a run has cost, None while it goes on."""
    if not run.state.is_final:
        return None
    return UNKNOWN_COST if run.cost_credits is None else plain(run.cost_credits)


def _build_row(run: Run, facts: dict[str, Any]) -> tuple[object, ...]:
    files = facts["files"]
    result = facts["failure"]
    if run.is_batch:
        result = f"{facts['rows_over']} of {facts['rows']} done"
    elif files:
        result = PurePath(files[0]).name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    elif run.outputs:
        result = clean_line(run.outputs[0].text, limit=60) or f"{len(run.outputs)} not saved"
    cost = "" if facts["credits"] is None else facts["credits"]
    return run.id, run.app_name, run.state.value, cost, _format_when(run.accepted_at), result


def _format_when(instant: float) -> str:
    """Return the time of an instant of today, else its day."""
    at, now = (datetime.fromtimestamp(one, tz=UTC).astimezone() for one in (instant, time.time()))
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d}"
