"""Accept a call: join the earlier run that it asks for again, or record a new one. One operation of the worker's transaction.

Theory of operation: clients give up after a minute and call again, processes are killed, models repeat themselves. An
equal call therefore joins an earlier run that was not delivered, or whose delivery the client cancelled a moment ago.
Runs without a connected caller come first, so that as many retries join as many runs. When all have one, an equal call
right after another over the same connection is taken at its word (people ask for four variations side by side); at any
other time it joins.

Who is connected and which processes live is found out before the transaction and comes in as data. Where the liveness of
a process matters and is not known, nothing is changed and the outcome is `LivenessNeeded`.
"""

import json
import math
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowport.domain.call_errors import PriceUnconfirmed
from flowport.domain.models import ENDED_UNSENT, ENDED_WHILE_STARTING, LOCAL_OWNER, Run, RunState
from flowport.domain.run_events import Cancelled, StartUnknown
from flowport.domain.spending import SpendingCheck
from flowport.store.records import (
    CANCELLED_DELIVERY_SECONDS,
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
    equal = [
        one
        for one in _select_equal(connection, run, rules)
        if _get_age_seconds(one.run, rules) - one.lasted_seconds < rules.window_seconds
    ]
    needed = {process_id for one in equal for process_id in one.get_relevant_processes()}
    unasked = {one for one in needed if one != rules.call.process_id and one not in rules.processes}
    if unasked:
        return LivenessNeeded(frozenset(unasked))
    settled = [_settle(connection, one, rules) for one in equal]
    ended = {RunState.UNKNOWN, RunState.CANCELLED}
    candidates = [one for one in settled if one.run.state not in ended and not _is_delivered(one.run, rules)]
    # Runs without a connected caller come first; of each kind the oldest.
    joined = (
        find_run(connection, min(candidates, key=lambda one: bool(one.caller_process_id)).run.id)
        if candidates
        else None
    )
    if joined is not None and not rules.is_new_wanted:
        _insert_waiting(connection, joined.id, rules.call)
        return Joined(joined)
    uncertain = [one.run for one in settled if one.run.state is RunState.UNKNOWN]
    return Uncertain(uncertain[-1]) if uncertain else None


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
    recent = (one for one in equal if _get_age_seconds(one, rules) < rules.window_seconds)
    return next((Uncertain(one) for one in recent), None)


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


@dataclass(frozen=True, slots=True)
class _Equal:
    """An earlier run that asked for the same."""

    run: Run
    caller_process_id: str
    """The process of the last call that waits for it; empty when no connected caller does, as far as is known."""

    @property
    def is_unsent(self) -> bool:
        """Whether nothing was sent and no caller knows its id, so that it ends with its process."""
        return self.run.state is RunState.ACCEPTED and self.run.reported_at is None

    @property
    def lasted_seconds(self) -> float:
        """Of a batch the time from acceptance to end, which may be longer than the window; 0 for a run."""
        if not self.run.is_batch:
            return 0.0
        return math.inf if self.run.finished_at is None else max(0.0, self.run.finished_at - self.run.accepted_at)

    def get_relevant_processes(self) -> Iterator[str]:
        """Return the processes whose liveness decides what becomes of a call."""
        if self.is_unsent or self.run.state is RunState.STARTING:
            yield self.run.process_id
        if self.caller_process_id:
            yield self.caller_process_id


def _select_equal(connection: sqlite3.Connection, run: Run, rules: AttachRules) -> Iterator[_Equal]:
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
        yield _Equal(parse_run(row, ()), row["caller"] or "")


def _is_delivered(run: Run, rules: AttachRules) -> bool:
    """Return whether a run was delivered, and the request of its answer was not cancelled a moment ago."""
    if run.delivered_at is None or not run.is_delivery_cancelled:
        return run.delivered_at is not None
    # A client that cancels a request after its answer was written may not have used it.
    since = _get_seconds_since(run.delivered_at, run.delivered_boot_id, run.delivered_boot_seconds, rules)
    return since >= CANCELLED_DELIVERY_SECONDS


def _get_age_seconds(run: Run, rules: AttachRules) -> float:
    """Return how long ago the run was accepted."""
    return _get_seconds_since(run.accepted_at, run.boot_id, run.accepted_boot_seconds, rules)


def _get_seconds_since(at: float, boot_id: str, boot_seconds: float | None, rules: AttachRules) -> float:
    """Return how long ago something was; by the boot clock, which cannot be set, where both instants are known."""
    if rules.boot_id and boot_id == rules.boot_id and boot_seconds is not None:
        return rules.boot_seconds - boot_seconds
    # A clock that was set back makes it less than nothing, which is inside of every window too.
    return rules.at - at


def _settle(connection: sqlite3.Connection, equal: _Equal, rules: AttachRules) -> _Equal:
    """Record what a dead process left before the provider had the run, and return the run as it is then."""
    run = equal.run
    if not (equal.is_unsent or run.state is RunState.STARTING) or run.process_id not in rules.processes.dead:
        return equal
    event = Cancelled(ENDED_UNSENT, rules.at) if equal.is_unsent else StartUnknown(ENDED_WHILE_STARTING, rules.at)
    return replace(equal, run=record_event(connection, run.id, event).run or run)


def _insert_waiting(connection: sqlite3.Connection, run_id: str, call: WaitingCall) -> None:
    connection.execute(
        "INSERT INTO waiting_calls (id, run_id, process_id) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (call.id, run_id, call.process_id),
    )
