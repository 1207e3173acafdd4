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
    deliveries.expect_confirmation("stdio")
    deliveries.note("session x", 0, "run_x", "call_x")
    for n in range(2 * MAX_KEPT):
        deliveries.note("stdio", n, f"run_{n}", f"call_{n}")
        if n not in {0, 7}:
            deliveries.confirm("stdio", n)
    deliveries.confirm("stdio", "unknown")
    assert deliveries.get_unwritten_calls() == {"call_0", "call_7"}
    deliveries.lose("stdio", 7)
    deliveries.lose_unwritten("stdio")
    deliveries.lose_unwritten("stdio")
    assert (lost, deliveries.get_unwritten_calls()) == (["run_7", "run_0"], frozenset())
