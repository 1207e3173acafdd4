"""Save the report of a batch beside its outputs: a table with the arguments and the result of each row."""

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from flowport.domain.call_errors import build_refusal
from flowport.domain.models import LOCAL_OWNER, JsonValue, Run, RunState
from flowport.domain.principal import Principal
from flowport.domain.text import clean_text
from flowport.media.saving import build_batch_path, open_partial
from flowport.runs.batch.csv_tables import (
    MAX_CELL_CHARACTERS,
    MAX_TABLE_BYTES,
    Table,
    TableRow,
    cut_cell,
    format_exact,
    format_table,
    is_cut,
    parse_exact,
)
from flowport.runs.file_links import FileLinks
from flowport.runs.output_file import SavingRules
from flowport.store.records import BatchArguments, RowStatus

logger = logging.getLogger(__name__)

_OWN_COLUMNS: Final = ("run_id", "state", "credits", "urls", "saved_paths", "text", "error")
_OWN: Final = frozenset({"row", "variation", *_OWN_COLUMNS})
_INPUT: Final = " (input)"
"""Suffix of an input whose name is one of our columns."""
_CELL_LIMITS: Final = (MAX_CELL_CHARACTERS - 10_000, 20_000, 4_000, 1_000, 300)
"""Of one cell: with the first one the table can be given back whole, with room for apostrophes."""
_MAX_TEXT: Final = 10_000
NOT_STARTED: Final = "not started"
FORGOTTEN: Final = "erased"
_WAITING: Final = "waiting"
_STATES: Final = "|".join((*RunState, NOT_STARTED, FORGOTTEN, _WAITING))
_FILLED: Final = {
    "row": re.compile(r"[0-9]+"),
    "run_id": re.compile(r"run_.*", re.DOTALL),
    "state": re.compile(_STATES, re.IGNORECASE),
    "urls": re.compile(r"https?://.*", re.DOTALL),
    "saved_paths": re.compile(r"(?:/|[A-Za-z]:\\).*", re.DOTALL),
}
"""The content of our columns that other tables hardly have under the same name."""


@dataclass(frozen=True, slots=True)
class SavedReport:
    """Where a report was saved."""

    path: str = ""
    """Empty when it was not saved."""
    problem: str = ""
    """Why not, as a clause; empty when it was saved, or should not be."""


class BatchReport:
    """Writes reports into the folder of the outputs."""

    def __init__(self, rules: SavingRules, threads: anyio.CapacityLimiter, links: FileLinks | None = None) -> None:
        self._links = links or FileLinks()
        self._rules = rules
        self._threads = threads

    @property
    def is_wanted(self) -> bool:
        """Whether reports are saved at all."""
        return self._rules.is_wanted

    async def write(
        self,
        batch: Run,
        rows: Sequence[RowStatus],
        kept: BatchArguments | None = None,
        free: Collection[str] | None = None,
        *,
        at: float,
    ) -> SavedReport:
        """Return where the report is; nothing is overwritten, and its name never shows half of it.

        `kept` and `free` are those of `build_table`.
        """
        if not self._rules.is_wanted:
            return SavedReport()
        # Of an owner other than the person at this computer, who gets the table by a link.
        reader = Principal(batch.owner, is_local=batch.owner == LOCAL_OWNER)
        build = partial(build_table, self._links.show_rows(rows, reader), kept, free)
        return await anyio.to_thread.run_sync(self._write, batch, rows, build, at, limiter=self._threads)

    def _write(self, batch: Run, rows: Sequence[RowStatus], build: Callable[[], bytes], at: float) -> SavedReport:
        # Beside the pictures, which are in the folder of the local date on which their runs were accepted.
        made_at = max((row.run.accepted_at for row in rows if row.run is not None and row.run.outputs), default=at)
        date = datetime.fromtimestamp(made_at, tz=UTC).astimezone().strftime("%Y-%m-%d")
        path = build_batch_path(
            self._rules.get_folder(batch.owner),
            date=date,
            tool_name=batch.tool_name,
            batch_id=batch.id,
            app_name=batch.app_name,
        )
        try:
            with open_partial(path, self._rules.writer) as draft:
                draft.file.write(build())
                return SavedReport(str(draft.publish()))
        except OSError as exc:
            logger.warning("the table of %s could not be saved: %s", batch.id, exc.strerror)
            return SavedReport(problem=exc.strerror or type(exc).__name__)


def get_row_state(view: RowStatus) -> str:
    """Return the state of a row: that of its run, or that it has none or was never sent."""
    if view.run is not None:
        return NOT_STARTED if view.is_cancelled_unsent else view.run.state.value
    if view.is_begun:
        return FORGOTTEN
    return NOT_STARTED if view.is_dropped else _WAITING


def build_table(
    rows: Sequence[RowStatus], kept: BatchArguments | None = None, free: Collection[str] | None = None
) -> bytes:
    """Return the report as a file, with all arguments of each row, so that the table can start the same rows again.

    Args:
        rows: All of them.
        kept: Their arguments; without them a line shows what the record shows.
        free: The arguments that distinguish the number 3 from the text "3"; None when unknown.
    """
    given = _get_given(rows, kept)
    inputs = list(dict.fromkeys(name for one in given for name in one))
    is_free = {name: free is None or name in free for name in inputs} if kept is not None else {}
    # An input may have the name of one of our columns.
    heads = [f"{name}{_INPUT}" if name in _OWN else name for name in inputs]
    results = _fit([_build_results(row) for row in rows], MAX_TABLE_BYTES // 2)
    cells = [[format_exact(one.get(name), is_free=is_free.get(name, False)) for name in inputs] for one in given]
    # The rest is for the inputs, less quotes, apostrophes and the header.
    inner = _fit(cells, (MAX_TABLE_BYTES - _count_bytes(results)) * 4 // 5)
    lines = [
        [str(row.row.table_row), str(row.row.variation), *mine, *theirs]
        for row, mine, theirs in zip(rows, inner, results, strict=True)
    ]
    return format_table(["row", "variation", *heads, *_OWN_COLUMNS], lines)


def _get_given(rows: Sequence[RowStatus], kept: BatchArguments | None) -> list[dict[str, JsonValue]]:
    """Return the arguments of each row, the inputs in the app's order."""
    shown: list[dict[str, JsonValue]] = [json.loads(one.row.display_json) for one in rows]
    if kept is None:
        return shown
    shared: dict[str, JsonValue] = json.loads(kept.shared_json)
    given = []
    for row, known in zip(rows, shown, strict=True):
        own = json.loads(kept.own_json.get(row.row.n, "{}"))
        # An erased row shows nothing, and an empty text counts only as a choice that was sent.
        said = {name: one for name, one in {**shared, **own}.items() if one != "" or known.get(name) == ""}
        given.append({name: said[name] for name in (*known, *said) if name in said} if known else {})
    return given


def _fit(cells: Sequence[Sequence[str]], most_bytes: int) -> list[list[str]]:
    """Return the cells, the longest of them cut until all together fit."""
    sizes = {id(cell): len(cell.encode("utf-8", "replace")) for line in cells for cell in line}
    fits = [
        limit for limit in _CELL_LIMITS if sum(min(sizes[id(c)], limit) for line in cells for c in line) <= most_bytes
    ]
    limit = fits[0] if fits else _CELL_LIMITS[-1]
    return [[cut_cell(cell, limit=limit) for cell in line] for line in cells]


def _count_bytes(cells: Sequence[Sequence[str]]) -> int:
    return sum(len(cell.encode("utf-8", "replace")) for line in cells for cell in line)


def restore_table(
    table: Table, is_input: Callable[[str], bool], is_free: Callable[[str], bool] = lambda _: False
) -> Table:
    """Return the rows that made the report of a batch when it is given back; any other table as it is.

    Args:
        table: As parsed; a person may have sorted it, removed columns or filled in others.
        is_input: Whether a column is that of an input.
        is_free: Whether that input distinguishes the number 3 from the text "3".

    Raises:
        ArgumentsInvalid: A text was cut when the table was saved, or by a spreadsheet.
    """
    named = {one: _strip_input(one) for one in table.columns if one.endswith(_INPUT) and not is_input(one)}
    own = [one for one in table.columns if one.lower() in _OWN and (one in named.values() or not is_input(one))]
    if not _is_ours(own, table) and not (named and all(map(is_input, named.values()))):
        return table
    columns = {one: named.get(one, one) for one in table.columns if one not in own}
    rows = [_restore_row(row, columns, is_free) for row in table.rows if _is_row(row, own)]
    return Table(tuple(columns.values()), tuple(rows))


def _strip_input(column: str) -> str:
    return column.removesuffix(_INPUT).strip()


def _restore_row(row: TableRow, columns: Mapping[str, str], is_free: Callable[[str], bool]) -> TableRow:
    cells: dict[str, JsonValue] = {}
    for column, cell in row.cells.items():
        if column not in columns:
            continue
        name, text = columns[column], str(cell)
        if is_cut(text):
            problem = f"has a {name} on line {row.line} that was cut when the table was saved"
            raise build_refusal("csv", problem, "Write the whole text there, or a file's path.")
        cells[name] = parse_exact(text, is_free=is_free(name))
    return TableRow(row.line, cells)


def _is_ours(own: Sequence[str], table: Table) -> bool:
    """Return whether these columns are ours: several of them, or one with content that only we write."""
    if len(own) != 1:
        return len(own) > 1
    wanted = _FILLED.get(own[0].lower())
    filled = [str(row.cells[own[0]]) for row in table.rows if own[0] in row.cells]
    return wanted is not None and all(map(wanted.fullmatch, filled))


def _is_row(row: TableRow, own: Sequence[str]) -> bool:
    """Return whether a line is a row: a total below the last row has no input, run or state."""
    if any(column not in own for column in row.cells):
        return True
    cells = {column.lower(): str(cell).strip() for column, cell in row.cells.items()}
    return any(name in cells and _FILLED[name].fullmatch(cells[name]) is not None for name in ("run_id", "state"))


def _build_results(view: RowStatus) -> list[str]:
    run = view.run
    outputs = run.outputs if run is not None else ()
    return [
        run.id if run is not None else "",
        get_row_state(view),
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
