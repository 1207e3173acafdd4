"""What a process knows about its live runs."""

from dataclasses import replace

import pytest

from flowport.domain.models import RunState
from flowport.runs.live import LiveRuns
from tests.runs.samples import RUN

OVER = replace(RUN, state=RunState.SUCCEEDED)


def test_a_known_run_keeps_its_entry(live_runs: LiveRuns) -> None:
    """A caller that waits on the entry must not be left with one that is no longer updated."""
    first = live_runs.put(RUN, noted_at=1.0)
    assert live_runs.put(OVER, noted_at=2.0) is first
    assert (first.run, first.noted_at) == (RUN, 1.0)


def test_a_change_sets_the_event_and_replaces_it(live_runs: LiveRuns) -> None:
    """A handler waits for the next change, not for one that it has seen."""
    entry = live_runs.put(RUN, noted_at=0.0)
    bell = entry.changed
    live_runs.update(OVER, is_saving=True, problem="The network is down.")

    assert (bell.is_set(), entry.changed.is_set()) == (True, False)
    assert (entry.run, entry.is_saving, entry.problem) == (OVER, True, "The network is down.")


def test_an_update_without_a_saving_state_keeps_it_and_clears_the_problem(live_runs: LiveRuns) -> None:
    """A successful poll clears the message of the failed one."""
    entry = live_runs.put(RUN, noted_at=0.0)
    live_runs.update(OVER, is_saving=True, problem="The network is down.")
    live_runs.update(OVER)
    assert (entry.is_saving, entry.problem) == (True, "")


def test_the_problem_of_a_row_is_reported_for_its_batch(live_runs: LiveRuns) -> None:
    """The next row would have the same problem, and it explains why the batch makes no progress."""
    row = replace(RUN, batch_id="batch_1")
    batch = live_runs.put(replace(RUN, id="batch_1", row_count=2), noted_at=0.0)
    bell = batch.changed
    live_runs.put(row, noted_at=0.0)
    live_runs.note_refused("run_unheard_of", "Not here.")
    assert (batch.refusal, bell.is_set(), live_runs.get_row_problem("batch_1")) == ("", False, "")
    live_runs.note_refused(row.id, "The key is refused.")
    live_runs.update(row, problem="It is busy.")
    assert (batch.refusal, bell.is_set(), live_runs.get_row_problem("batch_1")) == (
        "The key is refused.",
        True,
        "It is busy.",
    )
    live_runs.update(replace(row, state=RunState.RUNNING), problem="It is busy.")
    assert live_runs.get_row_problem("batch_1") == ""


def test_an_unknown_run_is_not_updated(live_runs: LiveRuns) -> None:
    """Late updates of a removed run's task are ignored."""
    live_runs.update(OVER)
    live_runs.note_unwritten(RUN.id)
    live_runs.remove(RUN.id)
    assert live_runs.get(RUN.id) is None


def test_removing_a_run_wakes_its_waiters(live_runs: LiveRuns) -> None:
    """They read the store then."""
    entry = live_runs.put(RUN, noted_at=0.0)
    live_runs.remove(RUN.id)
    assert (live_runs.get(RUN.id), entry.changed.is_set()) == (None, True)


def test_a_run_whose_end_is_not_in_the_store_stays(live_runs: LiveRuns) -> None:
    """The list of live runs is then the only record of its end."""
    entry = live_runs.put(RUN, noted_at=0.0)
    live_runs.note_unwritten(RUN.id)
    live_runs.remove(RUN.id)
    assert live_runs.get(RUN.id) is entry


def test_only_runs_that_are_not_over_are_live(live_runs: LiveRuns) -> None:
    """The poll interval depends on their number."""
    for n, state in enumerate(RunState):
        live_runs.put(replace(RUN, id=f"run_{n}", state=state), noted_at=0.0)
    assert len(live_runs._live) == 4


@pytest.mark.parametrize(
    ("state", "is_saving", "is_settled"),
    [(RunState.RUNNING, False, False), (RunState.SUCCEEDED, True, False), (RunState.SUCCEEDED, False, True)],
)
def test_a_run_is_settled_when_it_is_over_and_saved(
    live_runs: LiveRuns, state: RunState, *, is_saving: bool, is_settled: bool
) -> None:
    """An answer before that would lack the paths of the files."""
    entry = live_runs.put(RUN, noted_at=0.0)
    live_runs.update(replace(RUN, state=state), is_saving=is_saving)
    assert entry.is_settled is is_settled
