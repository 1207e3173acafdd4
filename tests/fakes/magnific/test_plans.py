"""How long runs are planned to take."""

import pytest

from flowport.sandbox.apps import APPS
from tests.fakes.magnific.plans import PlanChange, PlanQueue, build_plan

APP = APPS[0]


@pytest.mark.parametrize(
    ("change", "pending", "running"),
    [
        (PlanChange(), 1.2, 2.8),
        (PlanChange(total_seconds=10), 1.2, 8.8),
        (PlanChange(total_seconds=1), 1, 0),
        (PlanChange(pending_seconds=5), 5, 2.8),
        (PlanChange(total_seconds=10, pending_seconds=4), 4, 6),
        (PlanChange(total_seconds=1, pending_seconds=4), 4, 0),
    ],
)
def test_the_times_add_up(change: PlanChange, pending: float, running: float) -> None:
    """The speed is for the app's own times; what a test asks for is taken as it is."""
    plan = build_plan(APP, change, 2)
    assert (plan.pending_seconds, plan.running_seconds) == pytest.approx((pending, running))


def test_a_change_waits_for_its_app_and_is_used_once() -> None:
    """Runs of other apps go as they always do."""
    queue = PlanQueue()
    queue.add(PlanChange(app_id="a", output_count=3))
    assert [queue.take("b"), queue.take("a"), queue.take("a")] == [
        PlanChange(),
        PlanChange(app_id="a", output_count=3),
        PlanChange(),
    ]
