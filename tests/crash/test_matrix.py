"""The crash matrix: killed at every point, with every fault, started again, and called again.

Both providers are configured throughout. Most runs are Magnific's; Magica's are killed at every point that they reach.
"""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from tests.crash.cells import AFTER_ANSWER, CELLS, MAGICA_CELLS, Cell
from tests.crash.figures import OUTCOMES
from tests.crash.trials import Outcome


@pytest.mark.parametrize("cell", [*CELLS, *MAGICA_CELLS], ids=str)
def test_a_kill_costs_nothing_and_loses_nothing(cell: Cell, trials: Mapping[Cell, Future[Outcome]]) -> None:
    """By the provider's own count and by the files on the disk, at every point and with every fault."""
    outcome = trials[cell].result()
    OUTCOMES.append(outcome)

    assert outcome.faces >= {"flows", "magica"}
    assert outcome.duplicates == 0
    assert outcome.lost == 0
    assert outcome.half_written == ()
    assert outcome.leaked_credits == 0
    assert outcome.delivered + outcome.unknown >= 1
    if cell.point == AFTER_ANSWER and cell.is_unknown is False:
        # Only the process knew whether the delivery was recorded: the same result comes again, or another one.
        assert (outcome.unknown, outcome.started) == (0, outcome.delivered)
    elif cell.is_unknown is not None:
        # An unrecorded delivery did not happen: the same result comes again, and costs nothing.
        assert (outcome.unknown, outcome.delivered) == ((1, 0) if cell.is_unknown else (0, 1))
        assert outcome.started <= 1
    assert bool(outcome.refusals) is bool(outcome.unknown)
    for refusal in outcome.refusals:
        assert refusal.startswith("Nothing new was started: run_")
