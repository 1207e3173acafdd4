"""Concurrent trials, and the table of their results."""

import queue
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.crash.benches import Bench, open_bench
from tests.crash.cells import Cell
from tests.crash.figures import OUTCOMES, SCHEDULES, format_figures
from tests.crash.trials import Outcome, play

SIDE_BY_SIDE = 2
"""Concurrent Flowports; a trial is mostly waiting."""


@pytest.fixture(scope="module")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Cell, Future[Outcome]]]:
    """Play the cells of the selected tests, two at a time; each test checks its own outcome."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    cells = [spec.params["cell"] for spec in specs if spec is not None and "cell" in spec.params]
    folder = tmp_path_factory.mktemp("crash")
    benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()

    def play_at_a_free_bench(cell: Cell) -> Outcome:
        bench = benches.get()
        try:
            return play(cell, bench, folder / str(cell))
        finally:
            benches.put(bench)

    with ExitStack() as stack:
        for number in range(SIDE_BY_SIDE):
            benches.put(stack.enter_context(open_bench(folder / f"sandbox-{number}")))
        pool = stack.enter_context(ThreadPoolExecutor(SIDE_BY_SIDE))
        yield {cell: pool.submit(play_at_a_free_bench, cell) for cell in cells}
        pool.shutdown(cancel_futures=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    for line in format_figures(OUTCOMES, SCHEDULES):
        terminalreporter.write_line(line)
