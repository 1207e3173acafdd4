"""Wait for a run on behalf of a caller, with progress, for as long as the caller's patience is known to last."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

import anyio

from flowport.actions.views.batch import BatchView
from flowport.actions.views.run import RunView
from flowport.actions.workspace import Workspace
from flowport.domain.exchange import Exchange
from flowport.domain.models import LOCAL_OWNER, Run, RunState
from flowport.domain.spending import Consent
from flowport.domain.spending_errors import count_credits
from flowport.domain.text import format_duration
from flowport.runs.durations import Usual
from flowport.runs.live import LiveRun, QueuePlace
from flowport.runs.poll_schedule import get_live_rows
from flowport.store.batch_records import BatchProgress
from flowport.store.records import get_usual_seconds

PROGRESS_SECONDS: Final = 5.0
"""Between two progress notifications. Clients that reset their timer on progress do so within ten seconds."""


STORE_SECONDS: Final = 1.0
"""Between two looks into the store at a run that another process follows."""

KEY_GONE: Final = "The key that started this run is no longer configured, and the present key cannot read it."


async def _cannot_ask(_: str, __: float) -> Consent:
    return Consent.CANNOT_ASK


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, since when, and how to reach them."""

    arrived_at_seconds: float
    """Monotonic seconds at which the call arrived; the wait budget counts from it."""
    report: Callable[[float, str], Awaitable[None]]
    """Tells the client how it goes: a number that only grows, and a message for a person."""
    owner: str = LOCAL_OWNER
    connection: str = ""
    """What the call came over; calls of one connection have the same."""
    client: str = ""
    """What the client calls itself, cleaned; empty when it does not say."""
    ask: Callable[[str, float], Awaitable[Consent]] = _cannot_ask
    """Asks the person a question and waits so many seconds for the answer."""
    exchange: Exchange = field(default_factory=Exchange)
    """The request; it tells whether the client is still there, and whether the answer was written."""


async def wait_for_run(workspace: Workspace, run: Run, caller: Caller) -> RunView:
    """Return the run when nothing more will change, or as it stands when the wait budget is used up."""
    deadline = caller.arrived_at_seconds + workspace.settings.wait_seconds
    await workspace.durations.load(run.account_id, run.app_id)
    entry = await _find_entry(workspace, run)
    while entry is not None:
        changed = entry.changed
        if entry.is_settled or entry.run.is_followed is False:
            # The list of live runs may forget it at any moment; what it said last is the end.
            return _build_view(workspace, entry)
        elapsed = workspace.clock.monotonic() - entry.noted_at
        usual = workspace.durations.get_usual(run.account_id, run.app_id)
        await caller.report(
            workspace.clock.monotonic() - caller.arrived_at_seconds, format_progress(entry, elapsed, usual)
        )
        remaining = deadline - workspace.clock.monotonic()
        if remaining <= 0:
            break
        is_here = workspace.runner.get_entry(run.id) is not None
        with (
            entry.wait(),
            workspace.clock.move_on_after(min(remaining, PROGRESS_SECONDS if is_here else STORE_SECONDS)),
        ):
            await changed.wait()
        entry = await _find_entry(workspace, run, entry)
    return await get_run_view(workspace, run)


async def wait_for_end(workspace: Workspace, run_id: str, seconds: float) -> None:
    """Wait until a run that this process follows is over, at most so long."""
    with anyio.move_on_after(seconds):
        while (entry := workspace.runner.get_entry(run_id)) is not None and not entry.run.state.is_final:
            await entry.changed.wait()


async def _find_entry(workspace: Workspace, run: Run, last: LiveRun | None = None) -> LiveRun | None:
    """Return the entry of a live run, made from the store while another process follows it; None when nobody does.

    A run whose process has died meanwhile is taken up, so that whoever waits need not ask again.

    Args:
        last: What was found before; it stays when it has become the end of the run, which the list of live runs then forgets.
    """
    if last is not None and last.is_settled:
        return last
    entry = workspace.runner.get_entry(run.id)
    if entry is not None:
        return entry
    kept = await workspace.store.get_run(run.id, account_id=None, owner=run.owner)
    if kept.state.is_final:
        return None
    if not workspace.claimer.is_followed_elsewhere(kept):
        await workspace.claimer.resume(kept)
        return workspace.runner.get_entry(run.id)
    return LiveRun(kept, noted_at=workspace.clock.monotonic() - _get_elapsed_seconds(workspace, kept))


async def get_run_view(workspace: Workspace, run: Run) -> RunView:
    """Return how a run stands: by the list of live runs while this process follows it, else by the store.

    Raises:
        StoreError: The store cannot be read.
        RunNotFound: The run was erased meanwhile.
    """
    entry = workspace.runner.get_entry(run.id)
    if entry is None:
        kept = await workspace.store.get_run(run.id, account_id=None, owner=run.owner)
        problem = KEY_GONE if _is_unreachable(workspace, kept) else ""
        return RunView(kept, _get_elapsed_seconds(workspace, kept), problem=problem)
    return _build_view(workspace, entry)


def _build_view(workspace: Workspace, entry: LiveRun) -> RunView:
    elapsed = _get_elapsed_seconds(workspace, entry.run)
    if not entry.run.state.is_final:
        elapsed = workspace.clock.monotonic() - entry.noted_at
    elif entry.over_after_seconds is not None:
        # By the wall clock it may have been a day, or less than nothing.
        elapsed = entry.over_after_seconds
    return RunView(replace(entry.run), elapsed, problem=entry.problem, is_saving=entry.is_saving)


def _is_unreachable(workspace: Workspace, run: Run) -> bool:
    """Tell whether something of the run is still to be had, and only by a key that is not configured here."""
    is_open = not run.state.is_final or (run.delivered_at is None and any(not one.saved_path for one in run.outputs))
    return is_open and workspace.get_account(run.account_id) is None and run.adoption_tried != ""


def format_progress(entry: LiveRun, elapsed_seconds: float, usual: Usual | None) -> str:
    """Return one line such as `running, 34 s; usually 60 s, at most 95 s for nine of ten`.

    Args:
        elapsed_seconds: Since the run was accepted. At the provider it counts from its start.
        usual: How long the app's runs take; None when nobody knows.
    """
    states = {
        RunState.ACCEPTED: "waiting for its turn",
        RunState.STARTING: "starting",
        RunState.QUEUED: "queued",
        RunState.RUNNING: "running",
    }
    run = entry.run
    state = "saving the results" if entry.is_saving else states.get(run.state, run.state.value)
    hint = ""
    if run.state is RunState.ACCEPTED:
        hint = _format_place(entry.get_place())
    elif run.state.is_at_provider:
        elapsed_seconds = max(0.0, elapsed_seconds - ((run.started_at or run.accepted_at) - run.accepted_at))
        hint = _format_usual(elapsed_seconds, usual)
    problem = f" ({entry.problem})" if entry.problem else ""
    return f"{state}, {format_duration(elapsed_seconds)}{hint}{problem}"


def _format_place(place: QueuePlace | None) -> str:
    if place is None:
        return ""
    ending = "th" if place.place % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(place.place % 10, "th")
    wait = f", about {format_duration(place.seconds)}" if place.seconds >= 1 else ""
    return f"; {place.place}{ending} in the queue{wait}"


def _format_usual(elapsed_seconds: float, usual: Usual | None) -> str:
    """Return what may still be expected; what is past is not promised."""
    if usual is None:
        return ""
    if elapsed_seconds > usual.most_seconds:
        return "; longer than usual"
    most = f"at most {format_duration(usual.most_seconds)} for nine of ten"
    return (
        f"; {most}"
        if elapsed_seconds > usual.median_seconds
        else f"; usually {format_duration(usual.median_seconds)}, {most}"
    )


def _get_elapsed_seconds(workspace: Workspace, run: Run) -> float:
    """Return the seconds from acceptance to the end or to now. The wall clock may have jumped, so never below nothing."""
    return max(0.0, (run.finished_at or workspace.clock.now()) - run.accepted_at)


QUIET_SECONDS: Final = 1.0
"""Between two progress notifications at the least: hundreds of rows may end at once."""

MIN_ROWS: Final = 3
"""How many rows must be over before they tell how long the others will take."""

_MINUTES_FROM: Final = 90.0


async def wait_for_batch(workspace: Workspace, batch: Run, caller: Caller) -> BatchView:
    """Return the batch when it is over, or as it stands when the wait budget is used up."""
    deadline = caller.arrived_at_seconds + workspace.settings.wait_seconds
    durations = await workspace.store.get_durations(account_id=batch.account_id, app_id=batch.app_id)
    usual, told_at = get_usual_seconds(durations), float("-inf")
    account = workspace.get_account(batch.account_id)
    limit = account.budget.limit if account is not None else 0
    while True:
        entry = workspace.runner.get_entry(batch.id)
        changed = anyio.Event() if entry is None else entry.changed
        view = await get_batch_view(workspace, batch)
        now = workspace.clock.monotonic()
        if view.run.state.is_final:
            return view
        if now - told_at >= QUIET_SECONDS:
            told_at = now
            line = format_batch_progress(view, usual, workspace.clock.now(), requests_per_minute=limit)
            await caller.report(now - caller.arrived_at_seconds, line)
        remaining = deadline - workspace.clock.monotonic()
        if remaining <= 0:
            return view
        waiting = nullcontext() if entry is None else entry.wait()
        with (
            waiting,
            workspace.clock.move_on_after(min(remaining, STORE_SECONDS if entry is None else PROGRESS_SECONDS)),
        ):
            await changed.wait()
        if entry is None:
            await workspace.batches.resume(view.run)


async def get_batch_view(workspace: Workspace, batch: Run) -> BatchView:
    """Return how a batch stands.

    Raises:
        StoreError: The store cannot be read.
        RunNotFound: The batch was erased meanwhile.
    """
    kept = await workspace.store.get_run(batch.id, account_id=None, owner=batch.owner)
    problem = workspace.batches.get_problem(batch)
    if not kept.state.is_final and workspace.get_account(kept.account_id) is None:
        problem = KEY_GONE
    elapsed = max(0.0, (kept.finished_at or workspace.clock.now()) - kept.accepted_at)
    return BatchView(kept, await workspace.store.get_batch_progress(batch.id), elapsed, problem=problem)


def format_batch_progress(
    view: BatchView, usual_seconds: float | None, now: float, *, requests_per_minute: int = 0
) -> str:
    """Return one line such as `37 of 200 done, 2 failed, 12 running, 151 waiting to start, about 4 min left, 185 credits so far`."""
    batch_progress = view.batch_progress
    parts = [f"{batch_progress.over} of {batch_progress.rows} done"]
    counts = {
        "failed": batch_progress.failed,
        "of unknown fate": batch_progress.unknown,
        "cancelled": batch_progress.cancelled,
        "running": batch_progress.under_way,
        "waiting to start": batch_progress.unstarted,
        "not started": batch_progress.dropped,
    }
    parts += [f"{count} {word}" for word, count in counts.items() if count]
    left = estimate_left_seconds(batch_progress, usual_seconds, now, requests_per_minute=requests_per_minute)
    if left is not None:
        parts.append(f"about {_format_roughly(left)} left")
    parts += _format_cost(view.run, batch_progress)
    problem = f" ({view.problem})" if view.problem else ""
    return ", ".join(parts) + problem


def _format_cost(batch: Run, batch_progress: BatchProgress) -> list[str]:
    """Return what the rows have cost so far; no number where none is known."""
    known = [f"{count_credits(batch_progress.spent_credits)} so far"]
    if not batch_progress.unpriced:
        return known if batch_progress.spent_credits or batch.price_credits is not None else []
    unknown = f"{batch_progress.unpriced} of unknown cost"
    return [*known, unknown] if batch_progress.spent_credits else [unknown]


def estimate_left_seconds(
    batch_progress: BatchProgress, usual_seconds: float | None, now: float, *, requests_per_minute: int = 0
) -> float | None:
    """Return how long the rest will take: by the rows that are over, else by the app's earlier runs; None when nobody can tell.

    Args:
        requests_per_minute: The account's, 0 for no limit: each row takes one to start and one to be seen at its end.
    """
    rest = batch_progress.waiting + batch_progress.live
    if batch_progress.over >= MIN_ROWS and batch_progress.first_starting_at is not None:
        return max(0.0, now - batch_progress.first_starting_at) * rest / batch_progress.over
    if usual_seconds is None:
        return None
    asked = 60.0 * (rest + batch_progress.unstarted) / requests_per_minute if requests_per_minute else 0.0
    return max(usual_seconds * -(-rest // get_live_rows(requests_per_minute)), asked)


def _format_roughly(seconds: float) -> str:
    return format_duration(seconds) if seconds < _MINUTES_FROM else f"{round(seconds / 60)} min"
