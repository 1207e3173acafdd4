"""What somebody who waits is told."""

from dataclasses import replace

import pytest

from flowport.model import RunState
from flowport.runner.board import BoardEntry
from flowport.waiting import format_progress
from tests.ledger.samples import build_run


def build_entry(state: RunState, *, is_saving: bool = False, problem: str = "") -> BoardEntry:
    """Return a live run."""
    return BoardEntry(replace(build_run("run_abc"), state=state), is_saving=is_saving, problem=problem)


@pytest.mark.parametrize(
    ("entry", "usual", "words"),
    [
        (build_entry(RunState.ACCEPTED), None, "waiting for its turn, 34 s"),
        (build_entry(RunState.STARTING), None, "starting, 34 s"),
        (build_entry(RunState.QUEUED), None, "queued, 34 s"),
        (build_entry(RunState.RUNNING), 60.0, "running, 34 s, usually about 60 s"),
        (build_entry(RunState.SUCCEEDED, is_saving=True), None, "saving the results, 34 s"),
        (build_entry(RunState.RUNNING, problem="No network."), None, "running, 34 s (No network.)"),
    ],
)
def test_progress_is_a_line_that_a_person_understands(entry: BoardEntry, usual: float | None, words: str) -> None:
    """It is the only sign of life for five minutes."""
    assert format_progress(entry, 34.0, usual) == words
