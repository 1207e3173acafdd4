"""Wait for a run on behalf of a caller, with progress, for as long as the caller's patience is known to last."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

import anyio

from flowport.actions.views.batch import BatchStanding
from flowport.actions.views.run import Standing, format_duration
from flowport.actions.workspace import Desk
from flowport.domain.exchange import Exchange
from flowport.domain.models import LOCAL_OWNER, Run, RunState
from flowport.domain.spending import Consent
from flowport.domain.spending_errors import count_credits
from flowport.runs.batch.prepare import MAX_LIVE_ROWS
from flowport.runs.durations import Usual
from flowport.runs.live import BoardEntry, QueuePlace
from flowport.store.batch_records import BatchTally
from flowport.store.records import get_usual_seconds

PROGRESS_SECONDS: Final = 5.0
"""Between two progress notifications. Clients that reset their timer on progress do so within ten seconds."""


LEDGER_SECONDS: Final = 1.0
"""Between two looks into the ledger at a run that another process follows."""

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


async def wait_for_run(desk: Desk, run: Run, caller: Caller) -> Standing:
    """Return the run when nothing more will change, or as it stands when the wait budget is used up."""
    deadline = caller.arrived_at_seconds + desk.settings.wait_seconds
    await desk.durations.load(run.account_id, run.app_id)
    entry = await _find_entry(desk, run)
    while entry is not None:
        changed = entry.changed
        if entry.is_settled or entry.run.is_followed is False:
            # The board may forget it at any moment; what it said last is the end.
            return _build_standing(desk, entry)
        elapsed = desk.clock.monotonic() - entry.noted_at
        usual = desk.durations.get_usual(run.account_id, run.app_id)
        await caller.report(desk.clock.monotonic() - caller.arrived_at_seconds, format_progress(entry, elapsed, usual))
        remaining = deadline - desk.clock.monotonic()
        if remaining <= 0:
            break
        is_here = desk.runner.get_entry(run.id) is not None
        with entry.wait(), desk.clock.move_on_after(min(remaining, PROGRESS_SECONDS if is_here else LEDGER_SECONDS)):
            await changed.wait()
        entry = await _find_entry(desk, run, entry)
    return await get_standing(desk, run)


async def wait_for_end(desk: Desk, run_id: str, seconds: float) -> None:
    """Wait until a run that this process follows is over, at most so long."""
    with anyio.move_on_after(seconds):
        while (entry := desk.runner.get_entry(run_id)) is not None and not entry.run.state.is_final:
            await entry.changed.wait()


async def _find_entry(desk: Desk, run: Run, last: BoardEntry | None = None) -> BoardEntry | None:
    """Return the entry of a live run, made from the ledger while another process follows it; None when nobody does.

    A run whose process has died meanwhile is taken up, so that whoever waits need not ask again.

    Args:
        last: What was found before; it stays when it has become the end of the run, which the board then forgets.
    """
    if last is not None and last.is_settled:
        return last
    entry = desk.runner.get_entry(run.id)
    if entry is not None:
        return entry
    kept = await desk.ledger.get_run(run.id, account_id=None, owner=run.owner)
    if kept.state.is_final:
        return None
    if not desk.inheritor.is_followed_elsewhere(kept):
        await desk.inheritor.take_up(kept)
        return desk.runner.get_entry(run.id)
    return BoardEntry(kept, noted_at=desk.clock.monotonic() - _get_elapsed_seconds(desk, kept))


async def get_standing(desk: Desk, run: Run) -> Standing:
    """Return how a run stands: by the board while this process follows it, else by the ledger.

    Raises:
        LedgerError: The ledger cannot be read.
        RunNotFound: The run was erased meanwhile.
    """
    entry = desk.runner.get_entry(run.id)
    if entry is None:
        kept = await desk.ledger.get_run(run.id, account_id=None, owner=run.owner)
        problem = KEY_GONE if _is_unreachable(desk, kept) else ""
        return Standing(kept, _get_elapsed_seconds(desk, kept), problem=problem)
    return _build_standing(desk, entry)


def _build_standing(desk: Desk, entry: BoardEntry) -> Standing:
    elapsed = _get_elapsed_seconds(desk, entry.run)
    if not entry.run.state.is_final:
        elapsed = desk.clock.monotonic() - entry.noted_at
    elif entry.over_after_seconds is not None:
        # By the wall clock it may have been a day, or less than nothing.
        elapsed = entry.over_after_seconds
    return Standing(replace(entry.run), elapsed, problem=entry.problem, is_saving=entry.is_saving)


def _is_unreachable(desk: Desk, run: Run) -> bool:
    """Tell whether something of the run is still to be had, and only by a key that is not configured here."""
    is_open = not run.state.is_final or (run.delivered_at is None and any(not one.saved_path for one in run.outputs))
    return is_open and desk.get_account(run.account_id) is None and run.adoption_tried != ""


def format_progress(entry: BoardEntry, elapsed_seconds: float, usual: Usual | None) -> str:
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


def _get_elapsed_seconds(desk: Desk, run: Run) -> float:
    """Return the seconds from acceptance to the end or to now. The wall clock may have jumped, so never below nothing."""
    return max(0.0, (run.finished_at or desk.clock.now()) - run.accepted_at)


QUIET_SECONDS: Final = 1.0
"""Between two progress notifications at the least: hundreds of rows may end at once."""

MIN_ROWS: Final = 3
"""How many rows must be over before they tell how long the others will take."""

_MINUTES_FROM: Final = 90.0


async def wait_for_batch(desk: Desk, batch: Run, caller: Caller) -> BatchStanding:
    """Return the batch when it is over, or as it stands when the wait budget is used up."""
    deadline = caller.arrived_at_seconds + desk.settings.wait_seconds
    durations = await desk.ledger.get_durations(account_id=batch.account_id, app_id=batch.app_id)
    usual, told_at = get_usual_seconds(durations), float("-inf")
    account = desk.get_account(batch.account_id)
    limit = account.budget.limit if account is not None else 0
    while True:
        entry = desk.runner.get_entry(batch.id)
        changed = anyio.Event() if entry is None else entry.changed
        standing = await get_batch_standing(desk, batch)
        now = desk.clock.monotonic()
        if standing.run.state.is_final:
            return standing
        if now - told_at >= QUIET_SECONDS:
            told_at = now
            line = format_batch_progress(standing, usual, desk.clock.now(), requests_per_minute=limit)
            await caller.report(now - caller.arrived_at_seconds, line)
        remaining = deadline - desk.clock.monotonic()
        if remaining <= 0:
            return standing
        waiting = nullcontext() if entry is None else entry.wait()
        with waiting, desk.clock.move_on_after(min(remaining, LEDGER_SECONDS if entry is None else PROGRESS_SECONDS)):
            await changed.wait()
        if entry is None:
            await desk.batches.take_up(standing.run)


async def get_batch_standing(desk: Desk, batch: Run) -> BatchStanding:
    """Return how a batch stands.

    Raises:
        LedgerError: The ledger cannot be read.
        RunNotFound: The batch was erased meanwhile.
    """
    kept = await desk.ledger.get_run(batch.id, account_id=None, owner=batch.owner)
    problem = desk.batches.get_problem(batch)
    if not kept.state.is_final and desk.get_account(kept.account_id) is None:
        problem = KEY_GONE
    elapsed = max(0.0, (kept.finished_at or desk.clock.now()) - kept.accepted_at)
    return BatchStanding(kept, await desk.ledger.get_tally(batch.id), elapsed, problem=problem)


def format_batch_progress(
    standing: BatchStanding, usual_seconds: float | None, now: float, *, requests_per_minute: int = 0
) -> str:
    """Return one line such as `37 of 200 done, 2 failed, 12 running, 151 waiting to start, about 4 min left, 185 credits so far`."""
    tally = standing.tally
    parts = [f"{tally.over} of {tally.rows} done"]
    counts = {
        "failed": tally.failed,
        "of unknown fate": tally.unknown,
        "cancelled": tally.cancelled,
        "running": tally.under_way,
        "waiting to start": tally.unstarted,
        "not started": tally.dropped,
    }
    parts += [f"{count} {word}" for word, count in counts.items() if count]
    left = estimate_left_seconds(tally, usual_seconds, now, requests_per_minute=requests_per_minute)
    if left is not None:
        parts.append(f"about {_format_roughly(left)} left")
    parts += _format_cost(standing.run, tally)
    problem = f" ({standing.problem})" if standing.problem else ""
    return ", ".join(parts) + problem


def _format_cost(batch: Run, tally: BatchTally) -> list[str]:
    """Return what the rows have cost so far; no number where none is known."""
    known = [f"{count_credits(tally.spent_credits)} so far"]
    if not tally.unpriced:
        return known if tally.spent_credits or batch.price_credits is not None else []
    unknown = f"{tally.unpriced} of unknown cost"
    return [*known, unknown] if tally.spent_credits else [unknown]


def estimate_left_seconds(
    tally: BatchTally, usual_seconds: float | None, now: float, *, requests_per_minute: int = 0
) -> float | None:
    """Return how long the rest will take: by the rows that are over, else by the app's earlier runs; None when nobody can tell.

    Args:
        requests_per_minute: The account's, 0 for no limit: each row takes one to start and one to be seen at its end.
    """
    rest = tally.waiting + tally.live
    if tally.over >= MIN_ROWS and tally.first_starting_at is not None:
        return max(0.0, now - tally.first_starting_at) * rest / tally.over
    if usual_seconds is None:
        return None
    asked = 60.0 * (rest + tally.unstarted) / requests_per_minute if requests_per_minute else 0.0
    return max(usual_seconds * -(-rest // MAX_LIVE_ROWS), asked)


def _format_roughly(seconds: float) -> str:
    return format_duration(seconds) if seconds < _MINUTES_FROM else f"{round(seconds / 60)} min"
