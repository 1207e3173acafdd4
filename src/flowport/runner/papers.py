"""Save the table of a batch beside its outputs: a line for each row, with what it was made of and what came of it."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.to_thread

from flowport.errors import ArgumentProblem, ArgumentsInvalid
from flowport.labels import clean_text
from flowport.ledger.batch_records import RowStanding
from flowport.media.saving import build_batch_path, open_partial
from flowport.model import Run
from flowport.runner.output_file import SavingRules
from flowport.tables import Table, TableRow, format_table, restore_cell

logger = logging.getLogger(__name__)

_OWN_COLUMNS: Final = ("run_id", "state", "credits", "urls", "saved_paths", "text", "error")
_OWN: Final = frozenset({"row", "variation", *_OWN_COLUMNS})
_INPUT: Final = " (input)"
"""What is put behind the name of an input that is called like a column of ours."""
_ELLIPSIS: Final = "…"
_LEAST_CUT: Final = 299
"""Characters of a text that was cut."""
_MAX_TEXT: Final = 10_000
NOT_STARTED: Final = "not started"
FORGOTTEN: Final = "erased"


@dataclass(frozen=True, slots=True)
class SavedPaper:
    """Where a table was saved."""

    path: str = ""
    """Empty when it was not."""
    problem: str = ""
    """Why not, as a clause; empty when it was, or was not meant to be."""


class BatchPaper:
    """Writes tables into the folder of the outputs."""

    def __init__(self, rules: SavingRules, threads: anyio.CapacityLimiter) -> None:
        self._rules = rules
        self._threads = threads

    async def write(self, batch: Run, rows: Sequence[RowStanding], *, at: float) -> SavedPaper:
        """Return where the table lies; nothing is written over, and no half of it is ever seen under its name."""
        if not self._rules.is_wanted:
            return SavedPaper()
        return await anyio.to_thread.run_sync(self._write, batch, rows, at, limiter=self._threads)

    def _write(self, batch: Run, rows: Sequence[RowStanding], at: float) -> SavedPaper:
        # Beside the pictures, which lie under the day on which their runs were accepted, by the clock on the wall.
        made_at = max((row.run.accepted_at for row in rows if row.run is not None and row.run.outputs), default=at)
        date = datetime.fromtimestamp(made_at, tz=UTC).astimezone().strftime("%Y-%m-%d")
        path = build_batch_path(
            self._rules.folder, date=date, tool_name=batch.tool_name, batch_id=batch.id, app_name=batch.app_name
        )
        try:
            with open_partial(path, self._rules.writer) as partial:
                partial.file.write(build_table(rows))
                return SavedPaper(str(partial.publish()))
        except OSError as exc:
            logger.warning("the table of %s could not be saved: %s", batch.id, exc.strerror)
            return SavedPaper(problem=exc.strerror or type(exc).__name__)


def get_row_state(standing: RowStanding) -> str:
    """Return where a row is, in a word or two: the state of its run, or that it has none or was never sent."""
    if standing.run is not None:
        return NOT_STARTED if standing.is_cancelled_unsent else standing.run.state.value
    if standing.is_begun:
        return FORGOTTEN
    return NOT_STARTED if standing.is_dropped else "waiting"


def build_table(rows: Sequence[RowStanding]) -> bytes:
    """Return the table as a file."""
    arguments = [json.loads(one.row.shown_json) for one in rows]
    inputs = list(dict.fromkeys(name for one in arguments for name in one))
    # An input of a stranger's app may be called like a column of ours.
    heads = [f"{name}{_INPUT}" if name in _OWN else name for name in inputs]
    lines = [
        _build_line(one, [_format_cell(given.get(name)) for name in inputs])
        for one, given in zip(rows, arguments, strict=True)
    ]
    return format_table(["row", "variation", *heads, *_OWN_COLUMNS], lines)


def restore_table(table: Table, is_input: Callable[[str], bool]) -> Table:
    """Return a table of a batch that is given back as the rows that made it; any other table as it is.

    Args:
        table: As it was read; a person may have sorted it, taken columns out or filled in others.
        is_input: Whether a column is that of an input.

    Raises:
        ArgumentsInvalid: A text was cut when the table was saved.
    """
    named = {column.removesuffix(_INPUT).strip() for column in table.columns if column.endswith(_INPUT)}
    own = [one for one in table.columns if one.lower() in _OWN and (one in named or not is_input(one))]
    if not _is_ours(own, table):
        return table
    columns = {
        one: one.removesuffix(_INPUT).strip() if one.endswith(_INPUT) else one
        for one in table.columns
        if one not in own
    }
    rows = [
        TableRow(row.line, {columns[name]: restore_cell(cell) for name, cell in row.cells.items() if name in columns})
        for row in table.rows
    ]
    for row in rows:
        for name, cell in row.cells.items():
            if cell.endswith(_ELLIPSIS) and len(cell) >= _LEAST_CUT:
                problem = f"has a {name} on line {row.line} that was cut when the table was saved"
                raise ArgumentsInvalid((ArgumentProblem("csv", problem, "Write the whole text there."),))
    return Table(tuple(columns.values()), tuple(rows))


def _is_ours(own: Sequence[str], table: Table) -> bool:
    """Tell whether these columns are ours: several of them, or one that only we fill so."""
    if len(own) > 1:
        return True
    return own == ["run_id"] and all(row.cells.get("run_id", "run_").startswith("run_") for row in table.rows)


def _build_line(standing: RowStanding, inputs: list[str]) -> list[str]:
    run = standing.run
    outputs = run.outputs if run is not None else ()
    return [
        str(standing.row.given_n),
        str(standing.row.variation),
        *inputs,
        run.id if run is not None else "",
        get_row_state(standing),
        _format_cost(run),
        "\n".join(output.link for output in outputs if output.link),
        "\n".join(output.saved_path for output in outputs if output.saved_path),
        "\n".join(clean_text(output.text, limit=_MAX_TEXT) for output in outputs if output.text),
        run.failure if run is not None else "",
    ]


def _format_cost(run: Run | None) -> str:
    if run is None or not run.state.is_final:
        return "0" if run is None else ""
    return "unknown" if run.cost_credits is None else f"{run.cost_credits:g}"


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
