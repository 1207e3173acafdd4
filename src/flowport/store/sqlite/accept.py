"""Accept a call: join the earlier run that it asks for again (`store.join_rules`), or record a new one, in one transaction."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from flowport.domain.call_errors import PriceUnconfirmed
from flowport.domain.models import LOCAL_OWNER, Run
from flowport.domain.spending import SpendingCheck
from flowport.store.join_rules import (
    EqualRun,
    build_settlement,
    choose_run,
    find_recent_uncertain,
    find_unasked,
    find_uncertain,
    select_recent,
)
from flowport.store.records import (
    MAX_REMINDERS,
    STOPPED_BY_PERSON,
    Accepted,
    AcceptOutcome,
    AttachRules,
    Joined,
    LivenessNeeded,
    Reminder,
    Uncertain,
    WaitingCall,
)
from flowport.store.rows import RUN_LIST, Value, parse_run
from flowport.store.sqlite.operations import IS_ALONE, IS_UNDELIVERED, find_run, insert_run, record_event, select_runs
from flowport.store.sqlite.spending import check_terms

_MAX_NAMED: Final = 3
"""Runs that one mention names."""


def accept_call(
    connection: sqlite3.Connection,
    run: Run,
    rules: AttachRules | None,
    terms: SpendingCheck | None,
    *,
    row_digests: Sequence[str] = (),
) -> AcceptOutcome:
    """Join an earlier run, refuse the call, or record a new run.

    Args:
        row_digests: The canonical digests of a batch's rows.
    """
    uncertain: Uncertain | None = None
    if rules is not None:
        found = _attach(connection, run, rules)
        if found is None and row_digests:
            found = _find_uncertain_row(connection, run, rules, row_digests)
        if isinstance(found, Joined | LivenessNeeded):
            return found
        uncertain = None if rules.is_uncertainty_accepted else found
        if uncertain is not None and not rules.is_new_wanted:
            return uncertain
    unpaid = None if terms is None else check_terms(connection, run, terms)
    # A cap that forbids the run comes before the question about an unknown run; that question and the price are one question.
    if unpaid is not None and (uncertain is None or not isinstance(unpaid.reason, PriceUnconfirmed)):
        return unpaid
    if uncertain is not None:
        return uncertain
    insert_run(connection, run)
    if rules is not None:
        _insert_waiting(connection, run.id, rules.call)
    return Accepted(run)


def _attach(connection: sqlite3.Connection, run: Run, rules: AttachRules) -> Joined | Uncertain | LivenessNeeded | None:
    """Join an earlier run, or return the one that is uncertain; None when the call is the first of its kind."""
    equal = select_recent(_select_equal(connection, run, rules), rules)
    if unasked := find_unasked(equal, rules):
        return LivenessNeeded(unasked)
    settled = [_settle(connection, one, rules) for one in equal]
    chosen = choose_run(settled, rules)
    joined = None if chosen is None else find_run(connection, chosen.id)
    if joined is not None and not rules.is_new_wanted:
        _insert_waiting(connection, joined.id, rules.call)
        return Joined(joined)
    return find_uncertain(settled)


def _find_uncertain_row(
    connection: sqlite3.Connection, run: Run, rules: AttachRules, digests: Sequence[str]
) -> Uncertain | None:
    """Return an unknown run that asked for the same as one of a batch's rows; None if nothing was found."""
    equal = select_runs(
        connection,
        "runs WHERE owner = :owner AND state = 'unknown' "
        "AND account_id = :account_id AND app_id = :app_id "
        "AND canonical_digest IN (SELECT value FROM json_each(:digests)) ORDER BY accepted_at DESC",
        {
            "owner": run.owner,
            "account_id": run.account_id,
            "app_id": run.app_id,
            "digests": json.dumps(list(dict.fromkeys(digests))),
        },
    )
    return find_recent_uncertain(equal, rules)


_IS_TO_MENTION: Final = (
    f"runs.owner = :owner AND {IS_UNDELIVERED} AND {IS_ALONE} AND runs.reminder_count < :most "  # noqa: S608 - our own words
    "AND runs.id NOT IN (SELECT value FROM json_each(:excluded)) AND NOT EXISTS (SELECT 1 FROM waiting_calls WHERE waiting_calls.run_id = runs.id)"
)


def find_reminder(
    connection: sqlite3.Connection, owner: str, excluded: Collection[str], *, is_counted: bool = False
) -> Reminder | None:
    """Return the undelivered runs that are to be mentioned, and count the mention if it is made."""
    values: dict[str, Value] = {"owner": owner, "most": MAX_REMINDERS, "excluded": json.dumps(list(excluded))}
    newest = f"runs WHERE {_IS_TO_MENTION} ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT {_MAX_NAMED}"
    runs = select_runs(connection, newest, values)
    # They name folders of this computer, which are the business of the person at it.
    is_here = owner == LOCAL_OWNER
    notices = [row["text"] for row in connection.execute("SELECT text FROM notices")] if is_here else []
    if not runs and not notices:
        return None
    count = connection.execute(f"SELECT count(*) FROM runs WHERE {_IS_TO_MENTION}", values).fetchone()[0]  # noqa: S608 - our own words
    if is_counted:
        update = f"UPDATE runs SET reminder_count = reminder_count + 1 WHERE {_IS_TO_MENTION}"  # noqa: S608 - our own words
        connection.execute(update, values)
        if is_here:
            connection.execute("DELETE FROM notices")
    return Reminder(count, runs, " ".join(notices))


def _select_equal(connection: sqlite3.Connection, run: Run, rules: AttachRules) -> Iterator[EqualRun]:
    """Find the runs that asked for the same, by the words of the call or by their meaning, oldest first.

    Those whose newest connected caller is beside this one are left out: when hundreds of equal calls come at once, each has
    hundreds of them, and none can be joined.
    """
    if rules.window_seconds <= 0:
        return
    # As the indexes have it: SQLite uses them for nothing else.
    whose = (
        "account_id = :account_id AND owner = :owner AND app_id = :app_id "
        "AND (delivered_at IS NULL OR is_delivery_cancelled = 1 OR state = 'unknown')"
    )
    is_connected = (
        "(newest.process_id = :process_id AND newest.id IN (SELECT value FROM json_each(:connected)) "
        "OR newest.process_id <> :process_id AND newest.process_id NOT IN (SELECT value FROM json_each(:dead)))"
    )
    # Found from the calls: to find the newest call of each run takes three times as long.
    left_out = (
        "SELECT beside.run_id FROM json_each(:beside) AS given "  # noqa: S608 - our own words
        "JOIN waiting_calls AS beside ON beside.id = given.value "
        "WHERE NOT EXISTS (SELECT 1 FROM waiting_calls AS newest "
        f"WHERE newest.run_id = beside.run_id AND newest.rowid > beside.rowid AND {is_connected})"
    )
    rows = connection.execute(
        # A row was asked for with its batch: no call joins it, but an equal call is refused while its fate is unknown.
        f"SELECT {RUN_LIST}, calls.process_id AS caller FROM runs LEFT JOIN waiting_calls AS calls ON calls.rowid = "  # noqa: S608 - our own words
        f"(SELECT max(newest.rowid) FROM waiting_calls AS newest WHERE newest.run_id = runs.id AND {is_connected}) "
        f"WHERE runs.rowid IN (SELECT rowid FROM runs WHERE {whose} AND raw_digest = :raw_digest "
        f"UNION SELECT rowid FROM runs WHERE {whose} AND canonical_digest = :canonical_digest) "
        f"AND (runs.id NOT IN ({left_out}) OR state = 'unknown') "
        "AND state NOT IN ('failed', 'cancelled') AND (batch_id = '' OR state = 'unknown') "
        # A cancelled batch answers no call, although rows of it may go on.
        "AND NOT EXISTS (SELECT 1 FROM batches WHERE batches.id = runs.id AND batches.stop_reason = :cancelled) "
        "ORDER BY accepted_at, runs.id",
        {
            "account_id": run.account_id,
            "owner": run.owner,
            "app_id": run.app_id,
            "raw_digest": run.raw_digest,
            "canonical_digest": run.canonical_digest,
            "process_id": rules.call.process_id,
            "connected": json.dumps(list(rules.connected_call_ids)),
            "beside": json.dumps(list(rules.beside_call_ids)),
            "dead": json.dumps(list(rules.processes.dead)),
            "cancelled": STOPPED_BY_PERSON,
        },
    )
    for row in rows:
        yield EqualRun(parse_run(row, ()), row["caller"] or "")


def _settle(connection: sqlite3.Connection, equal: EqualRun, rules: AttachRules) -> EqualRun:
    """Record what a dead process left before the provider had the run, and return the run as it is then."""
    event = build_settlement(equal, rules)
    return (
        equal if event is None else replace(equal, run=record_event(connection, equal.run.id, event).run or equal.run)
    )


def _insert_waiting(connection: sqlite3.Connection, run_id: str, call: WaitingCall) -> None:
    connection.execute(
        "INSERT INTO waiting_calls (id, run_id, process_id) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (call.id, run_id, call.process_id),
    )
