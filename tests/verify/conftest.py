"""Tests that are too slow for `make test`, or need the network, npm or other programs.

`make verify` runs them, a bare pytest does not.
"""

from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that `-m "not verify"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.verify)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print for each cell how many runs were started for one that was wanted."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    found = [value for report in reports for value in _get_cells(report)]
    columns = list(dict.fromkeys(column for _, column, _ in found))
    rows: dict[str, dict[str, str]] = {}
    for row, column, text in found:
        rows.setdefault(row, {})[column] = text
    if rows:
        terminalreporter.write_line("".join(f"{cell:<26}" for cell in ("", *columns)).rstrip())
    for row, cells in rows.items():
        text = "".join(f"{cells.get(column, ''):<26}" for column in columns)
        terminalreporter.write_line(f"{row:<26}{text}".rstrip())


def _get_cells(report: pytest.TestReport) -> list[tuple[str, str, str]]:
    cells: list[Any] = [value for name, value in report.user_properties if name == "one start"]
    return cells if getattr(report, "when", "") == "call" else []
