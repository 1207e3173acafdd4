"""Answers that did not arrive."""

from flowport.deliveries import MAX_KEPT, Deliveries


def test_only_the_answer_that_was_lost_is_taken_back_and_only_once() -> None:
    """Request ids begin anew on each connection."""
    lost: list[str] = []
    deliveries = Deliveries(lost.append)
    deliveries.note("stdio", 1, "run_a", "call_a")
    deliveries.note("session x", 1, "run_b", "call_b")
    for _ in range(2):
        deliveries.lose("stdio", 1)
        deliveries.lose("stdio", 2)
    assert lost == ["run_a"]


def test_the_oldest_are_forgotten() -> None:
    """A server lives for weeks in an editor."""
    lost: list[str] = []
    deliveries = Deliveries(lost.append)
    for n in range(MAX_KEPT + 1):
        deliveries.note("stdio", n, f"run_{n}", f"call_{n}")
    deliveries.lose("stdio", 0)
    deliveries.lose("stdio", 1)
    assert lost == ["run_1"]
    assert deliveries.get_last() == ("stdio", MAX_KEPT, f"run_{MAX_KEPT}")


def test_what_is_certainly_not_written_is_never_forgotten() -> None:
    """A client may stop reading and go on asking."""
    lost: list[str] = []
    deliveries = Deliveries(lost.append)
    deliveries.get_unwritten = lambda: {("stdio", 0), ("stdio", "unknown")}
    for n in range(2 * MAX_KEPT):
        deliveries.note("stdio", n, f"run_{n}", f"call_{n}")
    assert deliveries.get_unwritten_calls() == {"call_0"}
    deliveries.lose("stdio", 0)
    deliveries.lose("stdio", 1)
    assert lost == ["run_0"]
