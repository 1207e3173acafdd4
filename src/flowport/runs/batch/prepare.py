"""Turn the rows of a batch into what the store is to accept: every one is checked before anything is accepted or spent."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
from flowport.runs.accept import build_run, draw_id
from flowport.runs.calls import RunRequest
from flowport.runs.poll_schedule import LIVE_ROWS
from flowport.runs.prepare import CallPreparer, KnownFiles, MediaInput, PreparedCall
from flowport.runs.references import OutputMedia
from flowport.runtime.clock import Clock
from flowport.store.batch_records import BatchRow, NewBatch
from flowport.store.workers import Workers

MAX_ROWS: Final = 2_000
"""Runs of one batch, variations counted."""

MAX_ARGUMENTS_BYTES: Final = 5_000_000
"""Of the arguments of all rows together, variations counted."""

MAX_SHARED_BYTES: Final = 64_000_000
"""Of what the rows share, times the rows that are live at once: each holds its own while it waits."""

MAX_VARIATIONS: Final = 16

_MAX_PROBLEMS: Final = 12
_MAX_NAMED: Final = 8
_TELL_EVERY: Final = 50

Arguments = Mapping[str, JsonValue]
Tell = Callable[[int], Awaitable[None]]
"""Told how many rows were checked, now and then."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row as the caller gave it."""

    place: str
    """What it is called in a sentence: `row 3`."""
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What a call asks for."""

    rows: tuple[InputRow, ...]
    shared: Arguments = field(default_factory=dict)
    """Used for every row, unless the row itself says otherwise."""
    variations: int = 1
    stop_after_failures: int = 0
    """0 for never."""
    argument: str = "rows"
    """The argument of the call that gave the rows, for errors."""
    note: str = ""
    """What a person should know of how the table was found, as a sentence."""


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch that can be accepted: every row was checked."""

    call: PreparedCall
    """That of the first row, without its files; what it says of app and account holds for all."""
    wish: BatchRequest
    rows: tuple[BatchRow, ...]
    shown_json: str


async def prepare_batch(
    preparer: CallPreparer,
    account: OpenAccount,
    listing: Listing,
    wish: BatchRequest,
    origin: RunRequest,
    *,
    tell: Tell,
) -> PreparedBatch:
    """Return the batch ready to be accepted. Nothing is sent and nothing is written.

    Raises:
        ArgumentsInvalid: With what is wrong in all rows, as much of it as a model can use.
        StoreError: The store cannot be read.
    """
    _check_size(wish)
    wish = _name_all(wish, listing)
    wish = replace(wish, rows=tuple(_take_shared(row, wish.shared) for row in wish.rows))
    first: PreparedCall | None = None
    rows: list[BatchRow] = []
    problems: dict[ArgumentProblem, list[str]] = {}
    known: KnownFiles = {}
    for n, row in enumerate(wish.rows):
        if n % _TELL_EVERY == 0:
            await tell(n)
        arguments = {**wish.shared, **row.arguments}
        try:
            call = await preparer.prepare(account, listing, arguments, origin, known=known)
        except ArgumentsInvalid as exc:
            for problem in exc.problems:
                problems.setdefault(problem, []).append(row.place)
            continue
        first = first or replace(call, media=())
        rows += _build_rows(wish, n, call)
    if problems or first is None:
        raise ArgumentsInvalid(_gather(problems, len(wish.rows)))
    _check_arguments(rows, wish.argument)
    shown = {"rows": len(wish.rows), "variations": wish.variations, "columns": _find_columns(wish.rows)}
    return PreparedBatch(first, wish, tuple(rows), json.dumps(shown, ensure_ascii=False))


def build_batch(batch: PreparedBatch, owner: str, clock: Clock, process: Workers) -> NewBatch:
    """Return the batch that is to be accepted, with an id of its own and the price of all its rows held back."""
    count, price = len(batch.rows), batch.call.app.price_credits
    total = None if price is None else price * count
    run = replace(
        build_run(batch.call, owner, clock, process),
        id=draw_id(BATCH_PREFIX),
        arguments_json=batch.shown_json,
        # Over those of the rows: the same rows in another order are another table.
        raw_digest=build_raw_digest({"rows": [row.raw_digest for row in batch.rows]}),
        canonical_digest=build_raw_digest({"rows": [row.canonical_digest for row in batch.rows]}),
        state=RunState.RUNNING,
        price_credits=total,
        reserved_credits=total or 0.0,
        row_count=count,
        notes=batch.wish.note,
    )
    shared_json = json.dumps(dict(batch.wish.shared))
    return NewBatch(run, shared_json, price, batch.wish.variations, batch.wish.stop_after_failures, batch.rows)


def build_row_run(batch: Run, row: BatchRow, price_credits: float | None, clock: Clock, process: Workers) -> Run:
    """Return the run that a row is to become. Its caller was told of it with the batch."""
    # As much of its call as a run tells; what is started is prepared from the row.
    call = PreparedCall(
        app=App(batch.provider, batch.app_id, batch.app_name, is_own=False, price_credits=price_credits),
        app_name=batch.app_name,
        tool_name=batch.tool_name,
        account_id=batch.account_id,
        inputs={},
        arguments_json=row.shown_json,
        raw_digest=row.raw_digest,
        canonical_digest=row.canonical_digest,
    )
    run = build_run(call, batch.owner, clock, process)
    return replace(run, told_at=run.accepted_at, batch_id=batch.id)


def _check_size(wish: BatchRequest) -> None:
    count = len(wish.rows) * wish.variations
    if not count:
        raise build_refusal(wish.argument, "holds no row", "Give at least one.")
    if count > MAX_ROWS:
        raise build_refusal(
            wish.argument, f"asks for {count} runs", f"One batch may have {MAX_ROWS}, variations counted."
        )
    shared = count_bytes(wish.shared)
    if shared * min(count, LIVE_ROWS.start) > MAX_SHARED_BYTES:
        raise build_refusal(
            "arguments", "holds too much data for so many rows", "Give paths or https URLs of the files instead."
        )


def _check_arguments(rows: Iterable[BatchRow], argument: str) -> None:
    if sum(len(row.arguments_json) for row in rows) > MAX_ARGUMENTS_BYTES:
        problem = f"holds more than {MAX_ARGUMENTS_BYTES // 1_000_000} MB, variations counted"
        raise build_refusal(argument, problem, "Give paths or https URLs of files, or make several batches.")


def _name_all(wish: BatchRequest, listing: Listing) -> BatchRequest:
    """Return what is asked for by the names of the tool's arguments, so that a row's spelling is stronger than a shared one."""
    name = partial(name_arguments, listing.app, listing.property_names)
    rows = tuple(replace(row, arguments=name(row.arguments)) for row in wish.rows)
    return replace(wish, rows=rows, shared=name(wish.shared))


def _take_shared(row: InputRow, shared: Arguments) -> InputRow:
    """Return a row without the nulls that stand for what all rows share."""
    return replace(
        row, arguments={name: one for name, one in row.arguments.items() if one is not None or name not in shared}
    )


def _gather(problems: Mapping[ArgumentProblem, Sequence[str]], count: int) -> tuple[ArgumentProblem, ...]:
    """Return each problem once, with the rows that have it, and how many more there are."""
    told = [
        ArgumentProblem(f"{_name(places, count)}: {one.argument}", one.problem, one.expected)
        for one, places in list(problems.items())[:_MAX_PROBLEMS]
    ]
    left = len(problems) - len(told)
    more = [ArgumentProblem("The table", f"has {left} more problems of other kinds")] if left else []
    return (*told, *more)


def _name(places: Sequence[str], count: int) -> str:
    if len(places) == count > 1:
        return f"All {count} rows"
    named = ", ".join(places[:_MAX_NAMED])
    rest = len(places) - _MAX_NAMED
    named += f" and {rest} more" if rest > 0 else ""
    return named[:1].upper() + named[1:]


def _build_rows(wish: BatchRequest, place: int, call: PreparedCall) -> list[BatchRow]:
    """Return the runs of one row, its variations, when so many rows stand before it."""
    given = wish.rows[place].arguments
    own = json.dumps({**given, **_pin_outputs({**wish.shared, **given}, call)})
    before = place * wish.variations
    return [
        BatchRow(before + one, place + 1, one, own, call.arguments_json, call.raw_digest, call.canonical_digest)
        for one in range(1, wish.variations + 1)
    ]


def _pin_outputs(arguments: Arguments, call: PreparedCall) -> dict[str, JsonValue]:
    """Return the arguments that name results of earlier runs, by their lasting names: "last" is another one later."""
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


def _find_columns(rows: Iterable[InputRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.arguments))
