"""What a command prints: results on standard output, all else on standard error; tables, JSON and exit codes."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from io import TextIOWrapper
from typing import Any, Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowport.domain.call_errors import (
    AccountCapReached,
    AppAmbiguous,
    AppNotFound,
    ConfirmationNeeded,
    DayCapReached,
    DefinitionNotRead,
    MonthCapReached,
    NotConfirmed,
    PriceUnconfirmed,
    PriceUnknown,
    ResourceNotFound,
    RunCapReached,
    RunNotOver,
    UncertainStart,
)
from flowport.domain.errors import (
    ArgumentsInvalid,
    ConfigurationError,
    FlowportError,
    ProviderError,
    ProviderRejected,
    RunNotFound,
)
from flowport.domain.text import clean_line, clean_text

NARROW: Final = 60
"""Columns below which a table is shown as one block for each row."""
_LEAST: Final = 14
MAX_TEXT: Final = 20_000
"""Characters of one text that is printed; JSON has no such bound."""


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    """What was asked for failed: the run, or the check."""
    USAGE = 2
    REFUSED = 3
    """A cap, a price that was not agreed to, or a start of unknown outcome."""
    NOT_FOUND = 4
    UNAVAILABLE = 5
    """The provider or the network."""
    INTERRUPTED = 130


_CODES: Final[tuple[tuple[type[FlowportError] | tuple[type[FlowportError], ...], ExitCode], ...]] = (
    ((ConfigurationError, ArgumentsInvalid), ExitCode.USAGE),
    (
        (
            RunCapReached,
            DayCapReached,
            MonthCapReached,
            AccountCapReached,
            PriceUnknown,
            PriceUnconfirmed,
            NotConfirmed,
            ConfirmationNeeded,
            UncertainStart,
        ),
        ExitCode.REFUSED,
    ),
    (RunNotOver, ExitCode.REFUSED),
    ((RunNotFound, AppNotFound, AppAmbiguous, ResourceNotFound), ExitCode.NOT_FOUND),
    (ProviderRejected, ExitCode.FAILED),
    ((ProviderError, DefinitionNotRead), ExitCode.UNAVAILABLE),
)

_WORDS: Final = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r'\bCall get_run with run_id "(\w+)" to wait', r"Type `flowport show \1 --wait` to wait"),
        (r'\bget_run with run_id "(\w+)"', r"`flowport show \1 --wait`"),
        (r"\bcancel_run with stop_following true", "`flowport cancel --stop-following`"),
        (r"\bfind_apps with max_credits (\S+)", r"`flowport apps --max-credits \1`"),
        (r"\bfind_apps\b", "`flowport apps`"),
        (r"\blist_runs\b", "`flowport runs`"),
        (r"\bget_balance\b", "`flowport balance`"),
        (r"\bcancel_run\b", "`flowport cancel`"),
        (r"\bget_run\b", "`flowport show`"),
        (r"\b(?:run_app|run_batch|the same call) with new_run true", "the same command with --new"),
        (r"\bnew_run:? true\b", "--new"),
        (r"\brun_app\b", "`flowport run`"),
        (r"\brun_batch\b", "`flowport batch`"),
        (
            r"The person is to be asked about .*",
            "Add --yes, or type the command in a terminal, to agree to it.",
        ),
        (
            r"\b([Oo])nly the person who runs Flowport can raise (it|the cap), in its configuration",
            r"\1nly a setting raises \2",
        ),
        (r"\bof this tool\b", "of this app"),
        (r" There is no app '' among those that could be read.", ""),
        (r": the person did not agree when asked .*", "."),
    )
)
"""What assistants call by the name of a tool, and people by a command."""


def get_exit_code(error: FlowportError) -> ExitCode:
    """Return the exit code of an error."""
    if isinstance(error, AppNotFound) and error.catalogue_problem:
        return ExitCode.UNAVAILABLE
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.FAILED)


def word_for_terminal(text: str) -> str:
    """Return a sentence that names commands instead of an assistant's tools."""
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    return text


def clean(text: object, *, limit: int = MAX_TEXT) -> str:
    """Return untrusted text that a terminal may show: without escape sequences, controls and invisible characters."""
    return clean_text(str(text), limit=limit)


def build_error(error: FlowportError) -> dict[str, Any]:
    """Return the JSON document of an error: its kind, its sentence and its plain fields."""
    plain: dict[str, Any] = {}
    if is_dataclass(error):
        values = {one.name: getattr(error, one.name) for one in fields(error)}
        plain = {name: value for name, value in values.items() if isinstance(value, str | int | float | None)}
    return {"error": {"kind": type(error).__name__, "message": word_for_terminal(str(error)), **plain}}


def print_json(facts: Mapping[str, Any]) -> None:
    """Write one JSON document, and nothing else, to standard output."""
    _replace_unwritable(sys.stdout)
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def report_error(error: FlowportError, *, is_json: bool, text: str = "") -> ExitCode:
    """Print an error and return the exit code.

    Args:
        text: A sentence that fits the command better than the error's own; empty for that one.
    """
    facts = build_error(error)
    if text:
        facts["error"]["message"] = text
    if is_json:
        print_json(facts)
    else:
        say(facts["error"]["message"], style="red")
    return get_exit_code(error)


def say(text: str, *, style: str = "") -> None:
    """Write a sentence to standard error."""
    build_console(sys.stderr).print(Text(clean(text), style=style), soft_wrap=True)


def build_console(stream: TextIO) -> Console:
    """Return a console that formats no markup: names may hold any."""
    _replace_unwritable(stream)
    # The library would keep bold.
    is_plain = bool(os.environ.get("NO_COLOR"))
    return Console(file=stream, markup=False, emoji=False, highlight=False, color_system=None if is_plain else "auto")


def _replace_unwritable(stream: TextIO) -> None:
    """Have a question mark written for what is not text, or what the encoding lacks, instead of a traceback."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    is_number: bool = False
    is_flexible: bool = False
    """Whether it may be broken into lines."""
    is_optional: bool = False
    """Whether it is left out where there is no room for all."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Write a table: aligned on a terminal, in blocks on a narrow one, tab-separated without titles elsewhere."""
    console = build_console(sys.stdout)
    cells = [[clean_line(str(cell), limit=MAX_TEXT) for cell in row] for row in rows]
    if not console.is_terminal:
        for row in cells:
            sys.stdout.write("\t".join(row) + "\n")
        # Whether it can be written is known before what is said about it.
        sys.stdout.flush()
        return
    if not _fits(columns, cells, console.width):
        kept = [place for place, one in enumerate(columns) if not one.is_optional]
        fewer = [columns[place] for place in kept]
        if not _fits(fewer, less := [[row[place] for place in kept] for row in cells], console.width):
            _print_blocks(console, columns, cells)
            return
        columns, cells = fewer, less
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for one in columns:
        table.add_column(
            Text(one.title), justify="right" if one.is_number else "left", no_wrap=not one.is_flexible, overflow="fold"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _fits(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether a table has room; what may be broken takes at least so many columns."""
    widths = [max((len(one.title), *(cell_len(row[place]) for row in rows))) for place, one in enumerate(columns)]
    needed = (min(most, _LEAST) if one.is_flexible else most for one, most in zip(columns, widths, strict=True))
    return sum(needed) + 2 * len(columns) <= width


def _print_blocks(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        console.print(Text(row[0], style="bold"), soft_wrap=True)
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                console.print(Text(f"  {column.title.lower()}: {cell}"), soft_wrap=True)


def print_facts(facts: Mapping[str, object]) -> None:
    """Write one fact a line, those that say something."""
    console = build_console(sys.stdout)
    shown = {name: clean(value) for name, value in facts.items() if value not in ("", None, [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        first, *more = value.splitlines() or [""]
        indent = "  " if console.is_terminal and console.width < NARROW else " " * (width + 2)
        console.print(Text.assemble((f"{name}:".ljust(width + 2), "bold"), first), soft_wrap=True)
        for line in more:
            console.print(Text(indent + line), soft_wrap=True)
