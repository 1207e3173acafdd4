"""Prepare a batch for the store: every row is checked before anything is accepted or spent."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from flowport.catalog.arguments import build_raw_digest, name_arguments
from flowport.catalog.listing import Listing
from flowport.catalog.values import parse_value
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.models import BATCH_PREFIX, App, JsonValue, Run, RunState
from flowport.domain.text import count_bytes
from flowport.network.account import OpenAccount
from flowport.runs.calls import RunRequest
from flowport.runs.poll_schedule import LIVE_ROWS
from flowport.runs.prepare import CallPreparer, KnownFiles, MediaInput, PreparedCall, build_run, draw_id
from flowport.runs.references import OutputMedia
from flowport.runtime.clock import Clock
from flowport.store.batch_records import BatchRow, NewBatch
from flowport.store.workers import Workers

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
    if shared_bytes * min(count, LIVE_ROWS.start) > MAX_SHARED_BYTES:
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
