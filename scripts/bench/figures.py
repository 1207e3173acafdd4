"""The figures of a measurement, and their table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    limit: str
    is_reached: bool


def print_figures(figures: Sequence[Figure]) -> None:
    """Print the table."""
    print(f"\n{'what':90} {'measured':>12} {'trigger':>10}")
    for figure in figures:
        mark = "" if figure.is_reached else "  MISSED"
        print(f"{figure.what:90} {figure.measured:>12} {figure.limit:>10}{mark}")
