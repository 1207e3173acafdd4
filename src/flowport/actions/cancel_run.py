"""Cancel a run or a batch as far as its provider can, and say what goes on."""

from collections.abc import Sequence
from typing import Final, assert_never

from flowport.actions.get_run import RUN_ID, find_run
from flowport.actions.tool import Arguments, BuiltInTool, build_input
from flowport.actions.views.batch import format_batch_summary
from flowport.actions.views.view import View
from flowport.actions.workspace import Workspace
from flowport.domain.call_errors import build_refusal, count_credits
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind, Run, RunState
from flowport.domain.uris import names_last
from flowport.network.account import OpenAccount
from flowport.runs.cancellation import CancelOutcome
from flowport.runs.delivery import Caller
from flowport.store.records import BatchProgress

CANCEL_SECONDS: Final = 5.0
"""How long the end of a run is waited for that its provider was asked to cancel."""

_ENDS: Final = {
    RunState.SUCCEEDED: "it succeeded, and get_run has its result",
    RunState.PARTIAL: "it ended with errors, and get_run has what it made",
    RunState.FAILED: "it failed, and get_run tells why",
    RunState.UNKNOWN: "whether it was started is not known",
}
"""How a run that was not cancelled has ended, as the end of a sentence."""

MAX_NAMED: Final = 5
"""Runs under way that a refusal names."""


async def cancel_run(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Cancel the run that `run_id` names, or only stop following it; of a batch, start no more rows."""
    given = CANCEL_RUN.parse(arguments)
    if names_last(str(given["run_id"])):
        raise refuse_last(await workspace.store.get_runs_under_way(owner=caller.owner, limit=MAX_NAMED + 1))
    run = await find_run(workspace, caller, str(given["run_id"]))
    if run.is_batch:
        return await _cancel_batch(workspace, caller, run)
    outcome = await workspace.runner.cancel(run, should_stop_following=bool(given.get("stop_following")))
    if outcome is CancelOutcome.ASKED:
        await workspace.waiter.wait_for_end(run, CANCEL_SECONDS)
    now = (await workspace.waiter.get_run_view(run)).run
    summary = format_cancellation(outcome, now, workspace.get_account(run.account_id))
    return await _answer(workspace, caller, now, summary, outcome)


async def _cancel_batch(workspace: Workspace, caller: Caller, batch: Run) -> View:
    if not batch.state.is_final:
        await workspace.batches.cancel(batch)
    view = await workspace.waiter.get_batch_view(batch)
    if batch.state.is_final:
        summary, outcome = f"The batch is over already. {format_batch_summary(view)}", CancelOutcome.ALREADY_OVER
    else:
        account = workspace.get_account(view.run.account_id)
        summary, outcome = format_batch_cancellation(view.batch_progress, account)
    return await _answer(workspace, caller, view.run, summary, outcome)


async def _answer(workspace: Workspace, caller: Caller, run: Run, summary: str, outcome: CancelOutcome) -> View:
    if run.state is RunState.CANCELLED:
        # The caller learns its end by this answer: there is no more to see.
        await workspace.deliveries.record_answer(run, caller)
    return View({"summary": summary, "run_id": run.id, "outcome": outcome.value, "state": run.state.value})


def refuse_last(under_way: Sequence[Run]) -> ArgumentsInvalid:
    """Return the refusal of "last" as the run to cancel: it is the newest delivered result, so it is over.

    Args:
        under_way: The runs and batches that could be meant, newest first; at least one more than are named if there is.
    """
    named = ", ".join(f"{run.id} ({run.tool_name})" for run in under_way[:MAX_NAMED])
    others = " and others, which list_runs shows" if len(under_way) > MAX_NAMED else ""
    going = f"Under way: {named}{others}. Give the id of one." if under_way else "No run is under way."
    problem = 'is "last", the newest delivered result, which is over, so nothing was cancelled'
    return build_refusal("run_id", problem, going, is_for_run=False)


def format_cancellation(outcome: CancelOutcome, run: Run, account: OpenAccount | None) -> str:
    """Return what came of the request to cancel a run.

    Args:
        run: As it is now.
        account: None when the run's key is no longer configured.
    """
    title = account.provider.title if account else run.provider
    match outcome:
        case CancelOutcome.CANCELLED:
            return "The run is cancelled. Nothing had been sent, so nothing is charged."
        case CancelOutcome.ALREADY_OVER | CancelOutcome.UNKNOWN:
            return _format_over(run, title)
        case CancelOutcome.ASKED:
            return _format_asked(run, title)
        case CancelOutcome.CANNOT if account is not None and account.provider.capabilities.cancel:
            return f"{title} has not named the run yet, so it cannot be cancelled at this moment; try again in a while."
        case CancelOutcome.CANNOT:
            return (
                f"{title} cannot cancel a run that was started: it goes on and is charged. get_run fetches its result; "
                "cancel_run with stop_following true only stops looking at it."
            )
        case CancelOutcome.UNFOLLOWED:
            return (
                f"{title} was not asked to cancel the run: it goes on there and is charged. Flowport no longer looks at "
                "it; get_run takes it up again."
            )
        case _:
            assert_never(outcome)


def format_batch_cancellation(batch_progress: BatchProgress, account: OpenAccount | None) -> tuple[str, CancelOutcome]:
    """Return what came of the request to cancel a batch that is not over, and the outcome.

    Args:
        account: None when the batch's key is no longer configured.
    """
    live = batch_progress.live
    title = account.provider.title if account is not None and account.provider.capabilities.cancel else ""
    if batch_progress.dropped:
        going = "none goes on."
        if live and title:
            going = f"{title} is being asked to cancel {live} that were started, and get_run tells how they end."
        elif live:
            going = f"{live} that were started go on and are charged, and get_run fetches their results."
        return (
            f"{batch_progress.dropped} of {batch_progress.rows} runs were not started and cost nothing; {going}",
            CancelOutcome.CANCELLED,
        )
    all_started = _ALL_STARTED[batch_progress.rows == 1].format(rows=batch_progress.rows)
    if not live:
        return f"Nothing was cancelled. {all_started} and none goes on.", CancelOutcome.ALREADY_OVER
    if title:
        asked = f"{title} is being asked to cancel {live} that {'go' if live > 1 else 'goes'} on"
        return f"{all_started}; {asked}, and get_run tells how they end.", CancelOutcome.ASKED
    going = f" and {_GO_ON[live == 1]}" if live == batch_progress.rows else f"; {live} {_GO_ON[live == 1]}"
    results = "its result" if batch_progress.rows == 1 else "their results"
    return f"Nothing was cancelled. {all_started}{going}, and get_run fetches {results}.", CancelOutcome.CANNOT


_ALL_STARTED: Final = {False: "All {rows} runs were started already", True: "The one run was started already"}
_GO_ON: Final = {False: "go on: they are charged", True: "goes on: it is charged"}


def _format_over(run: Run, title: str) -> str:
    if run.state is RunState.UNKNOWN:
        return (
            f"It is not known whether {title} has started the run, so it cannot be cancelled: if it was started, it goes on "
            "there and is charged. get_run tells what is known."
        )
    if run.state is RunState.CANCELLED:
        return f"The run is cancelled already; {_format_cost(run)}."
    if not run.state.is_final:
        return "The run was not cancelled; get_run shows how it stands."
    return f"The run is over already: {_ENDS[run.state]}."


def _format_cost(run: Run) -> str:
    cost = run.cost_credits
    return "what it has cost is not known" if cost is None else f"what counts as spent is {count_credits(cost)}"


def _format_asked(run: Run, title: str) -> str:
    if run.state is RunState.CANCELLED:
        return f"The run is cancelled; {_format_cost(run)}."
    if run.state.is_final:
        return f"{title} was asked to cancel the run, which was over by then: {_ENDS[run.state]}."
    return f"{title} was asked to cancel the run; get_run tells how it ends and what it has cost."


CANCEL_RUN: Final = BuiltInTool(
    "cancel_run",
    "Cancel a run",
    "Cancel a run if its provider can do that, else say so: a run that was started then goes on and is paid for. "
    "Of a batch, start no more rows.",
    cancel_run,
    (
        RUN_ID,
        build_input("stop_following", InputKind.BOOLEAN, "true: no longer look at a run that cannot be cancelled"),
    ),
    is_read_only=False,
)
