"""Parse CSV as people and spreadsheets write it, and format CSV that spreadsheets read. Pure.

Cells are data: nothing is evaluated here, and no written cell begins like a formula.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Final

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.models import JsonValue
from flowport.domain.text import clean_line

MAX_TABLE_BYTES: Final = 20_000_000
"""More than the arguments of a batch may have: the table that it saves holds its results too, and doubles each quote."""
MAX_COLUMNS: Final = 200
_MAX_PROBLEMS: Final = 5

_DELIMITERS: Final = ",;\t"
_SPREADSHEETS_WORD: Final = re.compile(r"sep=([,;\t|])\r?\n", re.IGNORECASE)
"""A spreadsheet writes it before the header to name the delimiter."""
_RESAVED_WORD: Final = re.compile(r'(?:"sep=[,;\t|]"[,;\t|]*|sep=[,;\t|][,;\t|]+)\r?\n', re.IGNORECASE)
"""The same after a program took it for a row and saved it with its own delimiter."""
_OTHER_FORMATS: Final = (
    (re.compile(r"\s*(?:\[\s*[\[{]|\{\s*\")"), "holds JSON and no table", "Give it as rows instead."),
    (
        re.compile(r"\s*<(?:!doctype|html|head|body|table|\?xml)\b", re.IGNORECASE),
        "holds a web page and no table",
        "Save the table as CSV in UTF-8 and give its full path.",
    ),
)
"""Not a table, whatever its file is called."""
_FENCE: Final = re.compile(r"\s*```[A-Za-z]*[^\S\n]*\r?\n(.*?)\r?\n?```\s*", re.DOTALL)
"""A code block in a chat."""
_DELIMITER_NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_HEADER_CHARACTERS: Final = 100_000
"""Of the beginning of a table, which are read to find the delimiter."""
MAX_CELL_CHARACTERS: Final = 131_072
_WIDE_STARTS: Final = "\uff1d\uff0b\uff0d\uff20"
"""The full-width forms of the same marks; some spreadsheets treat them alike."""
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", *_WIDE_STARTS)
_INNER_STARTS: Final = re.compile(rf"([;\t\r\n] *)(?=[=+\-@{_WIDE_STARTS}])")
"""Where a cell would begin like a formula for a program that uses another delimiter."""
_NEUTRALISED: Final = re.compile(rf"([;\t\r\n] *)'(?=[=+\-@{_WIDE_STARTS}])")
_CUT: Final = re.compile(r"\u2026 \((?:cut: )?[\d,]+ characters(?: in all)?\)$")
_ELLIPSIS: Final = "\u2026"
_LEAST_CUT: Final = 299
"""The length at which an earlier version cut a text."""
_CUT_CHARACTERS: Final = 300
_SPREADSHEET_CHARACTERS: Final = 32_767
"""The most that a spreadsheet keeps of a cell, in UTF-16 units; it drops the rest silently."""
_FLAGS: Final = {"true": True, "false": False}
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
_NAME: Final = re.compile(r"\s*[^\W\d]")
_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")
_SAVE_AS: Final = "Save the table as CSV in UTF-8 and give its full path."


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table."""

    line: int
    """The line of the file on which it ends, from 1."""
    cells: Mapping[str, JsonValue]
    """By column, without empty cells. Text, except in a table that Flowport saved."""


@dataclass(frozen=True, slots=True)
class Table:
    """The content of a file."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def parse_table(data: bytes, *, argument: str) -> Table:
    """Return the table in a file: UTF-8, with or without a byte order mark, delimited by commas, semicolons or tabs.

    Rows without any text are dropped.

    Raises:
        ArgumentsInvalid: It is not such a table; with all problems.
    """
    text = _decode(data, argument)
    for pattern, problem, expected in _OTHER_FORMATS:
        if pattern.match(text):
            raise build_refusal(argument, problem, expected)
    fenced = _FENCE.fullmatch(text)
    text = fenced[1] if fenced else text
    named = _SPREADSHEETS_WORD.match(text)
    passed = named or _RESAVED_WORD.match(text)
    body = text[passed.end() :] if passed else text
    delimiter = named[1] if named else _guess_delimiter(body)
    first_line = 1 + (passed is not None) + (fenced is not None)
    rows = _skip_comments(_iterate_rows(body, delimiter, first_line))
    try:
        header, found = next(rows, (0, []))[1], list(rows)
        header, found = _drop_blank_columns(header, found)
        columns = _check_columns(header, argument)
    except _CellBroken as exc:
        raise build_refusal(
            argument, f"cannot be read as a table: line {exc.line} has {exc.problem}", _SAVE_AS
        ) from exc
    problems = filter(None, (_find_overhang(argument, line, cells, columns, delimiter) for line, cells in found))
    if overhangs := tuple(islice(problems, _MAX_PROBLEMS)):
        raise _find_title(argument, columns, found) or ArgumentsInvalid(overhangs)
    return Table(columns, tuple(_build_row(line, cells, columns) for line, cells in found))


def format_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Return a table as a file that spreadsheets open, without formulas in its cells."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerow([neutralise(column) for column in columns])
    writer.writerows([neutralise(cell) for cell in row] for row in rows)
    # With a byte order mark, without which some spreadsheets assume an older encoding.
    return text.getvalue().encode("utf-8-sig", errors="replace")


def neutralise(cell: str) -> str:
    """Return a cell that no spreadsheet evaluates as a formula; a plain number stays one."""
    if _PLAIN_NUMBER.fullmatch(cell):
        return cell
    return _INNER_STARTS.sub(r"\1'", f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell)


def restore_cell(cell: str) -> str:
    """Return what `neutralise` was given; a cell that a person wrote in this form is changed too."""
    if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS):
        cell = cell[1:]
    return _NEUTRALISED.sub(r"\1", cell)


def format_exact(value: JsonValue, *, is_free: bool = False) -> str:
    """Return a cell that `parse_exact` reads as this value, also after a spreadsheet or an editor has saved the table.

    A text is written as it is, unless it could be read as something else or be rewritten; then as JSON.

    Args:
        value: What an argument was given.
        is_free: Whether the input distinguishes the number 3 from the text "3".
    """
    if value is None:
        return ""
    if isinstance(value, str) and _is_plain(value, is_free=is_free):
        return value
    # No apostrophe, which could be taken for the prefix of a formula.
    return json.dumps(value, ensure_ascii=False).replace("'", r"\u0027")


def parse_exact(cell: str, *, is_free: bool = False) -> JsonValue:
    """Return what `format_exact` was given: the text itself, or for an input of any type the number or flag."""
    text = restore_cell(cell).replace("\r\n", "\n").replace("\r", "\n")
    quoted = _parse_quoted(text)
    if quoted is not None and not _is_plain(quoted, is_free=True):
        return quoted
    scalar = _parse_scalar(text) if is_free else None
    return text if scalar is None else scalar


def cut_cell(cell: str, *, limit: int) -> str:
    """Return a cell, cut with a mark that `is_cut` finds when it is longer than the limit."""
    return cell if len(cell) <= limit else f"{cell[:_CUT_CHARACTERS]}{_ELLIPSIS} (cut: {len(cell):,} characters in all)"


def is_cut(cell: str) -> bool:
    """Return whether a cell lost its end: when the table was saved, or in a spreadsheet."""
    return _is_marked_cut(cell) or _count_units(cell) == _SPREADSHEET_CHARACTERS


def _is_marked_cut(text: str) -> bool:
    return _CUT.search(text) is not None or (len(text) >= _LEAST_CUT and text.endswith(_ELLIPSIS))


def _count_units(text: str) -> int:
    """Return the units of UTF-16 in a text that may be as long as a spreadsheet's cell."""
    return len(text) if len(text) < _SPREADSHEET_CHARACTERS // 2 else len(text.encode("utf-16-le", "replace")) // 2


def _is_plain(text: str, *, is_free: bool) -> bool:
    """Return whether a text may stand in a cell as it is."""
    if not text.strip() or "\r" in text or "\0" in text or is_cut(text):
        return False
    if restore_cell(neutralise(text)) != text or (is_free and _parse_scalar(text) is not None):
        return False
    quoted = _parse_quoted(text)
    return quoted is None or _is_plain(quoted, is_free=True)


def _parse_quoted(text: str) -> str | None:
    """Return the text of a JSON string; None for anything else."""
    if not (text.startswith('"') and text.endswith('"')):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _parse_scalar(text: str) -> int | float | bool | None:
    """Return the number or flag that a text writes, or None."""
    if (flag := _FLAGS.get(text.lower())) is not None:
        return flag
    if not _JSON_NUMBER.fullmatch(text):
        return None
    return float(text) if re.search("[.eE]", text) else int(text)


def _decode(data: bytes, argument: str) -> str:
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise build_refusal(argument, "names a workbook and no table of text", _SAVE_AS)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise build_refusal(argument, "names a file that is not UTF-8 text", _SAVE_AS)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise build_refusal(argument, f"names a file that is not in UTF-8 from line {line} on", _SAVE_AS) from exc


class _CellBroken(Exception):
    """A cell cannot be read."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@cache
def _build_cell(delimiter: str) -> re.Pattern[str]:
    """Return the pattern of one cell with what ends it. Spaces around the quotes are dropped."""
    mark = re.escape(delimiter)
    space = rf"[^\S\r\n{mark}]*+"
    quoted = rf'{space}"(?P<quoted>[^"]*+(?:""[^"]*+)*+)"{space}'
    return re.compile(rf"(?:{quoted}|(?P<plain>[^{mark}\r\n]*+))(?P<end>{mark}|\r\n|\r|\n|\Z)")


def _iterate_rows(text: str, delimiter: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """Give the rows with the line on which each ends, counted from the number of the first line.

    Raises:
        _CellBroken: A quoted cell does not end, continues behind its quotes, or is too long.
    """
    pattern, place, cells = _build_cell(delimiter), 0, list[str]()
    while place < len(text) or cells:
        found = pattern.match(text, place)
        quoted, plain = (found["quoted"], found["plain"]) if found else (None, "")
        if found is None or (quoted is None and plain.lstrip().startswith('"')):
            raise _explain_quote(text, place, line)
        cell = plain if quoted is None else quoted.replace('""', '"')
        if len(cell) > MAX_CELL_CHARACTERS:
            raise _CellBroken(line, "a cell that is too long")
        line += len(_LINE_END.findall(quoted or ""))
        cells.append(cell)
        place = found.end()
        if found["end"] == delimiter:
            continue
        yield line, cells
        line += 1
        cells = []


def _explain_quote(text: str, place: int, line: int) -> _CellBroken:
    start = text.index('"', place)
    end = re.compile(r'"[^"]*+(?:""[^"]*+)*+"').match(text, start)
    space = "a space before a quote, and " if start > place else ""
    if end is None:
        return _CellBroken(line, f"{space}a quote that does not end")
    # A quote that should begin another cell may have ended this one, so both lines are named.
    if inner := len(_LINE_END.findall(end[0])):
        return _CellBroken(line, f"{space}a quote that ends on line {line + inner} with text behind it")
    return _CellBroken(line, f"{space}text behind its end" if space else "text behind the end of a quote")


def _skip_comments(rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Give the rows with text, without comments before the header."""
    filled = ((line, cells) for line, cells in rows if any(map(str.strip, cells)))
    is_head = True
    for line, cells in filled:
        is_head = is_head and cells[0].lstrip().startswith("#") and not any(map(str.strip, cells[1:]))
        if not is_head:
            yield line, cells


def _guess_delimiter(text: str) -> str:
    """Return the delimiter with which the header has the most cells."""
    return max(_DELIMITERS, key=partial(_count_columns, text[:_HEADER_CHARACTERS]))


def _count_columns(text: str, delimiter: str) -> int:
    try:
        rows = (cells for _, cells in _iterate_rows(text, delimiter, 1) if "".join(cells).strip() or cells[1:])
        return next((len(cells) for cells in rows if cells[1:] or not cells[0].lstrip().startswith("#")), 0)
    except _CellBroken:
        return 0


def _drop_blank_columns(
    header: list[str], found: list[tuple[int, list[str]]]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return a table without empty, unnamed columns between others."""
    width = max((place for place, name in enumerate(header, 1) if name.strip()), default=0)
    blank = {
        place
        for place, name in enumerate(header[:width])
        if not name.strip() and not any(cells[place : place + 1] and cells[place].strip() for _, cells in found)
    }
    if not blank:
        return header, found
    rows = [(line, [cell for n, cell in enumerate(cells) if n not in blank]) for line, cells in found]
    return [name for n, name in enumerate(header) if n not in blank], rows


def _check_columns(header: Sequence[str], argument: str) -> tuple[str, ...]:
    columns = tuple(cell.strip() for cell in header)
    while columns and not columns[-1]:
        columns = columns[:-1]
    if not columns:
        raise build_refusal(argument, "names a file without a first row of names", "Its first row names the arguments.")
    if len(columns) > MAX_COLUMNS:
        raise build_refusal(argument, f"has {len(columns)} columns", f"It may have {MAX_COLUMNS}.")
    if "" in columns:
        raise build_refusal(
            argument, f"has no name for column {columns.index('') + 1}", "Its first row names the arguments."
        )
    twice = next((column for place, column in enumerate(columns) if column in columns[:place]), None)
    if twice is not None:
        raise build_refusal(argument, f'has two columns "{clean_line(twice, limit=60)}"', "Name each argument once.")
    return columns


def _find_overhang(
    argument: str, line: int, cells: Sequence[str], columns: Sequence[str], delimiter: str
) -> ArgumentProblem | None:
    if any(cell.strip() for cell in cells[len(columns) :]):
        problem = f"has {len(cells)} cells in the row that ends on line {line}, and names for {len(columns)}"
        mark = _DELIMITER_NAMES[delimiter]
        return ArgumentProblem(argument, problem, f"A cell with a {mark} in it must begin and end with a double quote.")
    return None


def _find_title(
    argument: str, columns: Sequence[str], found: Sequence[tuple[int, Sequence[str]]]
) -> ArgumentsInvalid | None:
    """Return the refusal of a table whose first row is a title; None for any other table."""
    widths = {len(cells) for _, cells in found}
    if len(columns) > 1 or len(widths) > 1 or len(found) <= 1 or not all(map(_NAME.match, found[0][1])):
        return None
    shown = clean_line(columns[0], limit=60)
    problem = f'has the first row "{shown}" and {widths.pop()} cells in each other row'
    return build_refusal(argument, problem, "Its first row names the arguments, one in each cell; take out a title.")


def _build_row(line: int, cells: Sequence[str], columns: Sequence[str]) -> TableRow:
    return TableRow(line, {column: cell for column, cell in zip(columns, cells, strict=False) if cell.strip()})
