"""The figures of the crash tests, printed at the end of a test run."""

from collections.abc import Sequence

from tests.crash.cells import CELLS, MAGICA_CELLS
from tests.crash.trials import Outcome

OUTCOMES: list[Outcome] = []
"""Of every completed trial of this test run."""
SCHEDULES: list[int] = []
"""The number of intended runs in each schedule of this process."""


def format_figures(outcomes: Sequence[Outcome], schedules: Sequence[int]) -> list[str]:
    """Return the table, line by line; nothing when no trial ran."""
    if not outcomes and not schedules:
        return []
    of_magica = sum(one.cell in MAGICA_CELLS for one in outcomes)
    rows = [
        ("points x faults with real kills", f"{len(outcomes) - of_magica} of {len(CELLS)}, with both providers on"),
        ("points in a run of Magica", f"{of_magica} of {len(MAGICA_CELLS)}"),
        ("schedules in this process", f"{len(schedules)}, with {sum(schedules)} intended runs"),
        ("duplicate starts", sum(one.duplicates for one in outcomes)),
        ("lost runs", sum(one.lost for one in outcomes)),
        (
            "half-written files",
            f"{sum(len(one.half_written) for one in outcomes)} of {sum(one.saved for one in outcomes)}",
        ),
        ("leaked reservations", sum(one.leaked_credits > 0 for one in outcomes)),
    ]
    return [f"{name:<34} {value}" for name, value in rows]
