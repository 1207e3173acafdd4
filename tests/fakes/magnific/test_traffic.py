"""Counts and the sliding window."""

from tests.fakes.magnific.traffic import Operation, Traffic


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_the_window_slides() -> None:
    """Sixty seconds after a request there is room again, for as many as have left the window."""
    clock = Clock()
    traffic = Traffic(2, clock)
    assert [traffic.allow(), traffic.allow(), traffic.allow()] == [True, True, False]
    clock.now = 60
    assert traffic.allow()


def test_a_minute_may_be_shorter_than_it_is() -> None:
    """For a client whose clock runs as much faster; what it is given are seconds of that clock."""
    clock = Clock()
    traffic = Traffic(1, clock, minute_seconds=3.0)
    traffic.set_limit(1, reports_delay=True)
    assert [traffic.allow(), traffic.allow(), traffic.get_delay_seconds()] == [True, False, 60]
    clock.now = 2.5
    assert (traffic.allow(), traffic.get_delay_seconds()) == (False, 10)
    clock.now = 3
    assert traffic.allow()


def test_without_a_limit_nothing_is_refused() -> None:
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
    operations = ("list", "list_own", "get", "run", "status", "files", "request_upload", "list_uploads", "list_recent")
    of_magica = ("upload", "status_batch", "cancel", "balance", "estimate", "models", "mcp")
    empty = dict.fromkeys((*operations, *of_magica, "runs_accepted", "refused_429"), 0)
    assert traffic.build_counts() == {**empty, "families": {}, "runs_accepted_by_app": {}}


def test_requests_are_counted_by_path_family_too() -> None:
    """So that a test sees which one a client has tried."""
    traffic = Traffic(0)
    for family in ("flows", "apps", "apps"):
        traffic.count(Operation.LIST, family)
    assert (traffic.build_counts()["list"], traffic.build_counts()["families"]) == (3, {"flows": 1, "apps": 2})


def test_a_limit_reports_the_delay_only_when_reported_to() -> None:
    """Whether the provider sends Retry-After is not known, so clients must live with both."""
    clock = Clock()
    traffic = Traffic(1, clock)
    assert traffic.get_delay_seconds() is None
    traffic.set_limit(1, reports_delay=True)
    assert traffic.get_delay_seconds() == 1
    assert traffic.allow()
    clock.now = 18.5
    assert (traffic.allow(), traffic.get_delay_seconds()) == (False, 42)
    traffic.set_limit(0, reports_delay=False)
    assert traffic.allow()
    traffic.reset()
    assert (traffic.get_delay_seconds(), traffic.allow(), traffic.allow()) == (None, True, False)
