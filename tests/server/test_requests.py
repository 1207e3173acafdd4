"""The ids under which requests are passed on."""

from flowport.server.requests import MAX_KEPT, RequestTable


def test_an_id_is_passed_on_as_it_is_while_nothing_speaks_against_it() -> None:
    """And again when its request was answered."""
    table = RequestTable()
    for _ in range(2):
        request = table.begin("c", 7)
        assert (request.inner_id, request.is_renamed, table.find("c", 7)) == (7, False, request)
        request.exchange.note_written()
        table.end(request, is_answered=True)
    assert table.find("c", 7) is None


def test_an_id_that_the_library_would_take_for_another_is_renamed() -> None:
    """It takes 7 and "7" for the same, and keeps what belongs to a request under it."""
    table = RequestTable()
    first = table.begin("c", 7)
    others = [table.begin("c", one) for one in (7, "7")]
    assert not table.begin("other", 7).is_renamed
    assert [one.is_renamed for one in others] == [True, True]
    assert len({one.inner_id for one in (first, *others)}) == 3
    assert [table.find("c", one.inner_id) for one in others] == others


def test_an_id_whose_request_was_not_answered_is_not_used_again() -> None:
    """The library may still be busy with the first one, and would answer the second in its place."""
    table = RequestTable()
    first = table.begin("c", 7)
    assert table.cancel("c", 7) == [first]
    assert table.begin("c", 7).is_renamed
    # It was answered all the same, and nobody was told.
    table.end(first, is_answered=True)
    assert not table.begin("c", 7).is_renamed


def test_a_cancellation_means_the_requests_in_progress_or_else_the_last_one() -> None:
    """An id may be used again once its request is over."""
    table = RequestTable()
    assert table.cancel("c", 7) == []
    old = table.begin("c", 7)
    old.exchange.note_written()
    table.end(old, is_answered=True)
    assert table.cancel("c", 7) == [old]
    new = [table.begin("c", 7) for _ in range(2)]
    assert table.cancel("c", "7") == []
    assert table.find_inner_ids("c", 7) == [one.inner_id for one in new]
    assert table.cancel("c", 7) == new
    assert table.find_inner_ids("c", 7) == [new[-1].inner_id]
    assert table.find_inner_ids("c", "7") == ["7"]


def test_what_is_over_is_remembered_for_a_while_and_no_longer() -> None:
    """A server lives for weeks in an editor."""
    table = RequestTable()
    for n in range(MAX_KEPT + 2):
        request = table.begin("c", n)
        table.end(request, is_answered=n % 2 == 0)
    assert table.cancel("c", 1) == []
    assert not table.begin("c", 1).is_renamed
    assert len(table.cancel("c", MAX_KEPT)) == 1
