"""The answer to a request to cancel a batch."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from flowport.actions.cancel_run import format_batch_cancellation, format_cancellation
from flowport.domain.models import RunState
from flowport.network.account import OpenAccount
from flowport.providers.magica.api import Magica
from flowport.providers.magnific.api import Magnific
from flowport.runs.cancellation import CancelOutcome
from flowport.store.records import BatchProgress
from tests.store.samples import build_run

NONE: dict[str, Any] = dict.fromkeys(BatchProgress.__dataclass_fields__, 0) | {
    "stop_reason": "",
    "csv_path": "",
    "csv_problem": "",
}


@pytest.mark.parametrize(
    ("provider", "counts", "outcome", "words"),
    [
        (
            Magnific(),
            {"rows": 1, "live": 1},
            CancelOutcome.CANNOT,
            (
                "Nothing was cancelled. The one run was started already and goes on: it is charged, and get_run fetches its "
                "result."
            ),
        ),
        (
            Magnific(),
            {"rows": 6, "live": 1, "succeeded": 5},
            CancelOutcome.CANNOT,
            (
                "Nothing was cancelled. All 6 runs were started already; 1 goes on: it is charged, and get_run fetches their "
                "results."
            ),
        ),
        (
            Magnific(),
            {"rows": 6, "succeeded": 6},
            CancelOutcome.ALREADY_OVER,
            "Nothing was cancelled. All 6 runs were started already and none goes on.",
        ),
        (
            Magica(),
            {"rows": 6, "live": 6},
            CancelOutcome.ASKED,
            "All 6 runs were started already; Magica is being asked to cancel 6 that go on, and get_run tells how they end.",
        ),
        (
            Magica(),
            {"rows": 6, "live": 2, "dropped": 4},
            CancelOutcome.CANCELLED,
            (
                "4 of 6 runs were not started and cost nothing; Magica is being asked to cancel 2 that were started, and get_run "
                "tells how they end."
            ),
        ),
    ],
)
def test_only_cancelled_runs_are_reported_as_cancelled(
    provider: Magnific | Magica, counts: dict[str, int], outcome: CancelOutcome, words: str
) -> None:
    """A user who reads "cancelled" no longer checks runs that are still paid for."""
    account = cast("OpenAccount", SimpleNamespace(provider=provider))
    assert format_batch_cancellation(BatchProgress(**{**NONE, **counts}), account) == (words, outcome)


@pytest.mark.parametrize("outcome", CancelOutcome)
@pytest.mark.parametrize("state", RunState)
def test_every_outcome_has_a_sentence_for_every_state(outcome: CancelOutcome, state: RunState) -> None:
    """A run may change its state between the request and the answer."""
    account = cast("OpenAccount", SimpleNamespace(provider=Magica()))
    assert format_cancellation(outcome, build_run("run_1", state), account).endswith(".")
