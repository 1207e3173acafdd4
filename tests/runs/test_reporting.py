"""When runs are polled whose ends a provider announces: rarely while that works, and as usual when it does not."""

from dataclasses import replace

import pytest

from flowport.runs.steps import (
    REPORTED_MARGIN_SECONDS,
    Pace,
    PollState,
    Reporting,
    get_next_pause,
    get_ripe_at,
    note_failure,
    note_poll,
)

USUAL = 60.0
RUN = PollState(0.0, 0.0, 0.0, usual_seconds=USUAL)
REPORTED = replace(RUN, is_reported=True)
PAUSE = get_next_pause(Pace(), polls=0, failures=0)


@pytest.mark.parametrize("is_waited", [True, False])
def test_a_reported_run_is_polled_after_most_are_over(*, is_waited: bool) -> None:
    """The first poll comes at twice the usual duration at the earliest, and with a margin for short runs."""
    run = replace(REPORTED, is_waited=is_waited)
    assert get_ripe_at(run, PAUSE) == run.due_at >= 2 * USUAL + REPORTED_MARGIN_SECONDS
    assert get_ripe_at(replace(run, is_reported=False), PAUSE) == PAUSE


def test_an_announced_run_is_polled_at_once() -> None:
    """Neither the pace nor the usual duration delays it, whether a call waits for it or not."""
    for is_waited in (True, False):
        run = replace(REPORTED, is_waited=is_waited, announced_at=3.0)
        assert get_ripe_at(run, PAUSE) == run.due_at == 3.0


def test_announced_rows_wait_for_others_where_one_request_reads_several() -> None:
    """A run that a call waits for does not."""
    run = replace(REPORTED, announced_at=3.0, gather_seconds=20.0)
    assert replace(run, is_waited=False).due_at == 23.0
    assert run.due_at == 3.0


def test_after_a_false_announcement_the_usual_pace_finds_the_end() -> None:
    """The provider may answer from before the end for a while."""
    run = note_poll(replace(REPORTED, announced_at=3.0), 3.2, 3.1)
    assert (run.announced_at, run.was_misled, run.is_reported) == (None, True, False)
    assert get_ripe_at(run, get_next_pause(Pace(), polls=1, failures=0)) == 7.2


def test_an_announcement_during_a_poll_causes_another() -> None:
    """The answer may have been made before the end."""
    run = note_poll(replace(REPORTED, announced_at=3.15), 3.2, 3.1)
    assert (run.announced_at, run.was_misled) == (3.15, False)
    assert get_ripe_at(run, 4.0) == 3.15


def test_after_a_failed_poll_the_usual_pauses_hold() -> None:
    """An announcement is spent by it, so that a provider that is down is not asked again and again."""
    run = note_failure(replace(REPORTED, announced_at=3.0), 3.2)
    assert (run.announced_at, run.is_reported) == (None, False)
    assert get_ripe_at(run, 2.0) == 5.2


def test_a_poll_before_the_announcement_changes_no_rule() -> None:
    """It was made because the run takes longer than usual, and goes on to be reported."""
    run = note_poll(REPORTED, 130.0, 129.9)
    assert (run.is_reported, run.was_misled) == (True, False)
    assert get_ripe_at(run, 4.0) == run.due_at == 160.0


def test_webhooks_are_relied_on_once_one_has_come_and_while_ends_are_announced() -> None:
    """Two ends in a row without an event end that; one event of an end begins it again, one of a start does not."""
    reporting = Reporting()
    assert not reporting.is_reliable
    reporting = reporting.note_beginning()
    assert reporting.is_reliable
    reporting = reporting.note_missed()
    assert reporting.is_reliable
    reporting = reporting.note_missed()
    assert not reporting.is_reliable
    assert not reporting.note_beginning().is_reliable
    assert reporting.note_end().is_reliable
    assert reporting.note_end().note_missed().is_reliable
