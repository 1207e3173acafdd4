"""Prepare a batch for the store: every row is checked before anything is accepted or spent."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from flowport.catalog.arguments import build_raw_digest, find_input, name_arguments
from flowport.catalog.listing import Listing
from flowport.catalog.values import get_inputs, parse_value, unwrap_file
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.models import BATCH_PREFIX, App, InputKind, JsonValue, Run, RunState
from flowport.domain.text import clean_line, count_bytes
from flowport.media.input_files import MediaRules, describe_found, find_beside, find_local_file
from flowport.media.sources import DiskSource, compute_fingerprint, open_source
from flowport.network.account import OpenAccount
from flowport.runs.batch.csv_tables import MAX_TABLE_BYTES, Table, parse_table
from flowport.runs.batch.report import restore_table
from flowport.runs.prepare import CallPreparer, KnownFiles, MediaInput, PreparedCall, build_run, draw_id
from flowport.runs.references import OutputMedia
from flowport.runs.steps import MIN_LIVE_ROWS
from flowport.runs.submit import RunRequest
from flowport.runtime.clock import Clock
from flowport.store.interface import Workers
from flowport.store.records import BatchRow, NewBatch

MAX_ROWS: Final = 2_000
"""Runs of one batch, variations counted."""

MAX_ARGUMENTS_BYTES: Final = 5_000_000
"""Of the arguments of all rows together, variations counted."""

MAX_SHARED_BYTES: Final = 64_000_000
"""Of the shared arguments, times the rows that are live at once: each keeps its own copy while it waits."""


_MAX_PROBLEMS: Final = 12
_MAX_NAMED: Final = 8
_REPORT_EVERY: Final = 50

Arguments = Mapping[str, JsonValue]
Report = Callable[[int], Awaitable[None]]
"""Receives how many rows were checked, now and then."""


CSV: Final = "csv"
"""The argument that names a table."""

_LINE_END: Final = re.compile(r"[\r\n]")

_TABLE_TEXT: Final = re.compile(
    r"(?!.*\.[ct]sv\W*$)\s*(?:\[\s*\{|\{\s*\"|[^/\\~:]{1,200}[,;\t][^/\\~:]{1,200}(?:\\n.*)?$)", re.DOTALL
)
"""No path, but what a table holds."""

_SUFFIXES: Final = (".csv", ".tsv")

_GIVE: Final = "Give the full path of a .csv file of at most 20 MB on this computer."


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row as the caller gave it."""

    place: str
    """Its name in a sentence: `row 3`."""
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch as the caller gave it."""

    rows: tuple[InputRow, ...]
    shared: Arguments = field(default_factory=dict)
    """Used for every row that does not give its own."""
    variations: int = 1
    stop_after_failures: int = 0
    """0 for never."""
    argument: str = "rows"
    """The argument of the call that gave the rows, for errors."""
    note: str = ""
    """How the table was found, as a sentence for the user."""


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch that can be accepted: every row was checked."""

    call: PreparedCall
    """The call of the first row, without its files; its app and account are those of all rows."""
    request: BatchRequest
    rows: tuple[BatchRow, ...]
    display_json: str


async def prepare_batch(
    preparer: CallPreparer,
    account: OpenAccount,
    listing: Listing,
    request: BatchRequest,
    origin: RunRequest,
    *,
    report: Report,
) -> PreparedBatch:
    """Return the batch ready to be accepted. Nothing is sent and nothing is written.

    Raises:
        ArgumentsInvalid: With the problems of all rows, as many as a model can use.
        StoreError: The store cannot be read.
    """
    _check_size(request)
    # By the names of the tool's arguments, so that a row's spelling wins over a shared one.
    name = partial(name_arguments, listing.app, listing.property_names)
    shared = name(request.shared)
    request = replace(
        request, shared=shared, rows=tuple(_build_row(row, name(row.arguments), shared) for row in request.rows)
    )
    first: PreparedCall | None = None
    rows: list[BatchRow] = []
    problems: dict[ArgumentProblem, list[str]] = {}
    known: KnownFiles = {}
    for n, row in enumerate(request.rows):
        if n % _REPORT_EVERY == 0:
            await report(n)
        arguments = {**request.shared, **row.arguments}
        try:
            call = await preparer.prepare(account, listing, arguments, origin, known=known)
        except ArgumentsInvalid as exc:
            for problem in exc.problems:
                problems.setdefault(problem, []).append(row.place)
            continue
        first = first or replace(call, media=())
        rows += _build_rows(request, n, call)
    if problems or first is None:
        raise ArgumentsInvalid(_gather(problems, len(request.rows)))
    if sum(len(row.arguments_json) for row in rows) > MAX_ARGUMENTS_BYTES:
        reason = f"holds more than {MAX_ARGUMENTS_BYTES // 1_000_000} MB, variations counted"
        raise build_refusal(request.argument, reason, "Give paths or https URLs of files, or make several batches.")
    columns = list(dict.fromkeys(name for row in request.rows for name in row.arguments))
    shown = {"rows": len(request.rows), "variations": request.variations, "columns": columns}
    return PreparedBatch(first, request, tuple(rows), json.dumps(shown, ensure_ascii=False))


def build_batch(batch: PreparedBatch, owner: str, clock: Clock, process: Workers) -> NewBatch:
    """Return the batch that is to be accepted, with its own id and the price of all rows reserved."""
    count, price = len(batch.rows), batch.call.app.price_credits
    total = None if price is None else price * count
    run = replace(
        build_run(batch.call, owner, clock, process),
        id=draw_id(BATCH_PREFIX),
        arguments_json=batch.display_json,
        # Over the digests of the rows: the same rows in another order are another table.
        raw_digest=build_raw_digest({"rows": [row.raw_digest for row in batch.rows]}),
        canonical_digest=build_raw_digest({"rows": [row.canonical_digest for row in batch.rows]}),
        state=RunState.RUNNING,
        price_credits=total,
        reserved_credits=total or 0.0,
        row_count=count,
        notes=batch.request.note,
    )
    shared_json = json.dumps(dict(batch.request.shared))
    return NewBatch(run, shared_json, price, batch.request.variations, batch.request.stop_after_failures, batch.rows)


def build_row_run(batch: Run, row: BatchRow, price_credits: float | None, clock: Clock, process: Workers) -> Run:
    """Return the run of a row. Its caller got its place with the batch."""
    # Only what the record of a run shows; the started call is prepared from the row.
    call = PreparedCall(
        app=App(batch.provider, batch.app_id, batch.app_name, is_own=False, price_credits=price_credits),
        app_name=batch.app_name,
        tool_name=batch.tool_name,
        account_id=batch.account_id,
        inputs={},
        arguments_json=row.display_json,
        raw_digest=row.raw_digest,
        canonical_digest=row.canonical_digest,
    )
    run = build_run(call, batch.owner, clock, process)
    return replace(run, reported_at=run.accepted_at, batch_id=batch.id)


def _check_size(request: BatchRequest) -> None:
    count = len(request.rows) * request.variations
    if not count:
        raise build_refusal(request.argument, "holds no row", "Give at least one.")
    if count > MAX_ROWS:
        raise build_refusal(
            request.argument, f"asks for {count} runs", f"One batch may have {MAX_ROWS}, variations counted."
        )
    shared_bytes = count_bytes(request.shared)
    if shared_bytes * min(count, MIN_LIVE_ROWS) > MAX_SHARED_BYTES:
        raise build_refusal(
            "arguments", "holds too much data for so many rows", "Give paths or https URLs of the files instead."
        )


def _build_row(row: InputRow, arguments: Arguments, shared: Arguments) -> InputRow:
    """Return a row without nulls for arguments that all rows share."""
    return InputRow(row.place, {name: one for name, one in arguments.items() if one is not None or name not in shared})


def _gather(problems: Mapping[ArgumentProblem, Sequence[str]], count: int) -> tuple[ArgumentProblem, ...]:
    """Return each problem once, with the rows that have it, and how many more there are."""
    shown = [
        ArgumentProblem(f"{_name(places, count)}: {one.argument}", one.problem, one.expected)
        for one, places in list(problems.items())[:_MAX_PROBLEMS]
    ]
    left = len(problems) - len(shown)
    more = [ArgumentProblem("The table", f"has {left} more problems of other kinds")] if left else []
    return (*shown, *more)


def _name(places: Sequence[str], count: int) -> str:
    if len(places) == count > 1:
        return f"All {count} rows"
    named = ", ".join(places[:_MAX_NAMED])
    rest = len(places) - _MAX_NAMED
    named += f" and {rest} more" if rest > 0 else ""
    return named[:1].upper() + named[1:]


def _build_rows(request: BatchRequest, place: int, call: PreparedCall) -> list[BatchRow]:
    """Return the runs of one row, one for each variation."""
    given = request.rows[place].arguments
    own = json.dumps({**given, **_pin_outputs({**request.shared, **given}, call)})
    before = place * request.variations
    return [
        BatchRow(before + one, place + 1, one, own, call.arguments_json, call.raw_digest, call.canonical_digest)
        for one in range(1, request.variations + 1)
    ]


def _pin_outputs(arguments: Arguments, call: PreparedCall) -> dict[str, JsonValue]:
    """Return the arguments that name results of earlier runs, by their permanent names: "last" changes."""
    pinned: dict[str, JsonValue] = {}
    for media in call.media:
        if any(isinstance(one, OutputMedia) for one in media.media):
            name = next(name for name in _get_names(call.app, media) if name in arguments)
            pinned[name] = _pin(arguments[name], call.app, media)
    return pinned


def _get_names(app: App, media: MediaInput) -> tuple[str, ...]:
    """Return the names under which an input may have been given."""
    return (media.argument, *(item.id for item in app.inputs or () if item.run_key == media.run_key), media.run_key)


def _pin(value: JsonValue, app: App, media: MediaInput) -> JsonValue:
    item = next(item for item in app.inputs or () if item.run_key == media.run_key)
    parsed: Any = parse_value(item, value)
    texts = parsed if media.is_list else [parsed]
    pairs = zip(texts, media.media, strict=True)
    pinned: list[JsonValue] = [one.uri if isinstance(one, OutputMedia) else text for text, one in pairs]
    return pinned if media.is_list else pinned[0]


async def read_rows(
    given: Mapping[str, JsonValue], listing: Listing, rules: MediaRules, uploaded: DiskSource | None = None
) -> tuple[tuple[InputRow, ...], str]:
    """Return the rows that a call of `run_batch` gives, and a note on how the table was found; empty when as named.

    Args:
        uploaded: The table, where the call names one that was uploaded; pictures have no names from its folder.

    Raises:
        ArgumentsInvalid: It gives neither rows nor a table or both, or the table cannot be read.
    """
    if ("rows" in given) == (CSV in given):
        raise build_refusal("rows", f"or {CSV} is needed, and not both", "Give the rows, or the path of a table.")
    if CSV in given:
        try:
            if uploaded is not None:
                return await anyio.to_thread.run_sync(_read_file, uploaded, listing), ""
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
    rows = _read_file(source, listing)
    names = {listing.property_names[item.id] for item in listing.app.inputs or () if item.kind.is_media}
    note = describe_found(source, path, argument=CSV, rules=rules)
    return tuple(_find_beside(row, names, source.path.parent, rules) for row in rows), f"{CSV} {note}." if note else ""


def _read_file(source: DiskSource, listing: Listing) -> tuple[InputRow, ...]:
    """Return the rows of a table in a file."""
    # Any other text may be private, and what cannot be understood is partly repeated.
    if source.path.suffix.lower() not in _SUFFIXES:
        raise build_refusal(CSV, "names a file of another kind", f"Its name must end in {' or '.join(_SUFFIXES)}.")
    with open_source(source, argument=CSV, max_bytes=MAX_TABLE_BYTES) as file:
        size_bytes = compute_fingerprint(file, argument=CSV, max_bytes=MAX_TABLE_BYTES).size_bytes
        return _read_text(file.read(size_bytes), listing)


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
    """Return whether a column is for an argument of the app."""
    return _find_argument(column, listing) in listing.property_names.values()


def _is_free(listing: Listing, column: str) -> bool:
    """Return whether a column is for an argument that takes values of all types."""
    found = find_input(column, get_inputs(listing.app), listing.property_names)
    return found is not None and found.kind is InputKind.ANY


def _find_argument(column: str, listing: Listing) -> str:
    """Return the argument that a column is for; its own name when it is for none, which is refused with the rows."""
    found = find_input(column, get_inputs(listing.app), listing.property_names)
    return column if found is None else listing.property_names[found.id]
