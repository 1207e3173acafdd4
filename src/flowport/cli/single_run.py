"""What the commands about one run and about the balance do."""

import json
from contextlib import suppress
from functools import partial
from typing import Any, Final

from flowport.actions.cancel_run import cancel_run
from flowport.actions.get_balance import get_balance
from flowport.actions.get_run import get_run
from flowport.actions.views.batch import build_batch_answer
from flowport.actions.views.run import build_receipt, build_run_answer
from flowport.actions.views.view import View
from flowport.cli.console import ExitCode, print_facts, say
from flowport.cli.results import open_outputs, print_run, show_result, word_facts
from flowport.cli.session import Session, run_session
from flowport.domain.errors import ArgumentsInvalid, RunNotFound
from flowport.domain.models import LOCAL_OWNER, RunState
from flowport.domain.uris import parse_run_ids
from flowport.runs.cancellation import CancelOutcome

_CANCEL_CODES: Final = {
    CancelOutcome.CANCELLED: ExitCode.DONE,
    CancelOutcome.ASKED: ExitCode.DONE,
    CancelOutcome.UNFOLLOWED: ExitCode.DONE,
    CancelOutcome.ALREADY_OVER: ExitCode.FAILED,
    CancelOutcome.CANNOT: ExitCode.FAILED,
    CancelOutcome.UNKNOWN: ExitCode.REFUSED,
}


def show_run(given: dict[str, Any]) -> int:
    """Show a run, after its end if that is waited for."""
    return run_session(partial(_show_run, given=given), given)


def open_run(given: dict[str, Any]) -> int:
    """Open the files of a run."""
    return run_session(partial(_open_run, given=given), given)


def cancel(given: dict[str, Any]) -> int:
    """Cancel a run."""
    return run_session(partial(_cancel, given=given), given)


def show_balance(given: dict[str, Any]) -> int:
    """Show what is left."""
    return run_session(partial(_show_balance, given=given), given)


async def _get(session: Session, name: str, *, is_waited: bool) -> View:
    try:
        view = await get_run(session.workspace, session, {"run_id": name, "wait": is_waited})
    except ArgumentsInvalid as exc:
        # Of `last`: nothing was delivered yet.
        raise RunNotFound(name) from exc
    session.run = await session.workspace.store.get_run(view.facts["run_id"], account_id=None, owner=session.owner)
    return view


async def _get_of_other_person(session: Session, name: str) -> View | None:
    """Return how a run of another person stands, without delivering it or waiting for it; None for any other run.

    Only the operator of a server can read its record, so no owner is asked for.
    """
    store, waiter = session.workspace.store, session.workspace.waiter
    for run_id in parse_run_ids(name):
        with suppress(RunNotFound):
            run = await store.get_run_of_any_owner(run_id)
            if run.owner == session.owner:
                return None
            session.run, session.owner = run, run.owner
            if run.is_batch:
                return build_batch_answer(await waiter.get_batch_view(run), await store.get_rows(run.id))
            return build_run_answer(await waiter.get_run_view(run))
    return None


async def _show_run(session: Session, *, given: dict[str, Any]) -> ExitCode:
    view = await _get_of_other_person(session, given["name"])
    if view is None:
        view = await _get(session, given["name"], is_waited=given["is_waited"])
    assert session.run is not None  # noqa: S101 - it was found
    extra: dict[str, Any] = {"arguments": json.loads(session.run.arguments_json)}
    if session.run.owner != LOCAL_OWNER:
        extra["owner"] = session.run.owner
    if not session.run.is_batch:
        extra["receipt"] = build_receipt(session.run)
    code, _ = await show_result(session, view, print_run, extra=extra)
    return code


async def _open_run(session: Session, *, given: dict[str, Any]) -> ExitCode:
    view = await _get(session, given["name"], is_waited=False)
    code, outputs = await show_result(session, view, lambda _: None)
    run_id, is_over = str(view.facts["run_id"]), RunState(str(view.facts["state"])).is_final
    if outputs or is_over:
        opened = open_outputs(run_id, outputs)
        code = opened if outputs else code or opened
    if not is_over:
        say(f"{run_id} is not over. `flowport show {run_id} --wait` waits for its end.")
        return ExitCode.FAILED
    return code


async def _cancel(session: Session, *, given: dict[str, Any]) -> ExitCode:
    arguments = {"run_id": given["name"], "stop_following": given["is_left"]}
    facts = word_facts((await cancel_run(session.workspace, session, arguments)).facts)
    await session.deliver(facts, partial(say, str(facts["summary"])))
    return _CANCEL_CODES[CancelOutcome(str(facts["outcome"]))]


async def _show_balance(session: Session, *, given: dict[str, Any]) -> ExitCode:
    facts = word_facts((await get_balance(session.workspace, session, {"provider": given["provider"]})).facts)

    def show() -> None:
        """Print each account."""
        for account in facts["accounts"]:
            print_facts({name.replace("_", " "): value for name, value in account.items()})

    await session.deliver(facts, show)
    return ExitCode.DONE
