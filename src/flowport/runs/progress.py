"""How far a run or a batch is, in one line for a person."""

from typing import Final

from flowport.domain.call_errors import count_credits
from flowport.domain.models import Run, RunState
from flowport.domain.text import format_duration
from flowport.runs.live import BatchView, LiveRun, QueuePlace
from flowport.runs.poll import Usual
from flowport.runs.steps import get_max_live_rows
from flowport.store.records import BatchProgress

MIN_ROWS: Final = 3
"""How many rows must be over before they show how long the others will take."""

_MINUTES_FROM: Final = 90.0


def format_progress(entry: LiveRun, elapsed_seconds: float, usual: Usual | None) -> str:
    """Return one line such as `running, 34 s; usually 60 s, at most 95 s for nine of ten`.

    Args:
        elapsed_seconds: Since the run was accepted. At the provider it counts from its start.
        usual: How long the app's runs take; None when it is not known.
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
    """Return what may still be expected; the estimate never lies in the past."""
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
    """Return how long the rest will take: by the rows that are over, else by the app's earlier runs; None when that cannot be known.

    Args:
        requests_per_minute: The account's, 0 for no limit: each row takes one to start and one to learn of its end.
    """
    rest = batch_progress.waiting + batch_progress.live
    if batch_progress.over >= MIN_ROWS and batch_progress.first_starting_at is not None:
        return max(0.0, now - batch_progress.first_starting_at) * rest / batch_progress.over
    if usual_seconds is None:
        return None
    asked = 60.0 * (rest + batch_progress.unstarted) / requests_per_minute if requests_per_minute else 0.0
    return max(usual_seconds * -(-rest // get_max_live_rows(requests_per_minute)), asked)


def _format_roughly(seconds: float) -> str:
    return format_duration(seconds) if seconds < _MINUTES_FROM else f"{round(seconds / 60)} min"
