"""What events make of a run."""

from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.run_events import Delivered, DeliveryCancelled, RunEvent, apply
from tests.store.samples import build_run

INSTANTS = st.integers(1, 4).map(float)
EVENTS = st.one_of(st.builds(Delivered, INSTANTS, st.sampled_from(["", "a"])), st.builds(DeliveryCancelled, INSTANTS))


@given(st.lists(EVENTS, max_size=6), EVENTS)
def test_an_event_that_is_applied_twice_is_applied_once(events: list[RunEvent], event: RunEvent) -> None:
    """A writer that does not know whether it was heard says it again."""
    run = build_run("run_1")
    for one in events:
        run = apply(run, one)
    once = apply(run, event)
    assert apply(once, event) == once


@given(st.lists(EVENTS, max_size=8))
def test_a_delivery_is_never_taken_back(events: list[RunEvent]) -> None:
    """Whatever comes after it, the last one stands."""
    run = build_run("run_1")
    for event in events:
        run = apply(run, event)
    deliveries = [one.at for one in events if isinstance(one, Delivered)]
    assert run.delivered_at == (deliveries[-1] if deliveries else None)


def test_only_the_delivery_that_is_meant_is_cancelled() -> None:
    """A cancellation may come late."""
    run = apply(build_run("run_1"), Delivered(1.0, "a", "boot", 5.0))
    assert (run.delivered_to, run.delivered_boot_id, run.delivered_boot_seconds) == ("a", "boot", 5.0)
    assert apply(run, DeliveryCancelled(1.0)).is_delivery_cancelled
    assert not apply(run, DeliveryCancelled(2.0)).is_delivery_cancelled
    assert not apply(apply(run, DeliveryCancelled(1.0)), Delivered(2.0)).is_delivery_cancelled
