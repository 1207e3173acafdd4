"""The rows that a call of a batch gives: a list, or a table, named by its path."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from flowport.catalog.arguments import find_input
from flowport.catalog.listing import Listing
from flowport.catalog.values import get_inputs, unwrap_file
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.models import InputKind, JsonValue
from flowport.domain.text import clean_line
from flowport.media.input_files import MediaRules, describe_found, find_beside, find_local_file
from flowport.media.sources import compute_fingerprint, open_source
from flowport.runs.batch.csv_tables import MAX_TABLE_BYTES, Table, parse_table
from flowport.runs.batch.prepare import InputRow
from flowport.runs.batch.report import restore_table

CSV: Final = "csv"
"""The argument that names a table."""

_LINE_END: Final = re.compile(r"[\r\n]")
_TABLE_TEXT: Final = re.compile(
    r"(?!.*\.[ct]sv\W*$)\s*(?:\[\s*\{|\{\s*\"|[^/\\~:]{1,200}[,;\t][^/\\~:]{1,200}(?:\\n.*)?$)", re.DOTALL
)
"""No path, but what a table holds."""
_SUFFIXES: Final = (".csv", ".tsv")
_GIVE: Final = "Give the full path of a .csv file of at most 20 MB on this computer."


async def read_rows(
    given: Mapping[str, JsonValue], listing: Listing, rules: MediaRules
) -> tuple[tuple[InputRow, ...], str]:
    """Return the rows that a call of `run_batch` gives, and a note on how the table was found; empty when as named.

    Raises:
        ArgumentsInvalid: It gives neither rows nor a table or both, or the table cannot be read.
    """
    if ("rows" in given) == (CSV in given):
        raise build_refusal("rows", f"or {CSV} is needed, and not both", "Give the rows, or the path of a table.")
    if CSV in given:
        try:
            return await anyio.to_thread.run_sync(_read_table, str(given[CSV]), listing, rules)
        except ArgumentsInvalid as exc:
            raise ArgumentsInvalid(tuple(map(_advise, exc.problems))) from exc
    rows = given["rows"]
    assert isinstance(rows, list)  # noqa: S101 - the parser of arguments has made it one
    odd = [n for n, row in enumerate(rows, 1) if not isinstance(row, dict)]
    if odd:
        raise build_refusal("rows", f"holds something other than an object as item {odd[0]}", "Each row is an object.")
    return tuple(InputRow(f"row {n}", row) for n, row in enumerate(rows, 1) if isinstance(row, dict)), ""


def _read_table(path: str, listing: Listing, rules: MediaRules) -> tuple[tuple[InputRow, ...], str]:
    """Return the rows of a table: of a file, whose pictures may be named from its own folder, or of the text itself."""
    if _LINE_END.search(path.strip()):
        return _read_text(path.encode(), listing), ""
    if _TABLE_TEXT.match(path):
        raise build_refusal(
            CSV, "is the text of a table or of rows in one line", "Give the path of a .csv file, or rows."
        )
    source = find_local_file(path, argument=CSV, rules=rules)
    # Any other text may be private, and what cannot be understood is partly repeated.
    if source.path.suffix.lower() not in _SUFFIXES:
        raise build_refusal(CSV, "names a file of another kind", f"Its name must end in {' or '.join(_SUFFIXES)}.")
    with open_source(source, argument=CSV, max_bytes=MAX_TABLE_BYTES) as file:
        size_bytes = compute_fingerprint(file, argument=CSV, max_bytes=MAX_TABLE_BYTES).size_bytes
        rows = _read_text(file.read(size_bytes), listing)
    names = {listing.property_names[item.id] for item in listing.app.inputs or () if item.kind.is_media}
    note = describe_found(source, path, argument=CSV, rules=rules)
    return tuple(_find_beside(row, names, source.path.parent, rules) for row in rows), f"{CSV} {note}." if note else ""


def _read_text(data: bytes, listing: Listing) -> tuple[InputRow, ...]:
    """Return the rows of a table by the names of arguments."""
    table = parse_table(data, argument=CSV)
    return _name_columns(restore_table(table, partial(_is_input, listing), partial(_is_free, listing)), listing)


def _find_beside(row: InputRow, names: Collection[str], folder: Path, rules: MediaRules) -> InputRow:
    """Return a row in which pictures that are named from the table's own folder have their full paths."""
    found = {name: _complete(cell, folder, rules) for name, cell in row.arguments.items() if name in names}
    return replace(row, arguments={**row.arguments, **found})


def _complete(cell: JsonValue, folder: Path, rules: MediaRules) -> JsonValue:
    """Return the full path of what a cell names, or each of a list; what names nothing there stays as it is."""
    if isinstance(cell, list):
        return [_complete(one, folder, rules) for one in cell]
    if not isinstance(cell, str):
        return cell
    if cell.lstrip().startswith("{"):
        inner = unwrap_file(cell)
        completed = cell if inner is None or inner == cell else _complete(inner, folder, rules)
        return cell if completed == inner else completed
    if cell.lstrip().startswith("["):
        try:
            listed = json.loads(cell)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            return json.dumps(_complete(listed, folder, rules), ensure_ascii=False)
    return find_beside(cell, folder, rules)


def _advise(problem: ArgumentProblem) -> ArgumentProblem:
    """Return what is wrong with a path without the advice for pictures: a table is never fetched from an address."""
    return replace(problem, expected=_GIVE) if "https URL" in problem.expected else problem


def _name_columns(table: Table, listing: Listing) -> tuple[InputRow, ...]:
    """Return the rows of a table by the names of arguments; a column may have the label of its input instead."""
    names = {column: _find_argument(column, listing) for column in table.columns}
    labels = {item.label.strip() for item in get_inputs(listing.app)}
    if len(names) == 1 and "|" in table.columns[0] and table.columns[0] not in labels:
        shown = clean_line(table.columns[0], limit=60)
        raise build_refusal(
            CSV, f'parts its cells by vertical bars ("{shown}")', "Part them by commas, semicolons or tabs."
        )
    twice = [column for column, name in names.items() if list(names.values()).count(name) > 1]
    if twice:
        shown = " and ".join(f'"{clean_line(column, limit=60)}"' for column in twice[:2])
        raise build_refusal(CSV, f"has two columns for the same argument, {shown}", "Name each argument once.")
    return tuple(
        InputRow(f"row {n} (line {row.line})", {names[column]: cell for column, cell in row.cells.items()})
        for n, row in enumerate(table.rows, 1)
    )


def _is_input(listing: Listing, column: str) -> bool:
    """Tell whether a column is for an argument of the app."""
    return _find_argument(column, listing) in listing.property_names.values()


def _is_free(listing: Listing, column: str) -> bool:
    """Tell whether a column is for an argument that takes values of all types."""
    found = find_input(column, get_inputs(listing.app), listing.property_names)
    return found is not None and found.kind is InputKind.ANY


def _find_argument(column: str, listing: Listing) -> str:
    """Return the argument that a column is for; its own name when it is for none, which is refused with the rows."""
    found = find_input(column, get_inputs(listing.app), listing.property_names)
    return column if found is None else listing.property_names[found.id]
