"""What both stores ask in the same words, and read in the same way: batches, tokens, received files, lists of runs. Pure.

A value of a statement is written as SQLite has it, `:name`. Where the words of the stores differ, they come in as parts.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, Final

from flowport.domain.access_tokens import AccessToken
from flowport.domain.errors import RunNotFound
from flowport.domain.models import OutputKind, Run, RunState
from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.store.received_files import ReceivedFile
from flowport.store.records import AppHistory, BatchProgress, BatchRow, History, NewBatch, RowStatus, RunSearch
from flowport.store.rows import FINAL, IS_UNPRICED, LIVE, NamedRow, Value, build_value


def build_insert(table: str, columns: Sequence[str]) -> str:
    """Return the statement that adds a row with these columns."""
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - our own table and column names


# Lists of runs: what follows FROM.

RUN_AT_PROVIDER: Final = (
    "runs WHERE account_id = :account_id AND provider_run_id = :provider_run_id AND provider_run_id <> '' LIMIT 1"
)
RUNS_WITH_OUTPUT: Final = "outputs JOIN runs ON runs.id = outputs.run_id WHERE runs.owner = :owner"
NEWEST_WITH_URL: Final = (
    f"{RUNS_WITH_OUTPUT} AND outputs.url = :url ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT 1"
)
UNKNOWN_RUNS: Final = "runs WHERE account_id = :account_id AND state = 'unknown' AND unknown_at >= :since ORDER BY unknown_at, id LIMIT :limit"
NEEDED_PROVIDER_IDS: Final = (
    "SELECT provider_run_id FROM runs WHERE account_id = :account_id AND provider_run_id <> '' AND delivered_at IS NULL"
)
DURATIONS: Final = (
    "SELECT finished_at - started_at FROM runs WHERE account_id = :account_id AND app_id = :app_id "  # noqa: S608 - our own words
    # A clock that was set back meanwhile would make a negative duration.
    f"AND state = '{RunState.SUCCEEDED}' AND started_at <= finished_at ORDER BY finished_at DESC LIMIT :limit"
)
USED_APPS: Final = "SELECT DISTINCT app_id FROM runs WHERE account_id = :account_id AND accepted_at >= :since"


def build_stranded_source(is_one_part: str) -> str:
    """Return what follows FROM for the runs of a scope's other accounts.

    The accounts of a scope sort between it with ":" and with ";", the next character.

    Args:
        is_one_part: The rest of `account_id` behind `:prefix` holds no colon, as a fingerprint does not.
    """
    return (
        "runs WHERE delivered_at IS NULL AND account_id > :prefix AND account_id < :end "
        f"AND {is_one_part} AND account_id <> :account_id AND adoption_tried_by <> :account_id AND row_count = 0 "
        f"AND (provider_run_id <> '' OR state IN ({LIVE})) ORDER BY accepted_at, id LIMIT :limit"
    )


def require_run(run: Run | None, run_id: str, *, account_id: str | None, owner: str) -> Run:
    """Return a run that was found, if it is the owner's, on this account.

    Raises:
        RunNotFound: It is not, or nothing was found.
    """
    if run is None or run.owner != owner or account_id not in {None, run.account_id}:
        raise RunNotFound(run_id)
    return run


def build_page(
    conditions: Sequence[str],
    values: Mapping[str, Value],
    *,
    owner: str,
    account_id: str | None,
    state: RunState | None,
    start: Run | None,
    limit: int,
) -> tuple[str, dict[str, Value]]:
    """Return what follows FROM for one page of an owner's runs, newest first, and its values.

    Args:
        conditions: Further ones; empty ones are left out.
        values: Those of these conditions.
        start: The run behind which the page begins.
    """
    found = [
        "runs.owner = :owner",
        "" if state is None else "runs.state = :state",
        "" if start is None else "(runs.accepted_at, runs.id) < (:accepted_at, :start_id)",
        *conditions,
    ]
    source = f"runs WHERE {' AND '.join(filter(None, found))} ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT :limit"
    return source, {
        "owner": owner,
        "account_id": account_id,
        "state": state,
        "accepted_at": start.accepted_at if start else None,
        "start_id": start.id if start else None,
        "limit": limit,
        **values,
    }


def build_search(search: RunSearch, *, is_live: str, app: str, word: str) -> tuple[list[str], dict[str, Value]]:
    """Return the conditions of a search and their values. Only the text is not answered from an index.

    Args:
        is_live: The run is not over.
        app: The folded names of the app and the tool hold `:app`.
        word: The folded text of the run, or of a row of the batch, holds `{word}`.
    """
    conditions = [is_live] if search.is_live else []
    values: dict[str, Value] = {}
    for name, operator, instant in (("since", ">=", search.since), ("until", "<", search.until)):
        if instant is not None:
            conditions.append(f"runs.accepted_at {operator} :{name}")
            values[name] = instant
    if search.app:
        conditions.append(app)
        values["app"] = search.app.casefold()
    for place, text in enumerate(search.words):
        conditions.append(word.replace("{word}", f":word{place}"))
        values[f"word{place}"] = text.casefold()
    return conditions, values


def collect_histories(rows: Iterable[NamedRow]) -> dict[str, AppHistory]:
    """Return the history of each app from its latest runs, newest first: `app_id`, `state`, `seconds`, `kinds`."""
    found: dict[str, AppHistory] = {}
    for row in rows:
        history = found.get(row["app_id"], AppHistory())
        # A partial run shows what is made, but not how long it takes.
        is_timed = row["state"] == RunState.SUCCEEDED and row["seconds"] is not None
        durations = history.durations + ((row["seconds"],) if is_timed else ())
        kinds = history.kinds | {OutputKind(kind) for kind in (row["kinds"] or "").split(",") if kind}
        found[row["app_id"]] = AppHistory(durations, kinds)
    return found


# Batches and their rows.

BATCH_COLUMNS: Final = ("id", "shared_json", "price_each_credits", "variations", "stop_after_failures")
ROW_COLUMNS: Final = tuple(field.name for field in fields(BatchRow))
ROW_LIST: Final = ", ".join(f"batch_rows.{column}" for column in ROW_COLUMNS if column != "arguments_json")
ROW_RUNS: Final = "batch_rows JOIN runs ON runs.id = batch_rows.run_id WHERE batch_rows.batch_id = :batch_id"
"""The runs of a batch's rows."""
UNSENT_ROWS: Final = f"{ROW_RUNS} AND runs.state = 'accepted' ORDER BY batch_rows.n"
LIVE_ROWS: Final = f"{ROW_RUNS} AND runs.state IN ({LIVE}) ORDER BY batch_rows.n"
ROWS_FROM: Final = (
    f"SELECT {ROW_LIST}, batch_rows.run_id, batch_rows.is_dropped FROM batch_rows "  # noqa: S608 - our own words
    "WHERE batch_id = :batch_id AND n >= :start ORDER BY n LIMIT :limit"
)
RUNS_OF_ROWS_FROM: Final = f"{ROW_RUNS} AND batch_rows.n >= :start ORDER BY batch_rows.n LIMIT :limit"
SHARED_ARGUMENTS: Final = "SELECT shared_json FROM batches WHERE id = :batch_id"
ROW_ARGUMENTS: Final = "SELECT n, arguments_json FROM batch_rows WHERE batch_id = :batch_id"
ARGUMENTS_OF_ROW: Final = (
    "SELECT batches.shared_json, batch_rows.arguments_json FROM batch_rows "
    "JOIN batches ON batches.id = batch_rows.batch_id WHERE batch_rows.run_id = :run_id AND batch_rows.run_id <> ''"
)
NOTE_STOP: Final = "UPDATE batches SET stop_reason = :reason WHERE id = :batch_id AND stop_reason = ''"
NOTE_TABLE: Final = "UPDATE batches SET csv_path = :csv_path, csv_problem = :csv_problem WHERE id = :batch_id"


def build_reservation(is_waiting: str) -> str:
    """Return the statement that reserves the price of the rows that have not begun.

    It is counted again each time, so that no rounding errors add up.
    """
    return (
        "UPDATE runs SET reserved_credits = "  # noqa: S608 - our own words
        "coalesce((SELECT price_each_credits FROM batches WHERE id = :batch_id), 0) * "
        f"(SELECT count(*) FROM batch_rows WHERE batch_id = :batch_id AND {is_waiting}) WHERE id = :batch_id"
    )


_IS_CANCELLED_UNSENT: Final = "(runs.state = 'cancelled' AND runs.starting_at IS NULL)"


def build_progress_query(is_waiting: str) -> str:
    """Return the query of a batch's progress, in one row."""
    return f"""
SELECT count(*) AS rows, batches.price_each_credits, batches.variations, batches.stop_after_failures, batches.stop_reason,
    batches.csv_path, batches.csv_problem,
    count(*) FILTER (WHERE {is_waiting}) AS waiting,
    count(*) FILTER (WHERE batch_rows.is_dropped OR {_IS_CANCELLED_UNSENT}) AS dropped,
    count(*) FILTER (WHERE runs.state IN ({LIVE})) AS live,
    count(*) FILTER (WHERE runs.state = 'accepted') AS unsent,
    count(*) FILTER (WHERE runs.state = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE runs.state = 'partial') AS partial,
    count(*) FILTER (WHERE runs.state = 'failed') AS failed,
    count(*) FILTER (WHERE runs.state = 'unknown') AS unknown,
    count(*) FILTER (WHERE runs.state = 'cancelled' AND NOT {_IS_CANCELLED_UNSENT}) AS cancelled,
    count(*) FILTER (WHERE batch_rows.run_id <> '' AND runs.id IS NULL) AS forgotten,
    count(*) FILTER (WHERE {IS_UNPRICED} AND runs.state NOT IN ({LIVE})) AS unpriced,
    coalesce(sum(runs.spent_credits), 0.0) AS spent_credits, min(runs.starting_at) AS first_starting_at
FROM batches JOIN batch_rows ON batch_rows.batch_id = batches.id LEFT JOIN runs ON runs.id = batch_rows.run_id
WHERE batches.id = :batch_id GROUP BY batches.id
"""  # noqa: S608 - our own words


def build_batch_values(batch: NewBatch) -> dict[str, Value]:
    """Return the columns of a batch that is new."""
    return {
        "id": batch.run.id,
        "shared_json": build_value(batch.shared_json),
        "price_each_credits": batch.price_each_credits,
        "variations": batch.variations,
        "stop_after_failures": batch.stop_after_failures,
    }


def build_row_values(batch_id: str, row: BatchRow) -> dict[str, Value]:
    """Return the columns of a row that is new."""
    return {"batch_id": batch_id, **{column: build_value(getattr(row, column)) for column in ROW_COLUMNS}}


def parse_batch_row(row: NamedRow) -> BatchRow:
    """Return the row of a batch in a row with `ROW_LIST`, without its arguments."""
    values: dict[str, Any] = {column: row[column] for column in ROW_COLUMNS if column != "arguments_json"}
    return BatchRow(**values, arguments_json="")


def parse_progress(row: NamedRow | None, batch_id: str) -> BatchProgress:
    """Return the progress of a batch.

    Raises:
        RunNotFound: There is no batch.
    """
    if row is None:
        raise RunNotFound(batch_id)
    return BatchProgress(**{field.name: row[field.name] for field in fields(BatchProgress)})


def parse_row_statuses(rows: Iterable[NamedRow], runs: Iterable[Run]) -> tuple[RowStatus, ...]:
    """Return the rows of a batch with their runs."""
    by_id = {run.id: run for run in runs}
    return tuple(
        RowStatus(parse_batch_row(row), by_id.get(row["run_id"]), bool(row["run_id"]), bool(row["is_dropped"]))
        for row in rows
    )


# How much there is of an owner.


def build_history_queries(compared: str = "=") -> tuple[str, str]:
    """Return the queries of how many runs and saved outputs there are of an owner, or of others than the owner."""
    is_over = f"state IN ({FINAL})"
    runs = (
        f"SELECT count(*) AS runs, count(*) FILTER (WHERE NOT {is_over}) AS live, "  # noqa: S608 - our own words
        f"count(*) FILTER (WHERE {is_over} AND delivered_at IS NULL) AS unseen, "
        "count(*) FILTER (WHERE state = 'unknown') AS unknown, min(accepted_at) AS oldest_at FROM runs "
        f"WHERE owner {compared} :owner AND row_count = 0"
    )
    outputs = (
        "SELECT count(*) AS outputs, coalesce(sum(size_bytes), 0) AS bytes FROM outputs "  # noqa: S608 - our own words
        f"JOIN runs ON runs.id = outputs.run_id WHERE saved_path <> '' AND owner {compared} :owner"
    )
    return runs, outputs


def parse_history(runs: NamedRow, outputs: NamedRow) -> History:
    """Return what the two queries have found."""
    return History(
        runs=runs["runs"],
        live=runs["live"],
        unseen=runs["unseen"],
        unknown=runs["unknown"],
        oldest_at=runs["oldest_at"],
        saved_outputs=outputs["outputs"],
        saved_bytes=int(outputs["bytes"]),
    )


# Access tokens.

TOKEN_COLUMNS: Final = tuple(field.name for field in fields(AccessToken))
ADD_TOKEN: Final = f"{build_insert('tokens', TOKEN_COLUMNS)} ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING"


def build_token_values(token: AccessToken) -> dict[str, Value]:
    """Return the columns of a token."""
    values = {column: getattr(token, column) for column in TOKEN_COLUMNS}
    if token.account_ids is not None:
        values["account_ids"] = json.dumps(sorted(token.account_ids))
    if token.spending_limits is not None:
        values["spending_limits"] = json.dumps(asdict(token.spending_limits))
    return values


def parse_token(row: NamedRow) -> AccessToken:
    """Return the token of a row."""
    values = {column: row[column] for column in TOKEN_COLUMNS}
    if values["account_ids"] is not None:
        values["account_ids"] = frozenset(json.loads(values["account_ids"]))
    if values["spending_limits"] is not None:
        limits = json.loads(values["spending_limits"])
        values["spending_limits"] = SpendingLimits(**{**limits, "unknown_price": UnknownPrice(limits["unknown_price"])})
    return AccessToken(**values)


# Files that people upload.

FILE_COLUMNS: Final = tuple(field.name for field in fields(ReceivedFile))
FILE_LIST: Final = ", ".join(FILE_COLUMNS)
ADD_FILE: Final = f"{build_insert('received_files', FILE_COLUMNS)} ON CONFLICT (id) DO NOTHING"
KEEP_FILE: Final = (
    f"UPDATE received_files SET {', '.join(f'{column} = :{column}' for column in FILE_COLUMNS)} "  # noqa: S608 - our own words
    "WHERE id = :id AND received_at IS NULL"
)
FIND_FILE: Final = f"SELECT {FILE_LIST} FROM received_files WHERE id = :id"  # noqa: S608 - our own words
EXPIRED_FILES: Final = f"SELECT {FILE_LIST} FROM received_files WHERE received_at IS NOT NULL AND expires_at < :now"  # noqa: S608 - our own words
DROP_EXPIRED_TICKETS: Final = "DELETE FROM received_files WHERE received_at IS NULL AND expires_at < :now"
SUM_FILES: Final = (
    "SELECT coalesce((SELECT sum(size_bytes) FROM received_files WHERE owner = :owner), 0) "
    "+ coalesce((SELECT size_bytes FROM file_use WHERE owner = :owner), 0) AS bytes"
)
"""The bytes of an owner's received files and saved results."""


def build_file_values(file: ReceivedFile) -> dict[str, Value]:
    """Return the columns of a file."""
    return {column: build_value(getattr(file, column)) for column in FILE_COLUMNS}


def parse_file(row: NamedRow) -> ReceivedFile:
    """Return the file of a row."""
    return ReceivedFile(**{column: row[column] for column in FILE_COLUMNS})


def build_kept_file(ticket: ReceivedFile | None, file: ReceivedFile) -> ReceivedFile | None:
    """Return a received file as it is recorded; None if its ticket was used before, has expired or was never given out."""
    received_at = file.requested_at if file.received_at is None else file.received_at
    if ticket is None or ticket.received_at is not None or ticket.expires_at < received_at:
        return None
    return replace(
        file, owner=ticket.owner, purpose=ticket.purpose, requested_at=ticket.requested_at, received_at=received_at
    )
