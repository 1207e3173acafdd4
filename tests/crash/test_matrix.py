"""The crash matrix: killed at every point, with every fault, started again, and asked the same again.

Both providers are on throughout. Most runs are Magnific's; Magica's are killed at every point that they come to.
"""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from tests.crash.cells import AFTER_ANSWER, CELLS, MAGICA_CELLS, Cell
from tests.crash.figures import OUTCOMES
from tests.crash.trials import Outcome


@pytest.mark.parametrize("cell", [*CELLS, *MAGICA_CELLS], ids=str)
def test_a_death_costs_nothing_and_loses_nothing(cell: Cell, trials: Mapping[Cell, Future[Outcome]]) -> None:
    """By the provider's own count and by what lies on the disk, whatever the moment and whatever comes along."""
    outcome = trials[cell].result()
    OUTCOMES.append(outcome)

    assert outcome.faces >= {"flows", "magica"}
    assert outcome.duplicates == 0
    assert outcome.lost == 0
    assert outcome.half_written == ()
    assert outcome.leaked_credits == 0
    assert outcome.delivered + outcome.unknown >= 1
    if cell.point == AFTER_ANSWER and cell.is_unknown is False:
        # Whether the delivery was on record by then, only the process knew: the same result comes again, or another one.
        assert (outcome.unknown, outcome.started) == (0, outcome.delivered)
    elif cell.is_unknown is not None:
        # A delivery that is not on record did not happen: the same result comes again, and costs nothing.
        assert (outcome.unknown, outcome.delivered) == ((1, 0) if cell.is_unknown else (0, 1))
        assert outcome.started <= 1
    assert bool(outcome.refusals) is bool(outcome.unknown)
    for refusal in outcome.refusals:
        assert refusal.startswith("Nothing new was started: run_")
