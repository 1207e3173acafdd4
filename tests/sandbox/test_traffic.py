"""Counts and the sliding window."""

from flowport.sandbox.traffic import Operation, Traffic


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_the_window_slides() -> None:
    """Sixty seconds after a request there is room again, for as many as have left the window."""
    clock = Clock()
    traffic = Traffic(2, clock)
    assert [traffic.allow(), traffic.allow(), traffic.allow()] == [True, True, False]
    clock.now = 60
    assert traffic.allow()


def test_no_limit_is_none() -> None:
    """Zero turns the limiter off."""
    traffic = Traffic(0)
    assert all(traffic.allow() for _ in range(200))


def test_counts_start_at_zero_again_after_a_reset() -> None:
    """The names are those of the switch."""
    traffic = Traffic(0)
    traffic.count(Operation.FILE)
    traffic.count_accepted("a")
    traffic.count_answer(429)
    assert (traffic.build_counts()["files"], traffic.build_counts()["runs_accepted"]) == (1, 1)
    traffic.reset()
    empty = dict.fromkeys(("list", "list_own", "get", "run", "status", "files", "runs_accepted", "refused_429"), 0)
    assert traffic.build_counts() == {**empty, "runs_accepted_by_app": {}}
