"""What the tools do for batches: many runs of an app by one call."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.actions.cancel_run import format_batch_cancellation
from flowport.actions.definitions import tell_while
from flowport.actions.list_runs import PLACES
from flowport.actions.submit import Offer, Submitter, note_cancelled, note_learnt
from flowport.actions.views.batch import (
    BatchView,
    build_batch_answer,
    build_batch_facts,
    build_cost_facts,
    format_batch_summary,
)
from flowport.actions.views.run import Answer, Facts, build_facts_answer, drop_empty, plain
from flowport.actions.waiting import Caller, get_batch_view, wait_for_batch
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.arguments import find_input
from flowport.catalog.listing import Listing
from flowport.catalog.schema import get_inputs
from flowport.catalog.values import unwrap_file
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid, FlowportError
from flowport.domain.models import InputKind, JsonValue, Run
from flowport.domain.spending import find_price_question
from flowport.domain.text import clean_line
from flowport.media.input_files import MediaRules, describe_found, find_beside, find_local_file
from flowport.media.local_files import compute_fingerprint, open_source
from flowport.media.previews import drop_paths_of_rows
from flowport.runs.accept import Submission
from flowport.runs.batch.csv_tables import MAX_TABLE_BYTES, Table, parse_table
from flowport.runs.batch.prepare import BatchRequest, InputRow, prepare_batch
from flowport.runs.batch.report import restore_table
from flowport.runs.calls import RunRequest
from flowport.runs.cancel import CancelOutcome
from flowport.runs.prepare import price_call
from flowport.store.batch_records import RowStatus

MAX_PREPARING: Final = 2
"""Batches that are checked side by side: each may have thousands of rows."""

CSV: Final = "csv"
"""The argument that names a table."""

_LINE_END: Final = re.compile(r"[\r\n]")
_TABLE_TEXT: Final = re.compile(
    r"(?!.*\.[ct]sv\W*$)\s*(?:\[\s*\{|\{\s*\"|[^/\\~:]{1,200}[,;\t][^/\\~:]{1,200}(?:\\n.*)?$)", re.DOTALL
)
"""No path, but what a table holds."""
_SUFFIXES: Final = (".csv", ".tsv")
_GIVE: Final = "Give the full path of a .csv file of at most 20 MB on this computer."
_MAX_SHOWN_SEEN: Final = 20
Arguments = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class GivenTable:
    """The rows that a call gives."""

    rows: tuple[InputRow, ...]
    note: str = ""
    """What a person should know of how the table was found, as a sentence."""


class BatchCalls:
    """Carries out what concerns batches, on a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._submitter = Submitter(workspace, MAX_PREPARING)

    async def read_rows(self, given: Arguments, listing: Listing) -> GivenTable:
        """Return the rows that a call of `run_batch` gives, or names.

        Raises:
            ArgumentsInvalid: It does neither or both, or the table cannot be read.
        """
        if ("rows" in given) == (CSV in given):
            raise build_refusal("rows", f"or {CSV} is needed, and not both", "Give the rows, or the path of a table.")
        if CSV in given:
            try:
                return await anyio.to_thread.run_sync(self._read_table, str(given[CSV]), listing)
            except ArgumentsInvalid as exc:
                raise ArgumentsInvalid(tuple(map(_advise, exc.problems))) from exc
        rows = given["rows"]
        assert isinstance(rows, list)  # noqa: S101 - the parser of arguments has made it one
        odd = [n for n, row in enumerate(rows, 1) if not isinstance(row, dict)]
        if odd:
            raise build_refusal(
                "rows", f"holds something other than an object as item {odd[0]}", "Each row is an object."
            )
        return GivenTable(tuple(InputRow(f"row {n}", row) for n, row in enumerate(rows, 1) if isinstance(row, dict)))

    async def run(
        self,
        place: tuple[OpenCatalog, Listing],
        wish: BatchRequest,
        caller: Caller,
        *,
        is_new_wanted: bool,
        should_wait: bool = True,
    ) -> Answer:
        """Start a batch, or join the one that the call repeats, and return its answer."""
        home, listing = place
        origin = RunRequest(
            caller.owner,
            caller.connection,
            is_stopped_with_caller=self._workspace.settings.should_stop_on_cancel,
            is_new_wanted=is_new_wanted,
            exchange=caller.exchange,
        )
        submission: Submission | None = None
        prepare = partial(self._prepare, home, listing, wish, origin, caller)
        try:
            submission = await self._submitter.submit(prepare, origin, caller)
            batch = submission.run
            if submission.is_joined:
                await self._workspace.batches.resume(batch)
            view = await self._get_view(batch, caller, should_wait=should_wait)
        except anyio.get_cancelled_exc_class():
            # The client has cancelled or has gone.
            self._part(submission, origin)
            raise
        except FlowportError:
            self._workspace.deliveries.leave(origin.id)
            raise
        return await self._tell(replace(view, is_joined=submission.is_joined), caller, origin)

    async def get(self, batch: Run, caller: Caller, *, should_wait: bool) -> Answer:
        """Return how a batch stands, after a wait for its end."""
        await self._workspace.batches.resume(batch)
        view = await self._get_view(batch, caller, should_wait=should_wait)
        return await self._tell(view, caller, RunRequest(caller.owner))

    async def cancel(self, batch: Run, caller: Caller) -> Answer:
        """Have no more rows of a batch begin, and say what goes on."""
        if not batch.state.is_final:
            await self._workspace.batches.cancel(batch)
        view = await get_batch_view(self._workspace, batch)
        await note_cancelled(self._workspace, view.run, caller)
        if batch.state.is_final:
            told = f"The batch is over already. {format_batch_summary(view)}"
            return self._build_cancelled(view, told, CancelOutcome.ALREADY_OVER)
        account = self._workspace.get_account(view.run.account_id)
        return self._build_cancelled(view, *format_batch_cancellation(view.batch_progress, account))

    def _build_cancelled(self, view: BatchView, summary: str, outcome: CancelOutcome) -> Answer:
        facts: Facts = {"summary": summary, "run_id": view.run.id, "outcome": outcome.value}
        return build_facts_answer({**facts, "state": view.run.state.value})

    async def build_row(self, batch: Run) -> Facts:
        """Return a batch as a row of the list of runs."""
        view = await get_batch_view(self._workspace, batch)
        return drop_empty(
            {
                "run_id": batch.id,
                "tool": batch.tool_name,
                "state": view.run.state.value,
                "seconds": plain(round(view.elapsed_seconds, 1)),
                **build_cost_facts(view),
                "batch": format_batch_summary(view),
                **{key: text for key, text in build_batch_facts(view).items() if key in PLACES},
            }
        )

    async def _prepare(
        self, home: OpenCatalog, listing: Listing, wish: BatchRequest, origin: RunRequest, caller: Caller
    ) -> Offer:
        count = len(wish.rows)

        async def tell(checked: int) -> None:
            """Tell the client that we are at it: thousands of files take their time."""
            elapsed = self._workspace.clock.monotonic() - caller.arrived_at_seconds
            await caller.report(elapsed, f"checking the rows, {checked} of {count}")

        batch = await prepare_batch(self._workspace.preparer, home.account, listing, wish, origin, tell=tell)
        # The rows are runs of one workflow, so one estimate is that of each.
        price = partial(price_call, batch.call, home.account)
        batch = replace(batch, call=await tell_while(self._workspace, caller, "asking what a run costs", price))
        call, runs = batch.call, len(batch.rows)
        total = None if call.app.price_credits is None else call.app.price_credits * runs
        question = find_price_question(self._workspace.settings.spending_limits, call.app_name, total, runs=runs)
        return Offer(partial(self._workspace.batches.submit, batch), question)

    async def _get_view(self, batch: Run, caller: Caller, *, should_wait: bool) -> BatchView:
        if should_wait:
            return await wait_for_batch(self._workspace, batch, caller)
        return await get_batch_view(self._workspace, batch)

    def _part(self, submission: Submission | None, origin: RunRequest) -> None:
        """Note that the caller has gone; its batch goes on unless that is not wanted."""
        if submission is not None and origin.is_stopped_with_caller:
            self._workspace.batches.stop_unwanted(submission.run, origin)
        else:
            self._workspace.deliveries.leave(origin.id)

    async def _tell(self, view: BatchView, caller: Caller, origin: RunRequest) -> Answer:
        """Return the batch's answer, and note in the store what the caller learns by it."""
        rows = await self._workspace.store.get_rows(view.run.id)
        pictures = await self._workspace.previewer.build_shown(_gather_outputs(view.run, rows))
        there = drop_paths_of_rows(rows, pictures.gone)
        answer = build_batch_answer(view, there, pictures.previews, pictures.without)
        shown = [row.run.id for row in rows if row.run is not None and row.run.outputs]
        await note_learnt(self._workspace, view.run, caller, origin, shown=shown[-_MAX_SHOWN_SEEN:])
        return answer

    def _read_table(self, path: str, listing: Listing) -> GivenTable:
        """Return the rows of a table: of a file, whose pictures may be named from its own folder, or of the text itself."""
        if _LINE_END.search(path.strip()):
            return GivenTable(_read_text(path.encode(), listing))
        if _TABLE_TEXT.match(path):
            raise build_refusal(
                CSV, "is the text of a table or of rows in one line", "Give the path of a .csv file, or rows."
            )
        rules = MediaRules(self._workspace.settings.file_roots)
        source = find_local_file(path, argument=CSV, rules=rules)
        # Any other text may hold what is nobody's business, and what cannot be understood is partly repeated.
        if source.path.suffix.lower() not in _SUFFIXES:
            raise build_refusal(CSV, "names a file of another kind", f"Its name must end in {' or '.join(_SUFFIXES)}.")
        with open_source(source, argument=CSV, max_bytes=MAX_TABLE_BYTES) as file:
            size_bytes = compute_fingerprint(file, argument=CSV, max_bytes=MAX_TABLE_BYTES).size_bytes
            rows = _read_text(file.read(size_bytes), listing)
        names = {listing.property_names[item.id] for item in listing.app.inputs or () if item.kind.is_media}
        note = describe_found(source, path, argument=CSV, rules=rules)
        found = tuple(_find_beside(row, names, source.path.parent, rules) for row in rows)
        return GivenTable(found, f"{CSV} {note}." if note else "")


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


def _gather_outputs(batch: Run, rows: Sequence[RowStatus]) -> Run:
    """Return the batch as if its rows' outputs were its own, for the pictures that an answer shows."""
    return replace(batch, outputs=tuple(output for row in rows if row.run is not None for output in row.run.outputs))


def _name_columns(table: Table, listing: Listing) -> tuple[InputRow, ...]:
    """Return the rows of a table by the names of arguments; a column may bear the label of its input instead."""
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
