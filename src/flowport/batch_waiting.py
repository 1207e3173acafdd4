"""Wait for a batch on behalf of a caller, with progress, for as long as the caller's patience is known to last."""

from contextlib import nullcontext
from typing import Final

import anyio

from flowport.answers import format_duration
from flowport.batch_answers import BatchStanding
from flowport.desk import Desk
from flowport.ledger.batch_records import BatchTally
from flowport.ledger.records import get_usual_seconds
from flowport.model import Run
from flowport.purse_errors import count_credits
from flowport.runner.batching import MAX_LIVE_ROWS
from flowport.waiting import KEY_GONE, LEDGER_SECONDS, PROGRESS_SECONDS, Caller

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
