"""The progress messages of a batch; `test_batches` tests the waiting itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.runs.batch.service import format_stopped
from flowport.runs.live import BatchView
from flowport.runs.progress import estimate_left_seconds, format_batch_progress
from tests.actions.test_batch_views import BATCH, TALLY
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import open_harness


@pytest.mark.parametrize(
    ("changes", "usual", "message"),
    [
        (
            {"unsent": 21},
            60.0,
            "37 of 200 done, 1 failed, 1 of unknown fate, 12 running, 151 waiting to start, about 9 min left, 185 credits so far",
        ),
        (
            {"failed": 0, "unknown": 0, "succeeded": 37},
            None,
            "37 of 200 done, 33 running, 130 waiting to start, about 9 min left, 185 credits so far",
        ),
        (
            {"waiting": 0, "dropped": 130},
            None,
            "37 of 200 done, 1 failed, 1 of unknown fate, 33 running, 130 not started, about 2 min left, 185 credits so far",
        ),
        (
            {"waiting": 160, "live": 40, "succeeded": 0, "failed": 0, "unknown": 0, "spent_credits": 0.0},
            30.0,
            "0 of 200 done, 40 running, 160 waiting to start, about 30 s left, 0 credits so far",
        ),
        (
            {"waiting": 160, "live": 40, "unsent": 40, "succeeded": 0, "failed": 0, "unknown": 0, "spent_credits": 0.0},
            None,
            "0 of 200 done, 200 waiting to start, 0 credits so far",
        ),
        (
            {"first_starting_at": None},
            None,
            "37 of 200 done, 1 failed, 1 of unknown fate, 33 running, 130 waiting to start, 185 credits so far",
        ),
        (
            {"waiting": 0, "live": 4, "succeeded": 194},
            None,
            "196 of 200 done, 1 failed, 1 of unknown fate, 4 running, about 2 s left, 185 credits so far",
        ),
    ],
)
def test_progress_is_a_readable_line(changes: dict[str, Any], usual: float | None, message: str) -> None:
    """The estimate comes from the rows that are over, else from the app's earlier runs."""
    view = BatchView(BATCH, replace(TALLY, **changes), 120.0)
    assert format_batch_progress(view, usual, 1120.0) == message


def test_a_batch_takes_at_least_the_time_of_its_requests() -> None:
    """Two thousand starts at fifty a minute take forty minutes, however quick the app is."""
    fresh = replace(TALLY, rows=2000, waiting=1936, live=64, succeeded=0, failed=0, unknown=0, partial=0)
    assert estimate_left_seconds(fresh, 30.0, 1000.0) == 300.0
    assert estimate_left_seconds(fresh, 30.0, 1000.0, requests_per_minute=50) == 60.0 * 3936 / 50
    unsent = replace(fresh, unsent=44)
    assert estimate_left_seconds(unsent, 30.0, 1000.0, requests_per_minute=50) == 60.0 * 3980 / 50


def test_problems_are_reported_with_the_progress() -> None:
    """A waiting user sees why nothing happens; a clock that was set back gives no negative time."""
    view = BatchView(BATCH, TALLY, 120.0, problem="The disk is full.")
    assert format_batch_progress(view, None, 1120.0).endswith("credits so far (The disk is full.)")
    assert estimate_left_seconds(TALLY, None, 0.0) == 0.0


async def test_the_reason_for_unsent_rows_is_reported(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A batch that waits until tomorrow looks like one that hangs."""
    limits: dict[str, Any] = {"requests_per_minute": 600, "requests_per_day": 8, "max_tools": 0}
    async with open_harness(sandbox, tmp_path / "person", **limits) as flowport:
        rows = [{"note": str(n)} for n in range(20)]
        batch_id = (await flowport.ask("run_batch", app="always_fails", rows=rows, wait=False))["run_id"]
        with anyio.fail_after(60):
            while not (facts := await flowport.ask("get_run", run_id=batch_id, wait=False)).get("problem"):
                await anyio.lowlevel.checkpoint()
    assert facts["problem"].startswith("The day's requests are used up, and Magnific was not asked to start the run.")
    assert facts["problem"].endswith("Nothing was sent; Flowport goes on by itself.")


@pytest.mark.parametrize(("failures", "words"), [(1, "At least 1 row failed, so"), (2, "At least 2 rows failed, so")])
def test_the_reason_for_stopping_is_a_sentence(failures: int, words: str) -> None:
    """It is part of the answer."""
    assert format_stopped(failures).startswith(words)
